# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases of records and accounts that differ: pushes, drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import text

from tests.cli.walk import Identity, Steps, Walk, case, refused
from tests.emulator.world import MOUNT, OPERATOR
from tests.stub import Answer
from tests.support import SECRET
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.sync_plan import Plan
from usher.functions._shared.http import Request, Response

IDENTITY_URL, TOKEN = "USHER_IDENTITY_URL", "USHER_IDENTITY_ADMIN_TOKEN"
BRIDGE_URL, BRIDGE_SECRET = "USHER_BRIDGE_URL", "USHER_BRIDGE_SECRET"
BOB = "bob@example.com"


def grant(at: Walk, role: str = "editor", who: str = BOB) -> None:
    """Something that Identity must be told of."""
    at.program("users", "grant", who, role)


# --- pushes ---------------------------------------------------------------------------------------


@case("pushes.identity_away")
def a_change_while_identity_is_away(at: Walk) -> Steps:
    identity = at.identity()
    identity.bob()
    identity.stop()
    grant(at)
    yield {}
    identity.start()


@case("pushes.bridge_failed")
def a_change_while_the_bridge_is_closed(at: Walk) -> Steps:
    identity = at.identity()
    identity.bob()
    answers: list[Callable[[str, bytes], Answer]] = [lambda *_: refused(503, "bridge_closed")]

    def answer(path: str, body: bytes) -> Answer:
        return answers[-1](path, body)

    bridge = at.serve(answer)
    for name, value in (
        (IDENTITY_URL, ""), (TOKEN, ""), (BRIDGE_URL, bridge.url), (BRIDGE_SECRET, SECRET.decode())
    ):  # fmt: skip
        at.set(name, value)
    grant(at)
    yield {}
    answers.append(identity.bridge())


@case("pushes.credentials")
def a_change_with_wrong_credentials(at: Walk) -> Steps:
    at.identity().bob()
    at.set(TOKEN, "wrong")
    grant(at)
    yield {}
    at.set(TOKEN, OPERATOR)


def a_change_and_no_credentials(at: Walk) -> dict[str, str]:
    """They were removed after a push failed."""
    identity = at.identity()
    identity.bob()
    identity.stop()
    grant(at)
    identity.start()
    at.set(TOKEN, "")
    at.set(IDENTITY_URL, "")
    return {IDENTITY_URL: identity.url, TOKEN: OPERATOR}


@case("pushes.not_configured", 0)
def credentials_that_were_removed(at: Walk) -> Steps:
    yield a_change_and_no_credentials(at)


@case("pushes.not_configured", 1)
def credentials_that_were_removed_on_purpose(at: Walk) -> Steps:
    a_change_and_no_credentials(at)
    yield {}
    (bob,) = at.program.json("users", "list")["users"]
    at.program.deliver("login", BOB, user_id=UUID(bob["id"]), roles=["member", "staff"])


@case("pushes.account_missing", 0)
def a_change_of_somebody_who_is_gone(at: Walk) -> Steps:
    identity = at.identity()
    identity.delete(identity.bob())
    grant(at)
    yield {}


@case("pushes.account_missing", 1)
def a_change_at_another_identity(at: Walk) -> Steps:
    own = at.identity()
    own.bob()
    at.identity()  # another one, without him
    grant(at)
    yield {IDENTITY_URL: own.url}


@case("pushes.roles_unreadable")
def roles_that_are_no_list(at: Walk) -> Steps:
    identity = at.identity()
    user_id = identity.bob()
    there = f"/admin/users/{user_id}"
    identity.world.admin("PUT", there, {"app_metadata": {"roles": {"editor": True}}})
    grant(at)
    yield {}
    identity.world.admin("PUT", there, {"app_metadata": {"roles": ["member", "staff"]}})


@case("pushes.account_unreadable")
def an_account_of_another_form(at: Walk) -> Steps:
    identity = at.identity()
    there = f"{MOUNT}/admin/users/{identity.bob()}"
    odd = Response(200, '{"id":"x","app_metadata":[]}', "application/json")
    identity.answer = lambda request: odd if request.path == there else None
    grant(at)
    yield {}
    identity.answer = lambda _: None


@case("drift.unreadable")
def an_account_that_sync_cannot_read(at: Walk) -> Steps:
    identity, ids = filled(at, 3)
    odd = Response(502, "", "text/plain")
    broken = f"{MOUNT}/admin/users/{ids[1]}"
    email = f'"id":"{ids[1]}"'

    def answer(request: Request) -> Response | None:
        good = identity.world.emulator.handle(request)
        if request.path == broken:
            return odd
        spoilt = good.body.replace(email, f'{email},"email":7,"was":"x"')
        return replace(good, body=spoilt) if email in good.body else None

    identity.answer = answer
    compared(at)
    yield {}
    identity.answer = lambda _: None


