"""Writes of handlers, from their transaction to Identity and past the person's deletion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.pipeline.test_pushes import Site
from tests.store.store_support import rows
from tests.support import Clock, account, signed, verified
from usher.core.app import App, use
from usher.core.domain import administration, handler_writes
from usher.core.domain.administration import Change
from usher.core.domain.documents import user_document
from usher.core.domain.outbox import Change as Told
from usher.core.domain.outbox import Kind, Person, Write, changes_of
from usher.core.domain.records import LEFT, AuditEntry, Status
from usher.core.domain.unconfirmed import removal
from usher.core.errors import (
    HandlersCircleError,
    IdentityNotConfiguredError,
    MetadataInvalidError,
    RoleInvalidError,
)
from usher.core.identity.http import AdminAnswer
from usher.core.settings import Settings
from usher.core.store.filters import AuditFilters
from usher.emulator.payload import Account

BILLING = "handler:site.billing"
BY = Change("test")
ALL = Write(
    app_metadata={"plan": "gold"}, user_metadata={"crm": {"id": 7}}, grant=("customer",)
)  # fmt: skip


@pytest.fixture
def site(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Site]:
    """On each database."""
    settings = make_settings(
        database_url=database_url, identity_url="http://127.0.0.1:9", identity_admin_token="x"
    )
    with use(App(settings, clock)) as app:
        yield Site(app, clock)


def told(site: Site, user_id: UUID, kind: Kind = Kind.USER_CONFIRMED) -> Told:
    """A change of a person, as a handler has it."""
    instance_id = rows(site.app.store.database, "SELECT instance_id FROM audit")[0][0]
    return Told(
        id="chg_1",
        kind=kind,
        at=site.clock(),
        instance_id=UUID(str(instance_id)),
        user=Person(id=user_id),
    )


def write(site: Site, user_id: UUID, made: Write, by: str = BILLING) -> None:
    """What a handler returned for a change of a person."""
    change = told(site, user_id)
    with site.app.store.write() as transaction:
        site.users.write_of_handler(transaction, by, change, made)


def entries(site: Site, user_id: UUID) -> list[AuditEntry]:
    """Those of one person, the newest first."""
    return list(site.users.audit_page(AuditFilters(user_id=user_id)).items)


def send(site: Site, name: str, who: Account) -> None:
    """An event of now."""
    sent = signed(name, who, at=site.clock())
    site.app.webhooks.process([verified(site.app.webhooks, sent, site.clock())])


def delete(site: Site, user_id: UUID, how: str) -> None:
    """Delete a person here, or by an event."""
    if how == "here":
        site.users.change(site.users.get(user_id), administration.delete(), BY)
    else:
        send(site, "userdeleted", account(user_id=user_id))


def test_a_write_is_on_record_at_once_and_told_to_identity_key_by_key(site: Site) -> None:
    """Keys that nobody here wrote stay there as they are."""
    user_id = site.person()
    site.identity.own[str(user_id)] = {"full_name": "Ada"}
    write(site, user_id, ALL)
    user = site.users.get(user_id)
    assert user.extra_app_metadata == {"plan": "gold"}
    assert user.user_metadata["crm"] == {"id": 7}
    assert user.at_identity.pending
    newest = entries(site, user_id)[0]
    assert (newest.action, newest.actor, newest.reason) == (
        "handler.wrote", BILLING, "after user.confirmed"
    )  # fmt: skip
    assert site.here.push_pending().left == 0
    assert site.identity.accounts[str(user_id)] == {
        "provider": "email", "roles": ["customer", "member"], "plan": "gold"
    }  # fmt: skip
    assert site.identity.own[str(user_id)] == {"full_name": "Ada", "crm": {"id": 7}}
    assert site.identity.calls == ["GET", "PUT"]


def test_only_what_a_handler_wrote_of_user_metadata_is_told_and_only_once(site: Site) -> None:
    """Afterwards it is the person's again, who may write over it."""
    user_id = site.person()
    write(site, user_id, Write(user_metadata={"crm": 7}))
    site.here.push_pending()
    site.identity.own[str(user_id)]["crm"] = "mine"
    site.grant(user_id)
    site.here.push_pending()
    assert site.identity.own[str(user_id)] == {"crm": "mine"}
    site.clock.advance(seconds=60)
    who = account(user_id=user_id, email="ada@b.example", user_metadata={"crm": "mine"})
    send(site, "login", who)
    assert site.users.get(user_id).user_metadata == {"crm": "mine"}


