"""Pending records that never became an account go by themselves, and nothing else does."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.api_support import JWT_SECRET
from tests.store.store_support import counts, deliver, rows
from tests.support import Clock, Signed, account, call, signed
from usher.core import log
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.events import read_user
from usher.core.domain.records import Status
from usher.core.errors import IdentityUnavailableError, SyncStrangerError, UserNotFoundError
from usher.core.identity.client import BEYOND_ALL, IdentityClient
from usher.core.identity.http import AdminAnswer
from usher.core.identity.unconfirmed import ASKED_AT_ONCE, PAGE
from usher.core.settings import Settings
from usher.core.store import pending
from usher.core.users import UserService
from usher.emulator.payload import go_json, user_document

OWNER = "owner@example.com"
DAYS = 30


class Identity:
    """An admin API in memory.

    Attributes:
        accounts: fields of accounts by id.
        status: answered to everything; 0: as the accounts say.
        before: called with the path before each answer.
    """

    def __init__(self) -> None:
        self.accounts: dict[UUID, dict[str, Any]] = {}
        self.status = 0
        self.away = False
        self.odd: set[UUID] = set()
        self.asked: list[UUID | None] = []
        self.before: Callable[[str], None] | None = None

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``usher.core.identity.http.AdminTransport``."""
        assert (method, body) == ("GET", None)
        beyond_all = f"page={BEYOND_ALL}" in path
        path = path.partition("?")[0]
        listed = path == "/admin/users"
        self.asked.append(None if listed else UUID(path.rpartition("/")[2]))
        if self.before is not None:
            self.before(path)
        if self.away:
            raise IdentityUnavailableError("away")
        if self.status:
            return AdminAnswer(self.status, {}, b"")
        if listed:
            users = b",".join(map(self._show, () if beyond_all else self.accounts))
            return AdminAnswer(200, {}, b'{"users":[' + users + b"]}")
        one = UUID(path.rpartition("/")[2])
        if one not in self.accounts:
            return AdminAnswer(404, {}, b'{"code":404,"msg":"User not found"}')
        return AdminAnswer(200, {}, self._show(one))

    def _show(self, one: UUID) -> bytes:
        shown = account(user_id=one, **self.accounts[one])
        odd = b'{"id":"%s","email":7}' % str(one).encode()
        return odd if one in self.odd else go_json(user_document(shown))


class Site:
    """One App, and what is there at Identity."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.identity = Identity()
        if app.settings.tells_identity:
            client = IdentityClient(None, self.identity, sleep=lambda _: None)
            app.__dict__["identity"] = client
        self.log = io.StringIO()
        log.configure(self.log)

    def validate(self, email: str = "ada@example.com") -> UUID:
        """Somebody begins to sign up; Identity's transaction may be rolled back."""
        who = account(email=email, at=self.clock(), user_metadata={"full_name": "Ada Byron"})
        self.tell("validate", who.id, email=email, user_metadata={"full_name": "Ada Byron"})
        return who.id

    def tell(self, event: str, user_id: UUID, **fields: Any) -> int:
        """An event of Identity's; its answer."""
        status: int = call(self.event(event, user_id, **fields))["statusCode"]
        return status

    def event(self, event: str, user_id: UUID, **fields: Any) -> Signed:
        """An event of Identity's, now."""
        who = account(user_id=user_id, at=self.clock(), **fields)
        return signed(event, who, at=self.clock())

    def member(self, email: str = OWNER) -> UUID:
        """Somebody who signed up, and is there."""
        user_id = uuid4()
        assert self.tell("signup", user_id, email=email) in (200, 204)
        self.identity.accounts[user_id] = {"email": email, "confirmed_at": self.clock()}
        return user_id

    def there(self, user_id: UUID, confirmed_at: datetime | None = None) -> None:
        """The account exists at Identity."""
        self.identity.accounts[user_id] = {"confirmed_at": confirmed_at}

    def maintain(self, **later: float) -> None:
        """Time passes, and maintenance does all that there is to do."""
        self.clock.advance(**later)
        while self.app.maintenance.step():
            pass

    def status(self, user_id: UUID) -> str:
        """The status of the record; empty: there is none."""
        user = self.app.store.users.look_up(user_id)
        return user.status.value if user else ""

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this name."""
        lines = map(json.loads, self.log.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]


def made(url: str, make_settings: Callable[..., Settings], clock: Clock, **more: Any) -> App:
    """An App with these settings."""
    return App(make_settings(database_url=url, **more), clock)


@pytest.fixture
def site(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Site]:
    """Without a way to Identity's admin API."""
    with use(made(database_url, make_settings, clock)) as app:
        yield Site(app, clock)