@case("drift.roles_unreadable")
def roles_that_sync_cannot_read(at: Walk) -> Steps:
    identity, ids = filled(at, 3)
    there = f"/admin/users/{ids[1]}"
    identity.world.admin("PUT", there, {"app_metadata": {"roles": {"editor": True}}})
    compared(at)
    yield {}
    identity.world.admin("PUT", there, {"app_metadata": {"roles": ["member", "staff"]}})


def refusing(at: Walk) -> list[bool]:
    """Identity does not take the role ``cursed``, as long as the list is not empty."""
    identity = at.identity()
    identity.bob()
    on = [True]

    def answer(request: Request) -> Response | None:
        if on and request.method == "PUT" and b"cursed" in request.body:
            return Response(422, json.dumps({"code": 422, "msg": "No."}), "application/json")
        return None

    identity.answer = answer
    grant(at, "cursed")
    return on


@case("pushes.refused", 0)
def a_role_that_identity_refuses(at: Walk) -> Steps:
    refusing(at)
    yield {}
    at.program("users", "revoke", BOB, "cursed")


@case("pushes.refused", 1)
def a_fault_of_identity(at: Walk) -> Steps:
    on = refusing(at)
    yield {}
    on.clear()
    with at.program.app(at.moved(timedelta(minutes=2))) as app:  # a running server, later
        assert app.pushes.push_pending().settled == 1


@case("pushes.failed")
def a_push_that_another_version_tried(at: Walk) -> Steps:
    identity = at.identity()
    identity.bob()
    identity.stop()
    grant(at)
    identity.start()
    with at.program.app() as app, app.store.write() as transaction:
        transaction.sql.execute(
            text("UPDATE pushes SET error = 'of_tomorrow: It is not yet known.'")
        )
    yield {}


@case("pushes.idle")
def a_change_and_no_server(at: Walk) -> Steps:
    user_id = at.identity().bob()
    with at.program.app(at.moved(timedelta(hours=-1))) as app:
        users = app.store.users
        users.change(users.get(user_id), administration.grant("editor"), Change("cli:eve"))
    yield {}


# --- drift ----------------------------------------------------------------------------------------


def compared(at: Walk, *options: str) -> None:
    """``usher sync``, whatever it finds."""
    at.program("sync", *options, code=(0, 3, 4))


@case("drift.here", leaves=("drift.there",))
def accounts_without_records(at: Walk) -> Steps:
    at.set("USHER_INSTANCE_ID", str(UUID(int=0)))
    at.identity().fill(3)
    compared(at)
    yield {}


@case("drift.there")
def roles_that_identity_lacks(at: Walk) -> Steps:
    at.set("USHER_INSTANCE_ID", str(UUID(int=0)))
    at.identity().fill(3, app_metadata={"provider": "email", "roles": []})
    compared(at, "--pull")
    compared(at)
    yield {}


def filled(at: Walk, count: int) -> tuple[Identity, list[UUID]]:
    """Accounts and records that agree."""
    at.set("USHER_INSTANCE_ID", str(UUID(int=0)))
    identity = at.identity()
    ids = identity.fill(count)
    compared(at, "--both")
    return identity, ids


@case("drift.missing_there", 0)
def an_account_that_was_deleted(at: Walk) -> Steps:
    identity, ids = filled(at, 30)
    identity.delete(ids[0])
    compared(at)
    yield {}


@case("drift.missing_there", 0)
def many_accounts_that_were_deleted(at: Walk) -> Steps:
    identity, ids = filled(at, 3)
    identity.delete(ids[0])
    compared(at)
    at.codes = (0, 1, 3)
    yield {}
    yield {}
    (advice,) = (each["advice"][0] for each in at.ask().values())
    assert "add --force" in advice["mend"]
    at.run(f"{advice['commands'][0]} --force")


@case("drift.missing_there", 1)
def the_last_administrator_is_gone(at: Walk) -> Steps:
    identity, ids = filled(at, 30)
    grant(at, "admin", str(ids[0]))
    identity.delete(ids[0])
    compared(at, "--pull", "--prune")
    yield {}
    grant(at, "admin", str(ids[1]))


@case("drift.deleted_here")
def users_that_were_deleted_here(at: Walk) -> Steps:
    _, ids = filled(at, 30)
    at.set(TOKEN, "")
    at.program("users", "delete", str(ids[0]), "--yes")
    at.set(TOKEN, OPERATOR)
    compared(at)
    yield {}


@case("drift.old")
def an_old_comparison(at: Walk) -> Steps:
    at.identity().bob()
    with at.program.app(at.moved(timedelta(days=-31))) as app:
        assert [*app.sync.run(Plan())]
    yield {}