def test_a_key_stays_pending_until_identity_took_it(site: Site) -> None:
    """Whatever events come meanwhile; a login's answer cannot tell it."""
    user_id = site.person()
    write(site, user_id, Write(user_metadata={"crm": 7}))
    site.identity.fails = lambda method: AdminAnswer(503, {}, b"") if method == "PUT" else None
    site.here.push_pending()
    site.clock.advance(seconds=61)
    who = account(user_id=user_id, email="ada@b.example", roles=["member"])
    send(site, "login", who)
    user = site.users.get(user_id)
    assert (user.at_identity.pending, user.user_metadata["crm"]) == (True, 7)
    site.identity.fails = lambda _: None
    assert site.here.push_pending().left == 0
    assert site.identity.own[str(user_id)] == {"crm": 7}


def test_a_key_that_is_written_again_during_its_push_is_told_again(site: Site) -> None:
    """Identity ends with the newer value."""
    user_id = site.person()
    write(site, user_id, Write(user_metadata={"crm": 1}))

    def meanwhile(method: str) -> None:
        if method == "PUT" and site.identity.calls.count("PUT") == 1:
            write(site, user_id, Write(user_metadata={"crm": 2}))

    site.identity.fails = meanwhile
    site.here.push_pending()
    assert site.identity.own[str(user_id)] == {"crm": 2}
    assert site.here.backlog().count == 0


def test_the_same_write_again_costs_nothing(site: Site) -> None:
    """Neither an entry, nor a push, nor a version: a handler may run twice for one change."""
    user_id = site.person()
    write(site, user_id, ALL)
    site.here.push_pending()
    before, calls = site.users.get(user_id), len(site.identity.calls)
    write(site, user_id, ALL)
    assert site.users.get(user_id) == before
    site.here.push_pending()
    assert len(site.identity.calls) == calls


def test_a_key_that_somebody_else_has_the_same_is_the_handlers_too(site: Site) -> None:
    """It is no change, and is noted for the day of the deletion."""
    user_id = site.person()
    site.users.change(
        site.users.get(user_id), administration.edit(app_metadata={"plan": "gold"}), BY
    )
    count = len(entries(site, user_id))
    write(site, user_id, Write(app_metadata={"plan": "gold"}))
    assert len(entries(site, user_id)) == count
    document = user_document(site.users.get(user_id), site.clock())
    assert document["written"] == {"app_metadata": {"plan": "site.billing"}, "user_metadata": {}}


@pytest.mark.parametrize(
    "refused",
    [
        Write(app_metadata={"plan": 1}, grant=("admin",)),
        Write(app_metadata={"plan": 1, "authorization": {"roles": ["admin"]}}),
    ],
)
def test_a_refused_write_changes_nothing(site: Site, refused: Write) -> None:
    """Not even its other parts."""
    user_id = site.person()
    before = site.users.get(user_id)
    with pytest.raises((RoleInvalidError, MetadataInvalidError)):
        write(site, user_id, refused)
    assert site.users.get(user_id) == before


