"""What administrators do: records, versions, audit and tombstones; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.store_support import checked, counts, deliver, rows, users_of
from tests.store.test_users import user
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.bounds import MAX_GRANTS
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import Outcome, Source, Status, User
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import (
    RoleInvalidError,
    UserDeletedError,
    UserNotFoundError,
)
from usher.core.users import UserService

BOSS = "cli:boss"


def signed_up(usher: App, email: str = "ada@example.com", **fields: Any) -> User:
    """A user who came in by a signup."""
    who = account(email=email, **fields)
    deliver(usher, [signed("signup", who)])
    return usher.store.users.find(str(who.id))


def audit(usher: App, of: User) -> list[tuple[Any, ...]]:
    """Action, actor, reason, delivery of each entry of a user, oldest first."""
    return rows(
        usher.store.database,
        "SELECT action, actor, reason, delivery_id FROM audit WHERE user_id = :id "
        "ORDER BY sequence",
        id=of.id.hex if usher.store.database.is_sqlite else of.id,
    )


def difference(usher: App) -> tuple[Any, Any]:
    """Before and after of the newest audit entry."""
    from sqlalchemy import select

    from usher.core.store.tables import AuditRow

    table = AuditRow.__table__  # type: ignore[attr-defined]
    with usher.store.database.read() as transaction:
        newest = select(table.c.before, table.c.after).order_by(table.c.sequence.desc()).limit(1)
        before, after = transaction.sql.execute(newest).one()
    return before, after


def test_a_granted_role_is_effective_recorded_and_audited(usher: App, clock: Clock) -> None:
    """Who, why, until when, before and after; the version grows by one."""
    ada = signed_up(usher)
    clock.advance(minutes=5)
    until = clock() + timedelta(days=1)
    changed = usher.store.users.change(
        ada, administration.grant("editor", expires_at=until), Change(BOSS, "new job")
    )
    assert usher.store.users.find(str(ada.id)) == changed
    assert effective(changed.grants, clock()) == {"editor", "member", "staff"}
    (grant,) = [g for g in changed.grants if g.role == "editor"]
    assert (grant.source, grant.actor, grant.reason) == (Source.ADMINISTRATOR, BOSS, "new job")
    assert (grant.created_at, grant.expires_at) == (clock(), until)
    assert (changed.version, changed.updated_at) == (ada.version + 1, clock())
    assert audit(usher, ada)[-1] == ("role.granted", BOSS, "new job", None)
    before, after = difference(usher)
    assert list(before) == list(after) == ["roles"]
    assert "editor" not in before["roles"]
    assert until.isoformat() in str(after["roles"]["editor"]["administrator"])


def test_a_revoked_policy_role_leaves_a_denial_that_a_login_does_not_undo(
    usher: App, clock: Clock
) -> None:
    """The policy still grants it on record, and the denial beats it."""
    ada = account()
    deliver(usher, [signed("signup", ada)])
    kept = usher.store.users.find(str(ada.id))
    changed = usher.store.users.change(
        kept, administration.revoke("staff"), Change(BOSS, "left the team")
    )
    deliver(usher, [signed("login", ada, at=NOON + timedelta(seconds=9))])
    user_now = usher.store.users.find(str(ada.id))
    assert effective(user_now.grants, clock()) == {"member"} == effective(changed.grants, clock())
    assert audit(usher, changed)[1] == ("role.revoked", BOSS, "left the team", None)


def test_suspension_and_reactivation_are_audited(usher: App) -> None:
    """Out, then in again as before."""
    ada = signed_up(usher)
    out = usher.store.users.change(ada, administration.suspend(), Change(BOSS, "abuse"))
    assert (out.status, out.version) == (Status.SUSPENDED, ada.version + 1)
    assert difference(usher) == ({"status": "active"}, {"status": "suspended"})
    back = usher.store.users.change(out, administration.reactivate(), Change(BOSS))
    assert (back.status, back.version) == (Status.ACTIVE, ada.version + 2)
    assert back.grants == ada.grants
    assert [entry[:3] for entry in audit(usher, ada)][1:] == [
        ("user.suspended", BOSS, "abuse"),
        ("user.reactivated", BOSS, ""),
    ]


UNCHANGED: dict[str, Callable[[UserService, User], User]] = {
    "revoke what nobody has": lambda users, u: users.change(
        u, administration.revoke("nothing"), Change(BOSS)
    ),
    "reactivate an active user": lambda users, u: users.change(
        u, administration.reactivate(), Change(BOSS)
    ),
    "grant again": lambda users, u: users.change(u, administration.grant("editor"), Change(BOSS)),
}


@pytest.mark.parametrize("act", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_an_act_that_changes_nothing_leaves_version_record_and_audit(
    usher: App, clock: Clock, act: Callable[[UserService, User], User]
) -> None:
    """The ETag names the record, so it grows only with it."""
    ada = usher.store.users.change(signed_up(usher), administration.grant("editor"), Change(BOSS))
    before = counts(usher.store.database)
    clock.advance(hours=1)
    assert act(usher.store.users, ada) == ada
    assert usher.store.users.find(str(ada.id)) == ada
    assert counts(usher.store.database) == before


def test_suspending_twice_changes_nothing_the_second_time(usher: App, clock: Clock) -> None:
    """The first suspension's time stays."""
    out = usher.store.users.change(signed_up(usher), administration.suspend(), Change(BOSS))
    clock.advance(hours=1)
    assert usher.store.users.change(out, administration.suspend(), Change(BOSS)) == out


