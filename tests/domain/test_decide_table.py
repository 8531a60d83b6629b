"""The table of decisions, cell by cell, and the rules of the reply."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import (
    ASKING,
    NAMES,
    NOON,
    after,
    event,
    message,
    moment,
    noted,
    outcome,
)
from usher.core.domain.records import Outcome, Source, Status, User
from usher.core.domain.roles import effective

STATES = ("unknown", "pending", "waiting", "active", "suspended", "deleted")


def state(name: str) -> User | None:
    """A record of Ada in this state, written by older events."""
    if name == "unknown":
        return None
    pending = after([event("validate", -90)])
    assert pending is not None
    waiting = after([event("signup", -80, email="ada@other.org")], pending, ASKING)
    active = after([event("signup", -80)], pending)
    assert active is not None
    return {
        "pending": pending,
        "waiting": waiting,
        "active": active,
        "suspended": replace(active, suspended_at=NOON),
        "deleted": after([event("userdeleted", -70)], active),
    }[name]


# event, state -> result, status after, HTTP status of the reply
TABLE = {
    ("validate", "unknown"): ("applied", "pending", 204),
    ("validate", "pending"): ("applied", "pending", 204),
    ("validate", "waiting"): ("unchanged", "waiting", 204),
    ("validate", "active"): ("unchanged", "active", 204),
    ("validate", "suspended"): ("denied", "suspended", 403),
    ("validate", "deleted"): ("unchanged", "deleted", 204),
    ("signup", "unknown"): ("applied", "active", 200),
    ("signup", "pending"): ("applied", "active", 200),
    ("signup", "waiting"): ("applied", "active", 200),
    ("signup", "active"): ("applied", "active", 200),
    ("signup", "suspended"): ("denied", "suspended", 403),
    ("signup", "deleted"): ("unchanged", "deleted", 204),
    ("login", "unknown"): ("applied", "active", 200),
    ("login", "pending"): ("applied", "active", 200),
    ("login", "waiting"): ("applied", "active", 200),
    ("login", "active"): ("applied", "active", 200),
    ("login", "suspended"): ("denied", "suspended", 403),
    ("login", "deleted"): ("denied", "deleted", 403),
    ("usermodified", "unknown"): ("applied", "pending", 204),
    ("usermodified", "pending"): ("applied", "pending", 204),
    ("usermodified", "waiting"): ("applied", "waiting", 204),
    ("usermodified", "active"): ("applied", "active", 200),
    ("usermodified", "suspended"): ("applied", "suspended", 204),
    ("usermodified", "deleted"): ("unchanged", "deleted", 204),
    ("userdeleted", "unknown"): ("applied", "deleted", 204),
    ("userdeleted", "pending"): ("applied", "deleted", 204),
    ("userdeleted", "waiting"): ("applied", "deleted", 204),
    ("userdeleted", "active"): ("applied", "deleted", 204),
    ("userdeleted", "suspended"): ("applied", "deleted", 204),
    ("userdeleted", "deleted"): ("unchanged", "deleted", 204),
}


# The same for a policy that asks for approval: an event of somebody whom it does not let in by
# itself. Where nothing is listed it is as above.
ASKS = {
    ("signup", "unknown"): ("applied", "waiting", 200),
    ("signup", "pending"): ("applied", "waiting", 200),
    ("signup", "waiting"): ("applied", "waiting", 200),
    ("login", "unknown"): ("applied", "waiting", 200),
    ("login", "pending"): ("applied", "waiting", 200),
    ("login", "waiting"): ("applied", "waiting", 200),
    ("usermodified", "waiting"): ("applied", "waiting", 200),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATES)
def test_every_cell_of_the_table_where_the_policy_asks(name: str, status: str) -> None:
    """Nobody who waits is answered a role, and those that Identity shows are taken off."""
    result, status_after, reply = ASKS.get((name, status), TABLE[name, status])
    shown = event(name, email="ada@other.org", roles=["editor"])
    found = outcome(shown, state(status), ASKING)
    assert found.user is not None
    assert (found.outcome, found.user.status) == (result, status_after)
    if status_after == "waiting" and name != "validate":
        assert (found.reply.status, (found.reply.app_metadata or {})["roles"]) == (reply, [])
        assert found.user.grants == ()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATES)
def test_every_cell_of_the_table(name: str, status: str) -> None:
    """Each event in each state ends as the table says."""
    result, status_after, reply = TABLE[name, status]
    found = outcome(event(name, email="ada@example.com"), state(status))
    assert found.user is not None
    assert (found.outcome, found.user.status, found.reply.status) == (result, status_after, reply)
    assert found.reasons


@pytest.mark.parametrize(
    ("name", "status", "waits"),
    [
        ("validate", "active", True),
        ("validate", "deleted", True),
        ("signup", "deleted", True),
        ("usermodified", "deleted", True),
        ("userdeleted", "deleted", False),
    ],
)
def test_what_identity_must_be_told_is_so_still_after_an_event_that_changes_nothing(
    name: str, status: str, waits: bool
) -> None:
    """Only Identity's word that the user is gone is the end of telling it."""
    before = state(status)
    assert before is not None
    found = outcome(event(name, email="ada@example.com"), noted(before, pending=True))
    assert found.user == noted(before, pending=waits)