@pytest.fixture
def told(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Site]:
    """With credentials for Identity, where somebody active is known."""
    way = {"identity_url": "http://127.0.0.1:9", "jwt_secret": JWT_SECRET}
    with use(made(database_url, make_settings, clock, **way)) as app:
        found = Site(app, clock)
        found.member()
        yield found


def personal(site: Site, user_id: UUID) -> str:
    """All that any table holds in a row of this user."""
    database = site.app.store.database
    one = user_id.hex if database.is_sqlite else str(user_id)
    found = []
    for table, key in (
        ("users", "id"), ("grants", "user_id"), ("deliveries", "user_id"), ("audit", "user_id"),
        ("pushes", "user_id"),
    ):  # fmt: skip
        found += rows(database, f"SELECT * FROM {table} WHERE {key} = :one", one=one)
    return repr(found)


# --- without a way to Identity --------------------------------------------------------------------


def test_a_record_that_nobody_confirmed_goes_after_thirty_days(site: Site) -> None:
    """Not a day earlier; with an entry of the audit, and a line of the log."""
    ghost = site.validate()
    site.maintain(days=DAYS, seconds=-1)
    assert site.status(ghost) == "pending"
    site.maintain(days=1)
    assert site.status(ghost) == ""
    [entry] = [e for e in site.app.store.users.audit_page().items if e.action == "user.removed"]
    assert (entry.user_id, entry.actor) == (ghost, "usher")
    assert entry.reason == "not confirmed within 30 days"
    assert [line["pending"] for line in site.lines("maintenance.done")] == [1]


def test_personal_data_goes_with_it(site: Site) -> None:
    """Record, grants, bodies, answers and audit; ids, digests, outcomes and counts by day stay."""
    ghost = site.validate("ada.ghost@mail.example")
    site.clock.advance(seconds=1)
    more = {"email": "ada.ghost@mail.example", "roles": ["ghostly"], "proven": False}
    assert site.tell("usermodified", ghost, user_metadata={"n": "Ada Byron"}, **more) == 204
    assert "Ada Byron" in personal(site, ghost)
    site.maintain(days=DAYS + 1)
    left = personal(site, ghost)
    assert site.status(ghost) == ""
    assert "ada.ghost" not in left
    assert "Byron" not in left
    kept = site.app.store.ledger.page().items
    assert [(d.event, d.body, d.reply.status, d.reply.body) for d in kept] == [
        ("usermodified", None, 204, ""),
        ("validate", None, 204, ""),
    ]
    assert all(d.reasons[-1].rule == "record.removed" for d in kept)
    stats = site.app.store.users.stats("2000-01-01")
    assert (stats["status"], stats["provider"], stats["role"]) == ({}, {}, {})
    assert sum(stats["day"].values()) == 2


def test_nothing_that_was_ever_active_is_touched(site: Site) -> None:
    """Active, suspended, deleted, first seen by a token; a pending one that was suspended."""
    clock, users = site.clock, site.app.store.users
    active, suspended, shut, gone = site.member(), site.member("b@b.ex"), site.validate(), uuid4()
    for one in (suspended, shut):
        users.change(users.get(one), administration.suspend(), Change("test"))
    site.tell("userdeleted", gone)
    clock.advance(seconds=1)
    before = {one: users.get(one) for one in (active, suspended, shut, gone)}
    site.maintain(days=400)
    assert {one: users.get(one) for one in before} == before