def test_a_change_is_made_to_the_record_as_it_is_now(usher: App) -> None:
    """Not to the copy that somebody read earlier: no change by another is lost."""
    stale = signed_up(usher)
    usher.store.users.change(stale, administration.grant("editor"), Change(BOSS))
    changed = usher.store.users.change(stale, administration.grant("author"), Change(BOSS))
    assert {"editor", "author"} <= {grant.role for grant in changed.grants}
    assert changed.version == stale.version + 2


def test_a_user_who_is_gone_cannot_be_changed(usher: App) -> None:
    """Erased from the table altogether: an error of ours."""
    with pytest.raises(UserNotFoundError):
        usher.store.users.change(user(), administration.grant("editor"), Change(BOSS))


def test_an_impossible_role_is_refused_and_nothing_is_written(usher: App) -> None:
    """Rolled back unless committed."""
    ada = signed_up(usher)
    with pytest.raises(RoleInvalidError):
        usher.store.users.change(ada, administration.grant(" "), Change(BOSS))
    assert usher.store.users.find(str(ada.id)) == ada


# --- tombstones -----------------------------------------------------------------------------------


def test_a_tombstone_keeps_the_id_and_nothing_personal(usher: App) -> None:
    """Neither in the record nor in the audit nor in the ledger; ids, statuses and roles stay."""
    who = account(email="ada.canary@example.com", user_metadata={"full_name": "Ada Canary"})
    other = signed_up(usher, "bob@example.com", user_metadata={"full_name": "Bob"})
    deliver(usher, [signed("signup", who)])
    ada = usher.store.users.find(str(who.id))
    usher.store.users.change(
        ada, administration.grant("editor"), Change(BOSS, "Ada Canary asked for it")
    )
    gone = usher.store.users.change(
        ada, administration.delete(), Change(BOSS, "wish of Ada Canary")
    )
    assert (gone.status, gone.id, gone.instance_id) == (Status.DELETED, ada.id, ada.instance_id)
    assert usher.store.users.find(str(ada.id)) == gone
    assert (gone.email, gone.email_key, gone.provider, gone.grants) == ("", "", "", ())
    assert (gone.user_metadata, gone.app_metadata, gone.proven) == ({}, {}, frozenset())
    for table in ("users", "grants", "audit", "deliveries"):
        kept = str(rows(usher.store.database, f"SELECT * FROM {table}")).lower()
        assert "canary" not in kept, table
    actions = [entry[0] for entry in audit(usher, ada)]
    assert actions == ["user.created", "role.granted", "user.deleted"]
    assert difference(usher) == (
        {"status": "active", "roles": difference(usher)[0]["roles"], "provider": "email"},
        {"status": "deleted", "roles": {}, "provider": ""},
    )
    assert usher.store.users.find("bob@example.com") == other
    assert usher.store.ledger.page().items[1].body is not None