@pytest.mark.parametrize("name", ["validate", "signup"])
@pytest.mark.parametrize("status", ["unknown", "pending"])
def test_a_refused_newcomer_changes_nothing(name: str, status: str) -> None:
    """A denial leaves no user, or the record as it was."""
    before = state(status)
    found = outcome(event(name, email="eve@bad.example"), before)
    assert (found.outcome, found.user, found.audit) == (Outcome.DENIED, before, None)
    assert found.reply.status == 403
    assert message(found.reply)


def test_a_usermodified_of_a_confirmed_account_activates_it() -> None:
    """An administrator at Identity confirmed the account; no signup will come."""
    found = outcome(event("usermodified", confirmed_at=moment(-5)))
    assert found.user is not None
    assert found.user.status is Status.ACTIVE
    assert "member" in effective(found.user.grants, NOON)


def test_deletion_erases_every_personal_datum_and_keeps_the_id() -> None:
    """A tombstone holds ids and times only."""
    active = after([event("signup", user_metadata={"full_name": "Ada"})])
    assert active is not None
    gone = outcome(event("userdeleted", 1), active).user
    assert gone == User(
        active.instance_id, active.id, active.created_at, NOON, deleted_at=NOON, version=2
    )


@pytest.mark.parametrize(
    ("app_metadata", "status", "answered"),
    [
        (None, 200, {"roles": ["member"]}),
        ({}, 200, {"roles": ["member"]}),
        ({"provider": "email"}, 200, {"provider": "email", "roles": ["member"]}),
        ({"provider": "email", "roles": ["member"]}, 204, None),
        ({"provider": "email", "roles": []}, 200, {"provider": "email", "roles": ["member"]}),
        (
            {"provider": "email", "roles": "member", "plan": {"x": [1, None]}},
            200,
            {"provider": "email", "roles": ["member"], "plan": {"x": [1, None]}},
        ),
        ({"roles": ["member", "member"]}, 200, {"roles": ["member"]}),
        ({"roles": ["member", 7]}, 204, None),
        ({"roles": [7]}, 200, {"roles": ["member", 7]}),
        ({"odd": None}, 200, {"odd": None, "roles": ["member"]}),
    ],
)
def test_the_reply_is_the_whole_map_or_nothing(
    app_metadata: dict[str, object] | None, status: int, answered: dict[str, object] | None
) -> None:
    """Unknown keys and provider survive; equal roles in any order need no reply."""
    found = outcome(event("signup", email="x@other.org", app_metadata=app_metadata))
    assert (found.reply.status, found.reply.app_metadata) == (status, answered)


def test_the_same_roles_in_another_order_need_no_reply() -> None:
    """Identity's order of roles means nothing."""
    found = outcome(event("signup", roles=["staff", "member"]))
    assert found.reply.status == 204


def test_user_metadata_and_aud_can_give_no_role() -> None:
    """What the person chose is never looked at."""
    chosen = {"roles": ["admin"], "role": "admin", "app_metadata": {"roles": ["admin"]}}
    found = outcome(event("signup", email="x@other.org", user_metadata=chosen, aud="admin"))
    assert found.user is not None
    assert effective(found.user.grants, NOON) == {"member"}


def test_null_metadata_is_accepted() -> None:
    """Identity may send null for both maps."""
    found = outcome(event("signup", app_metadata=None, user_metadata=None))
    assert found.user is not None
    assert (found.user.app_metadata, found.user.user_metadata) == ({}, {})


