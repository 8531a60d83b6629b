"""A handler's own change of one record: a pure function from a record to a record.

A handler has less to say than an administrator: it never touches the administrators' role, lifts no
denial, approves nobody, and takes away only the roles that it gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from usher.core.bounds import MAX_ROLE_CHARACTERS
from usher.core.domain.held_roles import is_role
from usher.core.domain.in_flight import IN_FLIGHT_SECONDS
from usher.core.domain.outbox import HANDLER, Write
from usher.core.domain.policy import listed, reserved_keys
from usher.core.domain.records import AuditEntry, Grant, Source, User
from usher.core.domain.roles import too_many, with_grant, without
from usher.core.domain.written import UserKey, Written, with_keys
from usher.core.errors import (
    HandlersCircleError,
    MetadataInvalidError,
    RoleInvalidError,
    UserWaitingError,
)
from usher.core.strict_json import cannot_travel, equal

ACTION: Final = "handler.wrote"
CIRCLE: Final = 30
"""Changes of a record in a row that are all by handlers."""
CIRCLE_TIME: Final = timedelta(hours=1)
_HANDLER: Final = Source.HANDLER


def require_valid(write: Write, admin_role: str) -> None:
    """Refuse what no record can take from a handler.

    Raises:
        RoleInvalidError: the administrators' role, not a role's name, or one that is both given
            and taken.
        MetadataInvalidError: over ``MAX_WRITTEN_BYTES``, not JSON, or with a reserved key.
    """
    for role in sorted({*write.grant, *write.revoke}):
        if role == admin_role:
            raise RoleInvalidError(
                f"A handler neither gives nor takes {role!r}, the administrators' role. "
                "An administrator does: usher users grant, or the console."
            )
        if not is_role(role):
            raise RoleInvalidError(
                f"{role[:40]!r} cannot be a role: 1 to {MAX_ROLE_CHARACTERS} printable "
                "characters, no space at either end."
            )
    if both := set(write.grant).intersection(write.revoke):
        raise RoleInvalidError(f"{listed(both)} cannot be given and taken in one write.")
    if reserved := reserved_keys(write.app_metadata):
        raise MetadataInvalidError(
            f"{listed(reserved)} of app_metadata cannot be written by a handler; "
            "roles are given with grant=."
        )
    _require_fit("app_metadata", write.app_metadata)
    _require_fit("user_metadata", write.user_metadata)


def require_no_circle(acts: Sequence[tuple[str, str]]) -> None:
    """Refuse one more write where handlers seem to answer each other without end.

    Args:
        acts: action and actor of the newest ``CIRCLE`` changes of the record that are not older
            than ``CIRCLE_TIME``.

    Raises:
        HandlersCircleError: with the handlers' names.
    """
    if len(acts) >= CIRCLE and all(action == ACTION for action, _ in acts):
        names = sorted({actor.removeprefix(HANDLER) for _, actor in acts})
        raise HandlersCircleError(len(acts), tuple(names))


def apply_write(user: User, write: Write, actor: str, now: datetime, reason: str = "") -> User:
    """The record after a handler's write; the same one where nothing differs.

    Args:
        user: no tombstone.
        write: after ``require_valid``.
        actor: ``handler:NAME``.
        reason: stands with each grant.

    Raises:
        RoleInvalidError: one grant over ``MAX_GRANTS``.
        MetadataInvalidError: all keys of handlers together are over ``MAX_WRITTEN_BYTES``.
        UserWaitingError: the user waits for approval, and is given a role.
    """
    if user.waiting_since is not None and write.grant:
        raise UserWaitingError
    name = actor.removeprefix(HANDLER)
    changed = _write_app_metadata(user, write.app_metadata, name)
    changed = _write_user_metadata(changed, write.user_metadata, name, now)
    for role in sorted(set(write.revoke)):
        changed = _revoke(changed, role, actor)
    for role in sorted(set(write.grant)):
        changed = _grant(changed, Grant(role, _HANDLER, now, actor=actor, reason=reason))
    return user if equal(changed, user) else changed


def left_by(write: Write) -> dict[str, Any]:
    """The keys of a write that came too late: the person is deleted, and only this is kept."""
    keys = {**write.user_metadata, **write.app_metadata}
    return {key: value for key, value in keys.items() if value is not None}


def as_replayed(user: User, act: AuditEntry) -> Written | None:
    """The notes after an act of the audit; a handler's counts as told to Identity at once.

    Args:
        user: the record after the act, but for these notes.
    """
    if not act.actor.startswith(HANDLER):
        return user.written
    name, moment = act.actor.removeprefix(HANDLER), int(act.at.timestamp())
    written = user.written or Written()
    app_keys, keys = (_keys_in(act, part) for part in ("extra_app_metadata", "user_metadata"))
    new = {key: UserKey(user.user_metadata.get(key), name, moment) for key in keys}
    return Written(
        {**written.app_metadata, **dict.fromkeys(app_keys, name)},
        {**written.user_metadata, **new},
    )


def _keys_in(act: AuditEntry, part: str) -> list[str]:
    return sorted({*(act.before or {}).get(part, {}), *act.after.get(part, {})})


def _write_app_metadata(user: User, keys: Mapping[str, Any], name: str) -> User:
    if not keys:
        return user
    # A null stays on record, as an administrator's does: it takes the key out of every reply.
    extra = {**user.extra_app_metadata, **keys}
    _require_fit("app_metadata", extra)
    written = user.written or Written()
    by_key = {**written.app_metadata, **dict.fromkeys(keys, name)}
    return replace(user, extra_app_metadata=extra, written=replace(written, app_metadata=by_key))


def _write_user_metadata(user: User, keys: Mapping[str, Any], name: str, now: datetime) -> User:
    if not keys:
        return user
    written = user.written or Written()
    shown, old = user.user_metadata, written.user_metadata
    new = {
        key: UserKey(value, name)
        for key, value in keys.items()
        if key not in old or not equal(old[key].value, value) or not equal(shown.get(key), value)
    }
    past = int(now.timestamp()) - IN_FLIGHT_SECONDS
    kept = {
        key: each
        for key, each in old.items()
        if each.value is not None or not each.told_at or each.told_at > past
    }
    noted = {**kept, **new}
    _require_fit("user_metadata", {key: each.value for key, each in noted.items()})
    return replace(
        user,
        user_metadata=with_keys(shown, {key: each.value for key, each in new.items()}),
        written=replace(written, user_metadata=noted),
    )


def _grant(user: User, new: Grant) -> User:
    if any(each.role == new.role and each.source is _HANDLER for each in user.grants):
        return user  # it stays with the handler that gave it first
    grants = with_grant(user.grants, new)
    if problem := too_many(grants):
        raise RoleInvalidError(f"{problem[0].upper()}{problem[1:]}.")
    return replace(user, grants=grants)


def _revoke(user: User, role: str, actor: str) -> User:
    for each in user.grants:
        if (each.role, each.source, each.actor) == (role, _HANDLER, actor):
            return replace(user, grants=without(user.grants, role, _HANDLER))
    return user


def _require_fit(name: str, values: Mapping[str, Any]) -> None:
    try:
        problem = cannot_travel(dict(values))
    except (TypeError, ValueError):
        problem = "hold what is not JSON"
    if problem:
        raise MetadataInvalidError(f"The {name} that handlers write would {problem}.")
