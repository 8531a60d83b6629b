"""A shadow policy follows the ledger: what it would have changed, and what it cannot do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace

from tests.pipeline.shadow_support import follow, follower
from tests.store.store_support import deliver, raw, rows
from tests.support import NOON, Clock, account, signed
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change as By
from usher.core.domain.policy import Applicant, Verdict
from usher.core.domain.shadow import Change
from usher.core.errors import PolicyError
from usher.core.shadow import TRIES, OutgrownError
from usher.core.store import shadows
from usher.core.store.complete import Complete
from usher.core.store.shadows import LEASE

NEXT = """
[admission]
deny_email_domains = ["mailinator.com", "example.net"]

[[role]]
grant = "member"

[[role]]
grant = "reader"
providers = ["email"]
"""


@pytest.fixture
def shadow_file(tmp_path: Path) -> Path:
    """The policy of ``NEXT``."""
    path = tmp_path / "next.toml"
    path.write_text(NEXT)
    return path


@pytest.fixture
def site(usher: App, shadow_file: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """The App with a shadow policy."""
    monkeypatch.setattr(usher, "settings", replace(usher.settings, policy_shadow=str(shadow_file)))
    return usher


def told(app: App) -> list[tuple[str, str, str, str]]:
    """Event, change, role and rule of every difference, the oldest first."""
    run = app.shadows.run(app.settings.policy_shadow)
    assert run is not None
    return [
        (each.event, each.difference.change.value, each.difference.role, each.difference.rule)
        for each in reversed(app.shadows.page(run, limit=200).items)
    ]


def test_what_would_have_been_different_is_kept_with_the_rule_behind_it(site: App) -> None:
    """From the newest delivery at the first start on; ids and rules alone."""
    deliver(site, [signed("signup", account(email="before@example.net"))])
    shadow = follower(site)
    follow(shadow)
    assert told(site) == []
    eve = account(email="eve@example.net")
    deliver(site, [signed("validate", eve), signed("signup", eve)])
    deliver(site, [signed("signup", account(email="x@mailinator.com"))])
    ada = account(provider="google")
    deliver(site, [signed("signup", ada), signed("userdeleted", account())])
    deliver(site, [raw(b"no event")])
    follow(shadow)
    assert told(site) == [
        ("validate", "refused", "", "admission.deny_email_domains"),
        ("signup", "refused", "", "admission.deny_email_domains"),
        ("signup", "loses", "staff", "role.2"),
    ]
    run = site.shadows.run(site.settings.policy_shadow)
    assert run is not None
    assert (run.events, run.newest - run.position) == (4, 0)
    found = site.shadows.groups(run)
    assert (found.more, found.counted) == (0, 3)
    groups = {(g.change, g.role): (g.events, g.people, g.text) for g in found.items}
    assert groups == {
        (Change.REFUSED, ""): (2, 1, "the domain example.net is on the deny list"),
        (Change.LOSES, "staff"): (
            1,
            1,
            "grants 'staff' to everybody whose proven address is at example.com",
        ),
    }
    kept = rows(site.store.database, "SELECT * FROM shadow_differences")
    assert "eve@" not in repr(kept)


def test_the_groups_are_bounded_and_say_so(site: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most frequent kinds, of the newest differences."""
    shadow = follower(site)
    follow(shadow)
    at_staff = account(email="ada@example.com", provider="google")
    deliver(site, [signed("signup", at_staff)])
    deliver(site, [signed("signup", account(email=f"{n}@example.net")) for n in "ab"])
    follow(shadow)
    run = site.shadows.run(site.settings.policy_shadow)
    assert run is not None
    monkeypatch.setattr(shadows, "MAX_GROUPS", 1)
    found = site.shadows.groups(run)
    assert [(each.change, each.events) for each in found.items] == [(Change.REFUSED, 2)]
    assert (found.more, found.counted) == (1, 3)
    monkeypatch.setattr(shadows, "MAX_COUNTED", 1)
    found = site.shadows.groups(run)
    assert [(each.change, each.events) for each in found.items] == [(Change.REFUSED, 1)]
    assert (found.more, found.counted) == (0, 1)


def test_a_login_differs_in_roles_alone(site: App) -> None:
    """Grants and denials of others hold under both policies."""
    ada = account()
    deliver(site, [signed("signup", ada)])
    users = site.store.users
    users.change(users.get(ada.id), administration.grant("reader"), By("test"))
    shadow = follower(site)
    follow(shadow)
    deliver(site, [signed("login", ada, at=NOON + timedelta(seconds=9))])
    follow(shadow)
    assert told(site) == [("login", "loses", "staff", "role.2")]
    users.change(users.get(ada.id), administration.suspend(), By("test"))
    deliver(site, [signed("login", ada, at=NOON + timedelta(seconds=19))])
    follow(shadow)
    assert len(told(site)) == 1


def test_a_changed_file_is_taken_up_and_counted_from_then_on(site: App, shadow_file: Path) -> None:
    """A new run; the differences of the former one are left out. A wrong file changes nothing."""
    shadow = follower(site)
    follow(shadow)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    follow(shadow)
    assert len(told(site)) == 1
    shadow_file.write_text("[admission")
    with pytest.raises(PolicyError):
        shadow.step()
    shadow_file.write_text("[[role]]\ngrant = 'member'\n")
    follow(shadow)
    assert told(site) == []
    deliver(site, [signed("signup", account(email="bob@example.com"))])
    follow(shadow)
    assert told(site) == [("signup", "loses", "staff", "role.2")]