PROOFS = [
    ("validate", {"proven": True}, False),
    ("validate", {"provider": "google"}, False),
    ("signup", {"proven": True}, True),
    ("signup", {"proven": False}, False),
    ("signup", {"proven": False, "invited_at": NOON}, True),
    ("signup", {"proven": False, "recovery_sent_at": NOON}, True),
    ("signup", {"proven": False, "recovery_sent_at": NOON - timedelta(hours=24)}, True),
    ("signup", {"proven": False, "recovery_sent_at": NOON - timedelta(hours=25)}, False),
    ("signup", {"confirmation_sent_at": NOON - timedelta(hours=24)}, True),
    ("signup", {"confirmation_sent_at": NOON - timedelta(hours=25)}, False),
    ("signup", {"invited_at": NOON - timedelta(days=99), "proven": False}, True),
    ("signup", {"provider": "google"}, True),
    ("signup", {"proven": False, "app_metadata": {}}, False),
    ("login", {"proven": False, "recovery_sent_at": NOON}, False),
    ("login", {"proven": True}, True),
    ("login", {"confirmation_sent_at": NOON - timedelta(days=99)}, True),
    ("login", {"proven": True, "confirmed_at": NOON + timedelta(hours=24)}, True),
    ("login", {"proven": True, "confirmed_at": NOON + timedelta(hours=25)}, False),
    ("usermodified", {"proven": True, "confirmed_at": NOON + timedelta(hours=25)}, False),
    ("usermodified", {"proven": True}, False),
    ("usermodified", {"proven": True, "confirmed_at": NOON}, True),
    ("usermodified", {"proven": False, "confirmed_at": NOON}, False),
]


@pytest.mark.parametrize(("name", "fields", "proven"), PROOFS)
def test_what_proves_an_address(name: str, fields: dict[str, Any], proven: bool) -> None:
    """An unproven address gets no role that names its domain."""
    found = outcome(event(name, email="ada@example.com", **fields))
    assert found.user is not None
    assert ("ada@example.com" in found.user.proven) is proven
    assert ("staff" in effective(found.user.grants, NOON)) is proven


def test_asking_for_a_recovery_proves_nothing() -> None:
    """An autoconfirmed account gains nothing by a recovery mail that it asked for."""
    user = after([event("signup", 0, proven=False)])
    user = after([event("login", 9, proven=False, recovery_sent_at=NOON)], user)
    assert user is not None
    assert effective(user.grants, NOON) == {"member"}


def test_a_proof_is_kept_with_the_address_it_proves() -> None:
    """A recovery completed at signup still counts later; another address starts unproven."""
    user = after([event("signup", 0, proven=False, recovery_sent_at=NOON)])
    user = after([event("login", 9, proven=False)], user)
    assert user is not None
    assert "staff" in effective(user.grants, NOON)
    user = after([event("login", 10, proven=False, email="boss@example.com")], user)
    assert user is not None
    assert "staff" not in effective(user.grants, NOON)


def test_an_older_event_never_overwrites_the_profile() -> None:
    """Order is by iat, not by arrival."""
    user = after([event("login", 10, email="new@example.com")])
    stale = outcome(event("usermodified", 5, email="old@example.com", roles=["editor"]), user)
    assert stale.user is not None
    assert stale.user.email == "new@example.com"
    assert "editor" not in effective(stale.user.grants, NOON)
    assert "event.older" in [reason.rule for reason in stale.reasons]


def test_validate_never_overwrites_what_another_event_wrote() -> None:
    """Nothing can have happened to an account before it exists."""
    user = after([event("usermodified", 5, email="real@example.com"), event("validate", 9)])
    assert user is not None
    assert user.email == "real@example.com"


def test_a_login_is_no_new_version_of_the_record() -> None:
    """An administrator's edit must not fail because the person logged in meanwhile."""
    user = after([event("signup", 0, roles=["member", "staff"])])
    assert user is not None
    found = outcome(event("login", 5, roles=["member", "staff"]), user)
    assert found.user is not None
    assert (found.user.version, found.audit) == (user.version, None)
    assert found.user.last_seen_at == moment(5)


def test_policy_grants_follow_the_policy_and_touch_nobody_elses() -> None:
    """A role whose rule no longer holds goes; Identity's grant of another stays."""
    user = after([event("signup", 0, roles=["editor"])])
    user = after([event("login", 5, email="ada@other.org", roles=["editor", "member"])], user)
    assert user is not None
    assert {(g.role, g.source) for g in user.grants} == {
        ("editor", Source.IDENTITY),
        ("member", Source.POLICY),
    }


def test_reasons_never_hold_an_address() -> None:
    """Reasons outlive erasure."""
    for each in (event("signup"), event("signup", email="eve@bad.example")):
        found = outcome(each)
        assert all("@" not in reason.text for reason in found.reasons)