def test_what_an_administrator_decided_is_not_lost(site: Site) -> None:
    """A grant or a denial, further app_metadata, a profile: the record waits for the person."""
    users, ghosts = site.app.store.users, [site.validate(f"p{n}@b.example") for n in range(5)]
    commands = (
        administration.grant("editor"),
        administration.edit(app_metadata={"plan": "gold"}),
        administration.edit(profile={"name": "Ada"}),
    )
    for one, command in zip(ghosts, commands, strict=False):
        users.change(users.get(one), command, Change("cli:boss"))
    site.maintain(days=400)
    assert [site.status(one) for one in ghosts] == ["pending"] * 3 + [""] * 2
    site.tell("signup", ghosts[0], email="p0@b.example")
    assert "editor" in {grant.role for grant in users.get(ghosts[0]).grants}


def test_an_invitation_alone_keeps_no_record_and_is_still_good(site: Site) -> None:
    """Its link never ends: whoever follows it later comes as new."""
    ghost = site.validate()
    users = site.app.store.users
    users.invited(read_user({"id": str(ghost), "email": "ada@example.com"}), "cli:boss")
    site.maintain(days=DAYS)
    assert site.status(ghost) == ""
    assert site.tell("signup", ghost, invited_at=site.clock()) == 200
    assert site.status(ghost) == "active"


@pytest.mark.parametrize("days", [0, 3])
def test_the_setting_says_when(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, days: int
) -> None:
    """0: never."""
    with use(made(database_url, make_settings, clock, pending_days=days)) as app:
        site = Site(app, clock)
        ghost = site.validate()
        site.maintain(days=2, hours=23)
        assert site.status(ghost) == "pending"
        site.maintain(hours=25)
        assert site.status(ghost) == ("" if days else "pending")


def test_many_go_in_small_steps_and_others_stay(site: Site) -> None:
    """A page at a time; a record that stays is passed over, and the end is found."""
    ghosts = [site.event("validate", uuid4(), email=f"p{n}@b.example") for n in range(PAGE * 2 + 3)]
    deliver(site.app, ghosts)
    users = site.app.store.users
    kept = users.find("p1@b.example")
    users.change(kept, administration.grant("editor"), Change("test"))
    site.clock.advance(days=DAYS, seconds=1)
    young = site.validate("young@b.example")
    assert [site.app.maintenance.step() for _ in range(3)] == [True, True, False]
    assert counts(site.app.store.database)["users"] == 2
    assert (site.status(kept.id), site.status(young)) == ("pending", "pending")
    removed = [line["pending"] for line in site.lines("maintenance.done")]
    assert (sum(removed), max(removed)) == (PAGE * 2 + 2, PAGE)


