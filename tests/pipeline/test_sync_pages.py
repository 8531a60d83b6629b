"""A sync over pages of any size, with accounts of any size and some that cannot be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.store.store_support import execute, rows
from tests.support import Clock
from usher.core.app import App, use
from usher.core.domain.sync import Mending
from usher.core.domain.sync_plan import Plan, Progress, Trouble
from usher.core.errors import IdentityAnswerTooLargeError, IdentityUnavailableError
from usher.core.identity.client import IdentityClient
from usher.core.identity.http import AdminAnswer
from usher.core.identity.sync import Sync
from usher.core.settings import Settings
from usher.core.store.instances import Instances

WELL, FORM, NAMELESS, SILENT, LARGE = "well", "form", "nameless", "silent", "large"
BOUND = 4_000


@dataclass
class Kept:
    """An account of a list in memory."""

    kind: str
    size: int
    id: UUID = field(default_factory=uuid4)

    @property
    def document(self) -> bytes:
        """The account as Identity writes it; what is wrong stands after the id."""
        text = json.dumps(
            {
                "id": str(self.id),
                "email": f"{self.id}@b.example",
                "confirmed_at": "2026-01-01T00:00:00Z",
                "user_metadata": {"x": "x" * self.size},
            }
        )
        if self.kind == FORM:
            text = text.replace('"email": "', '"email": 7, "was": "')
        if self.kind == NAMELESS:
            text = text.replace('{"id": "', '{"id": "x')
        return text.encode()


class Listed:
    """An ``AdminTransport`` whose answers have a bound of size."""

    def __init__(self, accounts: list[Kept]) -> None:
        self.accounts = accounts
        self.sizes: Counter[int] = Counter()
        self.before: Callable[[int, int], None] = lambda *_: None

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``: pages, and single accounts."""
        assert (method, body) == ("GET", None)
        path, _, query = path.partition("?")
        asked = {name: int(v[0]) for name, v in parse_qs(query).items() if name != "sort"}
        if asked:
            per_page = asked["per_page"]
            self.before(asked["page"], per_page)
            self.sizes[per_page] += 1
            start = (asked["page"] - 1) * per_page
            found = self.accounts[start : start + per_page]
            total = len(self.accounts)
            headers = {"x-total-count": str(total)}
            headers["link"] = 'rel="next"' if start + per_page < total else 'rel="last"'
            text = b'{"aud":"","users":[%s]}' % b",".join(each.document for each in found)
        else:
            found = [each for each in self.accounts if str(each.id) == path.rpartition("/")[2]]
            headers, text = {}, b"".join(each.document for each in found)
            if not found:
                return AdminAnswer(404, {}, b"")
        if any(each.kind == SILENT for each in found):
            return AdminAnswer(500, {}, b"")
        if len(text) > BOUND:
            raise IdentityAnswerTooLargeError("too large", text[:200].replace(b'" ', b'"'))
        return AdminAnswer(200, headers, text)