@pytest.mark.parametrize("by", ["an event", "an administrator"])
def test_an_erasure_reaches_every_stored_answer(usher: App, clock: Clock, by: str) -> None:
    """A 200 holds the whole app_metadata, and becomes a 204; a refusal stays as it was."""
    note = {"provider": "email", "note": "Ada Canary"}
    who = account(email="ada@example.com", app_metadata=note)
    for name in ("signup", "login", "usermodified"):
        clock.advance(seconds=1)
        deliver(usher, [signed(name, who, at=clock())])
    users = usher.store.users
    users.change(users.get(who.id), administration.suspend(), Change(BOSS))
    clock.advance(seconds=1)
    deliver(usher, [signed("login", who, at=clock())])
    told = [(d.event, d.reply.status) for d in usher.store.ledger.page().items[::-1]]
    assert told == [("signup", 200), ("login", 200), ("usermodified", 200), ("login", 403)]
    clock.advance(seconds=1)
    deletion = signed("userdeleted", who, at=clock())
    if by == "an event":
        deliver(usher, [signed("login", who, at=clock()), deletion])
    else:
        users.change(users.get(who.id), administration.delete(), Change(BOSS))
        deliver(usher, [signed("login", who, at=clock()), deletion])
    left = usher.store.ledger.page().items
    assert len(left) == 6
    assert [d.body for d in left] == [None] * 6
    assert "Canary" not in str(rows(usher.store.database, "SELECT * FROM deliveries"))
    for delivery in left:
        if delivery.event == "login" and delivery.outcome is Outcome.DENIED:
            assert delivery.reply.status == 403
        else:
            assert (delivery.reply.status, delivery.reply.body) == (204, "")


def test_a_deletion_that_identity_was_answered_for_keeps_no_answer(usher: App) -> None:
    """Events of the spool were answered before anybody could look at the record."""
    note = {"provider": "email", "note": "Ada Canary"}
    who = account(email="ada@example.com", app_metadata=note)
    deliver(usher, [signed("userdeleted", who)])
    late = checked(usher, [signed("login", who)])
    answered = [replace(each, given=Reply.telling(note)) for each in late]
    usher.webhooks.apply(answered)
    kept = usher.store.ledger.page().items[0]
    assert (kept.event, kept.body, kept.reply.status) == ("login", None, 204)
    assert "Canary" not in str(rows(usher.store.database, "SELECT * FROM deliveries"))


@pytest.mark.parametrize("act", ["grant", "revoke", "suspend", "reactivate"])
def test_a_tombstone_cannot_be_changed(usher: App, act: str) -> None:
    """409: nothing about it can change, by nobody."""
    ada = signed_up(usher)
    usher.store.users.change(ada, administration.delete(), Change(BOSS))
    arguments = ("editor",) if act in ("grant", "revoke") else ()
    command = getattr(administration, act)(*arguments)
    with pytest.raises(UserDeletedError):
        usher.store.users.change(ada, command, Change(BOSS))


def test_deleting_twice_changes_nothing_the_second_time(usher: App, clock: Clock) -> None:
    """The first deletion's time stays."""
    gone = usher.store.users.change(signed_up(usher), administration.delete(), Change(BOSS))
    clock.advance(hours=1)
    assert usher.store.users.change(gone, administration.delete(), Change(BOSS)) == gone


def test_an_erasure_touches_no_record_of_the_same_id_elsewhere(usher: App) -> None:
    """Users are keyed by (instance, id)."""
    from uuid import UUID

    elsewhere = UUID(int=7)
    who = account()
    deliver(usher, [signed("signup", who)])
    other = App(replace(usher.settings, instance_id=elsewhere), usher.clock)
    deliver(other, [signed("signup", who, instance_id=elsewhere)])
    other.close()
    here, there = (users_of(usher, instance) for instance in (UUID(int=0), elsewhere))
    here.change(here.get(who.id), administration.delete(), Change(BOSS))
    assert there.get(who.id).email == who.email
    bodies = dict(rows(usher.store.database, "SELECT instance_id, body FROM deliveries"))
    assert [body is None for _, body in sorted(bodies.items(), key=str)] == [True, False]


def test_a_user_can_have_only_so_many_grants(usher: App) -> None:
    """Roles travel in every token."""
    ada = signed_up(usher)
    roles = [f"r{number}" for number in range(MAX_GRANTS)]
    with pytest.raises(RoleInvalidError, match="at most 100"):
        usher.store.users.change(ada, administration.set_roles(roles), Change(BOSS))
    assert usher.store.users.find(str(ada.id)) == ada