def test_a_removal_that_was_interrupted_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it in one transaction, or none; a second run changes nothing more."""
    ghost = site.validate()
    remove = pending.remove_users

    def dies(*args: Any) -> None:
        remove(*args)
        raise KeyboardInterrupt

    before = personal(site, ghost)
    with monkeypatch.context() as patch:
        patch.setattr(pending, "remove_users", dies)
        with pytest.raises(KeyboardInterrupt):
            site.maintain(days=DAYS)
    assert personal(site, ghost) == before
    site.maintain(days=1)
    after = personal(site, ghost)
    site.maintain(days=1)
    site.maintain(days=1)
    assert (site.status(ghost), personal(site, ghost)) == ("", after)


def test_somebody_can_be_removed_twice(site: Site) -> None:
    """Who begins anew and gives up again; each delivery is noted once."""
    ghost = site.validate()
    site.maintain(days=DAYS)
    site.clock.advance(seconds=1)
    assert site.tell("validate", ghost) == 204
    site.maintain(days=DAYS + 1)
    assert site.status(ghost) == ""
    kept = site.app.store.ledger.page().items
    assert [[r.rule for r in d.reasons].count("record.removed") for d in kept] == [1, 1]
    actions = [entry.action for entry in site.app.store.users.audit_page().items]
    assert actions == ["user.removed", "user.created"] * 2


# --- the person comes after all -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "status", "roles"),
    [
        ("validate", "pending", set()),
        ("signup", "active", {"member", "staff"}),
        ("login", "active", {"member", "staff"}),
        ("usermodified", "pending", set()),
        ("userdeleted", "deleted", set()),
    ],
)
def test_whoever_comes_after_all_comes_as_new(
    site: Site, event: str, status: str, roles: set[str]
) -> None:
    """No tombstone stands in the way, and nothing is counted twice."""
    ghost = site.validate()
    site.maintain(days=DAYS)
    assert site.status(ghost) == ""
    assert site.tell(event, ghost) in (200, 204)
    assert site.status(ghost) == status
    stats = site.app.store.users.stats("2000-01-01")
    assert stats["status"] == {status: 1}
    user = site.app.store.users.get(ghost)
    assert {grant.role for grant in user.grants} == roles


def test_a_confirmation_wins_against_a_removal_at_the_same_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun while the removal holds the record: it waits, and then the person is new."""
    ghost = site.validate()
    site.clock.advance(days=DAYS)
    remove, running = pending.remove_users, list[Future[int]]()
    with ThreadPoolExecutor(1) as pool:

        def removed(*args: Any) -> None:
            running.append(pool.submit(site.tell, "signup", ghost))
            remove(*args)

        monkeypatch.setattr(pending, "remove_users", removed)
        site.maintain()
        assert running[0].result(60) == 200
    assert site.status(ghost) == "active"
    assert site.app.store.users.stats("2000-01-01")["status"] == {"active": 1}


def test_a_removal_loses_against_a_confirmation_at_the_same_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun while the event holds the record: it waits, and then there is nothing to remove."""
    ghost = site.validate()
    site.clock.advance(days=DAYS)
    store, running = UserService.store, list[Future[None]]()
    with ThreadPoolExecutor(1) as pool:

        def stored(*args: Any) -> None:
            if not running:
                running.append(pool.submit(site.maintain))
            store(*args)

        monkeypatch.setattr(UserService, "store", stored)
        assert site.tell("signup", ghost) == 200
        running[0].result(60)
    assert site.status(ghost) == "active"
    assert "ada@example.com" in personal(site, ghost)


# --- with Identity's word -------------------------------------------------------------------------


def test_what_identity_does_not_have_goes_after_a_day(told: Site) -> None:
    """Not earlier; an account that still waits for its confirmation stays."""
    ghost, waits = told.validate(), told.validate("waits@b.example")
    told.there(waits)
    told.maintain(hours=23, minutes=59)
    assert told.status(ghost) == "pending"
    told.maintain(minutes=1)
    assert (told.status(ghost), told.status(waits)) == ("", "pending")
    [entry] = [e for e in told.app.store.users.audit_page().items if e.action == "user.removed"]
    assert (entry.user_id, entry.reason) == (ghost, "Identity has no such account")


def test_an_account_that_nobody_confirms_goes_after_thirty_days(told: Site) -> None:
    """Its record here; one that is confirmed at Identity, of which no event came, stays."""
    waits, confirmed = told.validate(), told.validate("lost@b.example")
    told.there(waits)
    told.there(confirmed, told.clock())
    told.maintain(days=DAYS - 1)
    assert told.status(waits) == "pending"
    told.maintain(days=1)
    assert (told.status(waits), told.status(confirmed)) == ("", "pending")


def test_a_withdrawn_invitation_goes_with_what_was_decided_about_it(told: Site) -> None:
    """Ids are not used again, so that grant can never take effect."""
    users, ghost = told.app.store.users, told.validate()
    users.change(users.get(ghost), administration.grant("editor"), Change("cli:boss"))
    told.clock.advance(seconds=1)
    assert told.tell("usermodified", ghost, user_metadata={"full_name": "Ada Byron"}) == 200
    assert "Byron" in personal(told, ghost)
    told.maintain(days=1)
    assert told.status(ghost) == ""
    assert "Byron" not in personal(told, ghost)
    assert "editor" not in {d.reply.body for d in told.app.store.ledger.page().items}
    assert told.app.pushes.backlog().count == 0


def test_nothing_is_removed_while_identity_is_away(told: Site) -> None:
    """However old the record; other maintenance goes on, and the log says why."""
    ghost = told.validate()
    told.identity.away = True
    told.maintain(days=400)
    assert told.status(ghost) == "pending"
    assert [line["pending"] for line in told.lines("maintenance.done")] == [0]
    [line] = told.lines("pending.kept")
    assert line["code"] == "identity_unavailable"
    told.identity.away = False
    told.maintain(minutes=10)
    assert told.status(ghost) == ""


@pytest.mark.parametrize("status", [401, 403, 422, 500])
def test_nothing_is_removed_where_identity_refuses(told: Site, status: int) -> None:
    """Its word is missing."""
    ghost = told.validate()
    told.identity.status = status
    told.maintain(days=400)
    assert told.status(ghost) == "pending"
    assert told.lines("pending.kept")


def test_an_address_that_knows_nobody_removes_nobody(told: Site) -> None:
    """A wrong USHER_IDENTITY_URL answers 404 to everything, or is another site's Identity."""
    ghosts = [told.validate(f"p{n}@b.example") for n in range(3)]
    told.identity.status = 404
    told.maintain(days=400)
    told.identity.status = 0
    told.identity.accounts = {uuid4(): {"email": "stranger@b.example"}}
    told.maintain(days=1)
    assert [told.status(one) for one in ghosts] == ["pending"] * 3
    assert {line["code"] for line in told.lines("pending.kept")} == {"sync_stranger"}


