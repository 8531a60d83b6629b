"""``usher policy observed``, and what other commands say in observe mode."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Program
from usher.core.domain import administration
from usher.core.domain.administration import Change


@pytest.fixture
def observing(on_both: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program of a site that observes."""
    monkeypatch.setenv("USHER_MODE", "observe")
    return on_both


def test_the_report_says_who_would_be_refused_and_whose_roles_would_change(
    observing: Program,
) -> None:
    """By the ledger and the records, compared with what Identity shows; exit code 1."""
    deliver = observing.deliver
    mallory = deliver("signup", "x@mailinator.com", answers=204)
    deliver("signup", "x@mailinator.com", user_id=mallory, answers=204)
    deliver("login", "x@mailinator.com", user_id=mallory, roles=["member"], answers=204)
    deliver("validate", "y@mailinator.com", answers=204)
    ada = deliver("login", "ada@example.com", roles=["editor", "member"], answers=204)
    eve = deliver("login", "eve@example.net", roles=["member"], answers=204)
    bob = deliver("login", "bob@example.net", roles=["member", "staff"], answers=204)
    zoe = deliver("login", "zoe@example.net", roles=["member"], answers=204)
    with observing.app() as app:
        users = app.store.users
        users.change(users.get(bob), administration.revoke("staff"), Change("test"))
        users.change(users.get(zoe), administration.suspend(), Change("test"))
    found = observing.json("policy", "observed", code=1)
    assert [(each["email"], each["status"], each["answer"]) for each in found["refused"]] == [
        (
            "y@mailinator.com",
            None,
            said := "204 in observe mode; live: 403 Please use an address that lasts.",
        ),
        ("x@mailinator.com", "active", said),
    ]
    assert found["refused"][0]["rules"] == ["admission.deny_email_domains"]
    assert {(each["change"], each["role"], each["count"]) for each in found["changes"]} == {
        ("gains", "staff", 1),
        ("loses", "staff", 1),
        ("keeps", "editor", 1),
        ("refused", "", 1),
    }
    people = {each["id"]: each for each in found["people"]}
    assert people.keys() == {str(ada), str(bob), str(zoe)}
    assert people[str(ada)]["gains"] == ["staff"]
    assert people[str(ada)]["keeps"] == ["editor"]
    assert people[str(bob)]["loses"] == ["staff"]
    assert str(eve) not in people
    assert (found["mode"], found["looked_at"], found["affected"]) == ("observe", 5, 3)
    told = observing("policy", "observed", code=1).stdout
    assert "Refused while Usher observed: 2" in told
    assert "Of 5 people on record, 3 would be affected:" in told
    assert "At the hand-over, set USHER_MODE to live" in told
    limited = observing.json("policy", "observed", "--limit", "1", code=1)
    assert (len(limited["refused"]), len(limited["people"]), limited["affected"]) == (1, 1, 3)


def test_nothing_would_change(observing: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0, and the same once Usher is live."""
    observing.deliver("login", "eve@example.net", roles=["member"], answers=204)
    told = observing("policy", "observed").stdout
    assert "Everybody would keep the roles that Identity shows." in told
    monkeypatch.setenv("USHER_MODE", "live")
    assert observing("policy", "observed").stdout.startswith("Usher answers live now.")


def test_an_event_shows_what_would_have_been_answered(observing: Program) -> None:
    """The reason comes first, before those of the policy."""
    observing.deliver("signup", "x@mailinator.com", answers=204)
    (event,) = observing.json("events", "list")["events"]
    shown = observing("events", "show", event["id"]).stdout
    assert "answer    204" in shown
    assert "204 in observe mode; live: 403 Please use an address that lasts." in shown


def test_a_grant_says_that_identity_is_told_nothing(
    observing: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is made here and pending; the doctor finds nothing wrong with that."""
    monkeypatch.setenv("USHER_IDENTITY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("USHER_IDENTITY_ADMIN_TOKEN", "t")
    observing.deliver("login", "eve@example.net", roles=["member"], answers=204)
    told = observing("users", "grant", "eve@example.net", "editor").stdout
    assert "Identity: told nothing, since Usher only observes (USHER_MODE)" in told
    assert observing.json("policy", "observed", code=1)["pending_pushes"] == 1
    assert (
        "pushed to Identity once Usher is live: 1" in observing("policy", "observed", code=1).stdout
    )
    findings = {each["key"]: each for each in observing.json("doctor", code=(0, 1))}
    assert findings["pushes.ok"]["text"] == "waiting for 1 user until Usher is live"
    assert findings["mode.observe"]["severity"] == "warning"
    refused = observing("sync", "--push", code=1).stderr
    assert "Identity is told nothing while USHER_MODE is observe." in refused