def test_handlers_that_answer_each_other_are_stopped(site: Site) -> None:
    """Until somebody else changes the record, or an hour has passed; one person's alone."""
    ada, bob = site.person(), site.person("bob@b.example")
    for number in range(handler_writes.CIRCLE):
        write(site, ada, Write(app_metadata={"n": number}), (BILLING, "handler:crm")[number % 2])
    with pytest.raises(HandlersCircleError, match=r"by handlers: crm, site\.billing"):
        write(site, ada, Write(app_metadata={"n": -1}))
    again = Write(app_metadata={"n": handler_writes.CIRCLE - 1})
    write(site, ada, again, "handler:crm")  # changes nothing
    write(site, bob, Write(app_metadata={"n": 1}))
    site.grant(ada)
    write(site, ada, Write(app_metadata={"n": -1}))
    for number in range(handler_writes.CIRCLE - 1):
        write(site, ada, Write(app_metadata={"n": number}))
    with pytest.raises(HandlersCircleError):
        write(site, ada, Write(app_metadata={"n": -1}))
    site.clock.advance(hours=1, seconds=1)
    write(site, ada, Write(app_metadata={"n": -1}))


def test_a_write_is_rolled_back_with_what_it_is_kept_with(site: Site) -> None:
    """The handler gets the change again, and so its write."""
    user_id = site.person()
    change, before = told(site, user_id), site.users.get(user_id)

    def fail() -> None:
        with site.app.store.write() as transaction:
            site.users.write_of_handler(transaction, BILLING, change, ALL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert site.users.get(user_id) == before


def test_user_metadata_needs_a_way_to_identity(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Nothing else could ever tell it there."""
    with use(App(make_settings(database_url=database_url), clock)) as app:
        site = Site(app, clock)
        user_id = site.person()
        with pytest.raises(IdentityNotConfiguredError, match="user_metadata"):
            write(site, user_id, Write(user_metadata={"crm": 7}))
        write(site, user_id, Write(app_metadata={"plan": 1}))
        assert not site.users.get(user_id).at_identity.pending


def test_keys_that_come_and_go_in_a_row_of_the_database(site: Site) -> None:
    """What is noted of them is read back as it was written."""
    user_id = site.person()
    write(site, user_id, ALL)
    write(site, user_id, Write(app_metadata={"plan": None}, user_metadata={"seat": True}))
    site.here.push_pending()
    write(site, user_id, Write(user_metadata={"crm": None}), by="handler:site.crm")
    user = site.users.get(user_id)
    assert user.written is not None
    assert user.written.app_metadata == {"plan": "site.billing"}
    notes = {
        key: (each.value, each.handler, bool(each.told_at))
        for key, each in user.written.user_metadata.items()
    }
    assert notes == {
        "crm": (None, "site.crm", False), "seat": (True, "site.billing", True)
    }  # fmt: skip


# --- past the person's deletion ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["here", "event"])
def test_only_the_entry_of_a_deletion_carries_what_handlers_wrote(site: Site, how: str) -> None:
    """The rest is erased; this is left for the handlers to clean up by."""
    user_id = site.person()
    write(site, user_id, ALL)
    delete(site, user_id, how)
    newest, *earlier = entries(site, user_id)
    assert newest.after == {
        "status": "deleted", "provider": "", LEFT: {"plan": "gold", "crm": {"id": 7}}
    } | {key: newest.after[key] for key in ("roles",) if key in newest.after}  # fmt: skip
    assert [change.kind for change in changes_of(newest)] == [Kind.USER_DELETED]
    assert "gold" not in json.dumps([[each.before, each.after] for each in earlier])
    user = site.users.get(user_id)
    assert (user.written, user.user_metadata, user.extra_app_metadata) == (None, {}, {})


def test_a_person_of_whom_no_handler_wrote_leaves_nothing(site: Site) -> None:
    """Nor do keys that were removed again."""
    plain, removed = site.person(), site.person("bob@b.example")
    write(site, removed, Write(app_metadata={"plan": 1}, user_metadata={"crm": 2}))
    write(site, removed, Write(app_metadata={"plan": None}, user_metadata={"crm": None}))
    for user_id in (plain, removed):
        delete(site, user_id, "here")
        assert LEFT not in entries(site, user_id)[0].after
    assert rows(site.app.store.database, "SELECT * FROM left_keys") == []


def test_a_write_that_comes_after_the_deletion_is_added_to_it(site: Site) -> None:
    """The handler made a customer while the person was deleted: it learns of both."""
    user_id = site.person()
    write(site, user_id, Write(app_metadata={"plan": "gold"}))
    delete(site, user_id, "event")
    write(site, user_id, Write(user_metadata={"crm": 7}, grant=("customer",)))
    assert entries(site, user_id)[0].after[LEFT] == {"plan": "gold", "crm": 7}
    assert site.users.get(user_id).status is Status.DELETED
    assert site.users.get(user_id).grants == ()
    nothing_before = site.person("bob@b.example")
    delete(site, nothing_before, "here")
    write(site, nothing_before, Write(grant=("customer",)))
    assert LEFT not in entries(site, nothing_before)[0].after
    write(site, nothing_before, Write(app_metadata={"crm": 8}))
    assert entries(site, nothing_before)[0].after[LEFT] == {"crm": 8}


def test_a_pending_record_that_is_removed_leaves_its_keys_too(site: Site) -> None:
    """Before the removal or after it; and an id that comes again is told apart."""
    who = account(email="eve@b.example")
    send(site, "validate", who)
    write(site, who.id, Write(app_metadata={"crm": 1}))

    def remove() -> None:
        user = site.users.get(who.id)
        with site.app.store.write() as transaction:
            current = site.users.load(transaction, [(user.instance_id, user.id)])
            entry = removal(user, "usher", site.clock(), "never confirmed")
            site.users.remove(transaction, list(current.values()), [entry])

    remove()
    assert entries(site, who.id)[0].after[LEFT] == {"crm": 1}
    write(site, who.id, Write(app_metadata={"seat": 2}))
    assert entries(site, who.id)[0].after[LEFT] == {"crm": 1, "seat": 2}
    site.clock.advance(seconds=5)
    again = replace(who, updated_at=site.clock())
    send(site, "signup", again)
    site.clock.advance(seconds=5)
    delete(site, who.id, "here")
    site.clock.advance(seconds=5)
    write(site, who.id, Write(app_metadata={"late": 3}))
    left = [each.after[LEFT] for each in entries(site, who.id) if LEFT in each.after]
    assert left == [{"late": 3}, {"crm": 1, "seat": 2}]
    assert erased(site) == 1
    assert not [each for each in entries(site, who.id) if LEFT in each.after]


def test_nobody_wrote_of_somebody_who_was_never_here(site: Site) -> None:
    """A write for an id without any record or entry is dropped."""
    site.person()
    write(site, UUID(int=7), ALL)
    assert rows(site.app.store.database, "SELECT * FROM left_keys") == []


def erased(site: Site) -> int:
    """For how many people maintenance erases what handlers wrote, as of now."""
    return site.users.erase_left(site.clock() + timedelta(seconds=1), step=100)


def test_what_handlers_wrote_is_erased_in_the_end(site: Site) -> None:
    """With old deliveries, step by step; a deletion of yesterday keeps it."""
    old = [site.person(f"p{number}@b.example") for number in range(3)]
    for user_id in old:
        write(site, user_id, ALL)
        delete(site, user_id, "event")
    site.clock.advance(days=60)
    who = account(email="young@b.example")
    send(site, "login", who)
    young = who.id
    write(site, young, ALL)
    delete(site, young, "here")
    before = site.clock() - timedelta(days=30)
    assert [site.users.erase_left(before, step=2) for _ in range(3)] == [2, 1, 0]
    for user_id in old:
        newest = entries(site, user_id)[0]
        assert (newest.after["status"], LEFT in newest.after) == ("deleted", False)
    assert LEFT in entries(site, young)[0].after
    site.clock.advance(days=91)
    site.app.maintenance.step()
    assert LEFT not in entries(site, young)[0].after
    assert rows(site.app.store.database, "SELECT * FROM left_keys") == []


def test_a_second_erasure_spares_what_handlers_wrote(site: Site) -> None:
    """Identity tells of the deletion that was made here."""
    user_id = site.person()
    write(site, user_id, ALL)
    delete(site, user_id, "here")
    site.clock.advance(seconds=5)
    delete(site, user_id, "event")
    assert entries(site, user_id)[0].after[LEFT] == {"plan": "gold", "crm": {"id": 7}}