@pytest.mark.parametrize(
    ("accounts", "status", "goes"),
    [
        ("none", 0, True),  # the first signup of all was rolled back
        ("known", 0, True),
        ("strangers", 0, False),
        ("none", 404, False),
    ],
)
def test_before_anybody_is_active_the_list_of_accounts_must_fit(
    told: Site, accounts: str, status: int, goes: bool
) -> None:
    """It can be read, and is empty or holds somebody known."""
    owner = told.app.store.users.find(OWNER)
    told.app.store.users.change(owner, administration.delete(), Change("test", force=True))
    ghost, waits = told.validate(), told.validate("waits@b.example")
    told.identity.accounts.clear()
    if accounts != "none":
        told.there(waits if accounts == "known" else uuid4())
    told.identity.status = status
    told.maintain(days=1)
    assert told.status(ghost) == ("" if goes else "pending")


def test_identity_is_asked_twice_about_whoever_goes(told: Site) -> None:
    """One wrong 404 removes nobody."""
    ghost = told.validate()
    told.there(ghost)
    answers = iter([404, 0, 0])

    def flaky(_path: str) -> None:
        told.identity.status = next(answers, 0)

    told.identity.before = flaky
    told.maintain(days=1)
    assert told.identity.asked.count(ghost) == 2
    assert told.status(ghost) == "pending"


def test_a_confirmation_while_identity_is_asked_wins(told: Site) -> None:
    """The record is no longer what Identity was asked about."""
    ghost = told.validate()

    def confirm(path: str) -> None:
        if path.endswith(str(ghost)):
            told.identity.before = None
            assert told.tell("signup", ghost) == 200

    told.identity.before = confirm
    told.maintain(days=1)
    assert told.status(ghost) == "active"