class Site:
    """An App without users, and Identity."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settled: Counter[UUID] = Counter()

    def sync(self, listed: Listed, plan: Plan, *, interrupted: int = 0) -> Progress:
        """Run it, however often it is interrupted after so many steps; the whole progress."""
        store = self.app.store
        client = IdentityClient(None, listed, sleep=lambda _: None)
        while True:
            steps = Sync(
                store.database,
                store.users,
                self.app.policy_in_force,
                client,
                self.app.pushes,
                self.app.clock,
                instances=Instances(UUID(int=0)),
                interval_seconds=0,
                sleep=lambda _: None,
            ).run(plan, force=True)
            for number, run in enumerate(steps, 1):
                if run.progress.phase == "done":
                    steps.close()
                    return run.progress
                if number == interrupted:
                    break
            steps.close()

    def records(self) -> set[UUID]:
        """Everybody on record."""
        return {user.id for user in self.app.store.users.page(limit=200).items}


@pytest.fixture
def site(
    sqlite_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """With every comparison noted."""
    mend = Mending.mend

    def noted(self: Mending, instance_id: UUID, person: Any, *rest: Any) -> Any:
        found.settled[person.id] += 1
        return mend(self, instance_id, person, *rest)

    monkeypatch.setattr(Mending, "mend", noted)
    with use(App(make_settings(database_url=sqlite_url), clock)) as app:
        found = Site(app)
        yield found


account = st.builds(
    Kept,
    st.sampled_from([WELL, WELL, WELL, WELL, WELL, WELL, FORM, NAMELESS, SILENT, LARGE]),
    st.one_of(st.just(0), st.just(0), st.integers(0, 3_500)),
)
accounts = st.sampled_from([0, 1, 7, 20, 33, 50]).flatmap(
    lambda count: st.lists(account, min_size=count, max_size=count)
)
sizes = st.sampled_from([(20, 10, 5, 1), (16, 4, 1), (12, 1), (1,), (200, 50, 10, 1)])


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(accounts=accounts, sizes=sizes, interrupted=st.integers(2, 30))
def test_a4_every_account_is_settled_or_named_exactly_once(
    site: Site, accounts: list[Kept], sizes: tuple[int, ...], interrupted: int
) -> None:
    """Whatever the bound of a page, however often the run is interrupted."""
    for each in accounts:
        if each.kind == LARGE:
            each.size = 2 * BOUND
        each.id = uuid4()
    for table in ("users", "syncs", "sync_marks", "audit"):
        execute(site.app.store.database, f"DELETE FROM {table}")
    site.settled.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("usher.core.domain.sync_place.SIZES", sizes)
        progress = site.sync(Listed(accounts), Plan(pull=True), interrupted=interrupted)
    readable = {each.id for each in accounts if each.kind == WELL}
    assert dict(site.settled) == dict.fromkeys(readable, 1)
    assert site.records() == readable
    assert progress.accounts == len(readable)
    expected = [
        (
            str(each.id) if each.kind in (FORM, LARGE) else "",
            number,
            {SILENT: Trouble.NO_ANSWER, LARGE: Trouble.TOO_LARGE}.get(each.kind, Trouble.FORM),
        )
        for number, each in enumerate(accounts, 1)
        if each.kind != WELL
    ]
    assert [(each.id, each.number, each.trouble) for each in progress.unreadable] == expected
    assert progress.left.get("unreadable", 0) == len(expected)


def test_a4_pages_are_no_smaller_than_they_must_be(site: Site) -> None:
    """One large account costs a few small pages around it."""
    listed = Listed([Kept(WELL, 0) for _ in range(600)])
    listed.accounts[333].size = 200_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.pipeline.test_sync_pages.BOUND", 100_000)
        progress = site.sync(listed, Plan())
    assert (progress.accounts, len(progress.unreadable)) == (599, 1)
    assert [listed.sizes[size] for size in (200, 50, 10)] == [3, 4, 5]


@pytest.mark.parametrize("kind", [FORM, SILENT, LARGE])
@pytest.mark.parametrize("prune", [False, True])
def test_a4_a_record_whose_account_cannot_be_read_is_never_missing(
    site: Site, kind: str, prune: bool
) -> None:
    """Not by a page, not by its own id, not when removals are made."""
    listed = Listed([Kept(WELL, 0) for _ in range(30)])
    site.sync(listed, Plan(pull=True))
    listed.accounts[7].kind = kind
    listed.accounts[7].size = 2 * BOUND if kind == LARGE else 0
    gone = listed.accounts.pop(20)
    progress = site.sync(listed, Plan(pull=True, prune=prune))
    assert [each.id for each in progress.unreadable] == [str(listed.accounts[7].id)]
    assert progress.found["missing_there"] == 1
    statuses = dict(rows(site.app.store.database, "SELECT status, count(*) FROM users GROUP BY 1"))
    assert statuses == ({"active": 29, "deleted": 1} if prune else {"active": 30})
    assert gone.id


def test_a4_a_removal_noted_before_is_not_made_once_the_account_cannot_be_read(
    site: Site,
) -> None:
    """The last question before a tombstone counts, and an answer that cannot be read is one."""
    listed = Listed([Kept(WELL, 0) for _ in range(30)])
    site.sync(listed, Plan(pull=True))
    away = listed.accounts.pop(7)
    away.kind = FORM
    asked = listed.request

    def come_back(method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        answer = asked(method, path, body)
        if str(away.id) in path and away not in listed.accounts:
            listed.accounts.append(away)
        return answer

    listed.request = come_back  # type: ignore[method-assign]
    progress = site.sync(listed, Plan(pull=True, prune=True))
    assert (progress.found["missing_there"], progress.mended) == (1, {})
    assert away.id in site.records()


@given(data=st.data())
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a4_accounts_deleted_and_made_meanwhile_hide_nobody(site: Site, data: Any) -> None:
    """Everybody who was there all the time and can be read is settled, once."""
    for table in ("users", "syncs", "sync_marks", "audit"):
        execute(site.app.store.database, f"DELETE FROM {table}")
    site.settled.clear()
    sizes = data.draw(st.lists(st.sampled_from([0, 0, 0, 1_500, 3_000]), min_size=30, max_size=60))
    listed = Listed([Kept(WELL, size) for size in sizes])
    there = {each.id for each in listed.accounts}
    left = data.draw(st.integers(0, 4))

    def change(_page: int, _per_page: int) -> None:
        nonlocal left
        if left and data.draw(st.booleans()):
            left -= 1
            gone = listed.accounts.pop(data.draw(st.integers(0, len(listed.accounts) - 1)))
            there.discard(gone.id)
            listed.accounts.append(Kept(WELL, data.draw(st.sampled_from([0, 3_000]))))

    listed.before = change
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("usher.core.domain.sync_place.SIZES", (20, 5, 1))
        site.sync(listed, Plan(pull=True))
    assert there <= set(site.settled)
    assert set(site.settled.values()) == {1}


def test_a4_an_identity_that_fails_for_everybody_stops_the_run(site: Site) -> None:
    """Nothing is named, and the same page is asked for next time."""
    listed = Listed([Kept(WELL, 0) for _ in range(3)])
    listed.request = lambda *_: AdminAnswer(500, {}, b"")  # type: ignore[method-assign]
    with pytest.raises(IdentityUnavailableError):
        site.sync(listed, Plan(pull=True))
    assert site.records() == set()
    assert site.app.sync.completed() is None


def test_a4_an_anchor_that_cannot_be_read_any_more_stops_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last account of a page fails, or is too large, just after its page was read."""
    monkeypatch.setattr("usher.core.domain.sync_place.SIZES", (10, 5, 1))
    for kind in (SILENT, LARGE, NAMELESS):
        listed = Listed([Kept(WELL, 0) for _ in range(35)])

        def change(page: int, per_page: int, listed: Listed = listed, kind: str = kind) -> None:
            if (page, per_page) == (2, 10):
                listed.accounts[9].kind = kind
                listed.accounts[9].size = 2 * BOUND if kind == LARGE else 0

        listed.before = change
        assert site.sync(listed, Plan(pull=True)).accounts == 35