def test_a_live_policy_that_was_changed_is_the_one_that_is_compared(
    site: App, policy_file: Path
) -> None:
    """Once the ledger shows that it decides; until then the file is only a file."""
    shadow = follower(site)
    follow(shadow)
    assert site.policy.fingerprint  # it is read, and in force
    policy_file.write_text(NEXT)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    follow(shadow)
    assert len(told(site)) == 1
    with use(App(site.settings, site.clock)) as reloaded:
        deliver(reloaded, [signed("signup", account(email="zoe@example.net"))])
    follow(shadow)
    assert told(site) == []


def test_a_file_that_does_not_decide_is_not_compared(site: App, policy_file: Path) -> None:
    """A process that starts beside a file that is not in force has nothing to compare with."""
    assert site.policy.fingerprint  # it is read, and in force
    text = policy_file.read_text()
    policy_file.write_text(NEXT)
    shadow = follower(site)
    follow(shadow)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    follow(shadow)
    run = site.shadows.run(site.settings.policy_shadow)
    assert run is not None
    assert (run.events, run.newest - run.position) == (0, 0)
    policy_file.write_text(text)
    deliver(site, [signed("signup", account(email="eva@example.net"))])
    follow(shadow)  # a run with the policy that decides
    deliver(site, [signed("signup", account(email="evi@example.net"))])
    follow(shadow)
    assert told(site) == [("signup", "refused", "", "admission.deny_email_domains")]


def test_of_several_servers_one_follows_and_another_goes_on(site: App, clock: Clock) -> None:
    """By a lease; the position is moved by compare-and-set, so nothing counts twice."""
    first, second = follower(site), follower(site)
    follow(first)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    assert not second.step()
    clock.advance(seconds=LEASE.total_seconds() + 1)
    follow(second)
    assert len(told(site)) == 1
    deliver(site, [signed("signup", account(email="zoe@example.net"))])
    follow(first)  # it believed the lease to be its own
    assert len(told(site)) == 1
    second.close()
    follow(first)
    assert len(told(site)) == 2


def test_the_ledger_is_followed_as_far_as_it_is_complete(
    site: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL may commit a delivery after one with a greater sequence."""
    shadow = follower(site)
    follow(shadow)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    with monkeypatch.context() as patch:
        patch.setattr(Complete, "up_to", lambda _: None)
        follow(shadow)
        assert told(site) == []
    follow(shadow)
    assert len(told(site)) == 1


def test_a_shadow_that_raises_is_told_and_goes_on(site: App) -> None:
    """With the class of the error and its place, not its message."""

    def rules(applicant: Applicant) -> Verdict:
        if applicant.domain == "example.net":
            raise KeyError(applicant.email)
        return Verdict()

    shadow = follower(site, rules=rules)
    follow(shadow)
    emails = ("eve@example.net", "bob@example.org")
    deliver(site, [signed("signup", account(email=email)) for email in emails])
    follow(shadow)
    (failure, loses) = told(site)
    assert failure == ("signup", "failed", "", "shadow.failed")
    assert loses[1:3] == ("loses", "member")
    run = site.shadows.run(site.settings.policy_shadow)
    assert run is not None
    (oldest,) = [
        each for each in site.shadows.page(run).items if each.difference.change == "failed"
    ]
    assert oldest.difference.text.startswith("KeyError at ")
    assert "eve@" not in oldest.difference.text


def test_a_delivery_at_which_the_process_ends_is_passed_in_the_end(site: App) -> None:
    """By itself, after some tries; its neighbours are compared as ever."""
    emails = [f"{n}@example.net" for n in range(5)]

    def rules(applicant: Applicant) -> Verdict:
        if applicant.email == emails[2]:
            raise MemoryError
        return Verdict(admitted=False)

    lease = uuid4()
    follow(follower(site, lease=lease, rules=rules))
    deliver(site, [signed("signup", account(email=email)) for email in emails])

    ends, ended = 0, ""
    while True:
        shadow = follower(site, lease=lease, ended=ended, rules=rules)
        try:
            follow(shadow)
            break
        except OutgrownError:
            ends, ended = ends + 1, "it needed more memory than it may have"
    assert ends == TRIES + 1
    assert [each[1] for each in told(site)] == [
        "refused",
        "refused",
        "failed",
        "refused",
        "refused",
    ]
    run = site.shadows.run(site.settings.policy_shadow)
    assert run is not None
    assert (run.error, run.failed_at) == (ended, NOON)


def test_differences_are_kept_as_long_as_deliveries(site: App, clock: Clock) -> None:
    """And a run that nobody goes on with goes, too."""
    shadow = follower(site)
    follow(shadow)
    deliver(site, [signed("signup", account(email="eve@example.net"))])
    follow(shadow)
    site.maintenance.step()
    assert len(told(site)) == 1
    clock.advance(days=91)
    site.maintenance.step()
    assert rows(site.store.database, "SELECT count(*) FROM shadow_differences") == [(0,)]
    assert site.shadows.run(site.settings.policy_shadow) is None