def test_a_change_of_a_pending_record_while_identity_is_asked_wins(told: Site) -> None:
    """It shows that there is an account after all."""
    ghost = told.validate()

    def change(path: str) -> None:
        if path.endswith(str(ghost)):
            told.identity.before = None
            assert told.tell("usermodified", ghost, user_metadata={"n": 1}) in (200, 204)

    told.identity.before = change
    told.maintain(days=1)
    assert told.status(ghost) == "pending"


def test_identity_is_asked_about_each_record_once_a_day(told: Site) -> None:
    """However often maintenance runs; whoever becomes a day old meanwhile is asked about."""
    waiting = [told.validate(f"p{n}@b.example") for n in range(ASKED_AT_ONCE + 2)]
    for one in waiting:
        told.there(one)
    told.clock.advance(hours=1)
    later = told.validate("later@b.example")
    told.there(later)
    for _ in range(3):
        told.maintain(hours=8)  # at the third, all but the last are a day old
    told.identity.asked.clear()
    told.maintain(days=1)
    once = Counter(dict.fromkeys((*waiting, later), 1))
    assert Counter(told.identity.asked) == once
    for _ in range(3):
        told.maintain(hours=5)
    assert Counter(told.identity.asked) == once
    told.maintain(hours=9)
    assert Counter(told.identity.asked) == once + once


def test_a_walk_by_hand_says_what_is_wrong(told: Site) -> None:
    """Where maintenance only logs it."""
    told.validate()
    told.clock.advance(days=1)
    told.identity.away = True
    with pytest.raises(IdentityUnavailableError):
        list(told.app.unconfirmed.walk("cli:boss", dry_run=False))
    told.identity.away, told.identity.status = False, 404
    with pytest.raises(SyncStrangerError):
        list(told.app.unconfirmed.walk("cli:boss", dry_run=True))


def test_an_account_that_cannot_be_read_is_an_account(told: Site) -> None:
    """It may be confirmed, so its record stays; and of an active user it shows the site."""
    ghost, odd = told.validate(), told.validate("odd@b.example")
    told.there(odd)
    told.identity.odd = set(told.identity.accounts)
    told.maintain(days=400)
    assert (told.status(ghost), told.status(odd)) == ("", "pending")


def test_an_account_that_identity_cannot_answer_for_holds_up_no_other(told: Site) -> None:
    """Somebody signs up with so much data that Identity is too slow, or fails, for them alone."""
    heavy = told.validate("heavy@b.example")
    told.there(heavy)
    ghosts = [told.validate(f"p{n}@b.example") for n in range(3)]

    def fails(path: str) -> None:
        if path.endswith((str(heavy), str(member))):
            raise IdentityUnavailableError("no end after 10 seconds")

    told.member("well@b.example")
    member = told.member("heavier@b.example")
    told.identity.before = fails
    told.maintain(days=400)
    assert [told.status(each) for each in (heavy, *ghosts)] == ["pending", "", "", ""]
    assert not told.lines("pending.kept")


def test_an_account_without_an_answer_shows_nothing(told: Site) -> None:
    """Where Identity fails for all that are active, nobody knows whether it is the right one."""
    ghost = told.validate()

    def fails(path: str) -> None:
        if not path.endswith((str(ghost), "/users")):
            raise IdentityUnavailableError("no end after 10 seconds")

    told.identity.before = fails
    told.maintain(days=400)
    assert told.status(ghost) == "pending"
    assert told.lines("pending.kept")


def test_a_push_of_a_removed_record_ends(told: Site) -> None:
    """Nothing is left that would be tried for ever."""
    users, ghost = told.app.store.users, told.validate()
    user = users.change(users.get(ghost), administration.grant("editor"), Change("cli:boss"))
    assert user.at_identity.pending
    told.maintain(days=1)
    assert told.app.pushes.push_pending().left == 0
    with pytest.raises(UserNotFoundError):
        users.change(user, administration.grant("author"), Change("cli:boss"))
    assert told.app.store.users.look_up(ghost) is None
    assert Status.PENDING not in told.app.store.users.counts("status")
