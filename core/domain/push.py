"""What Identity must be told about one user, and what follows from its answers. Pure.

A push is: read the account, merge what people changed there, write the roles that hold here. The
events that it makes Identity send, and those of other changes meanwhile, may come at any moment of
it; ``core.domain.at_identity`` tells them apart by what is noted before anything is written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import Status, User
from usher.core.domain.roles import effective, take_over

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What to do after a look at the account.

    Attributes:
        user: the record with what was changed at Identity, and with what is about to be written.
        patch: of ``app_metadata``, to be merged there; empty: nothing is to be told.
        unsettled: an answer to an event may still be on its way, and would undo this.
    """

    user: User
    patch: Mapping[str, Any]
    unsettled: bool


def wanted_roles(user: User, now: datetime) -> frozenset[str]:
    """The roles that Identity shall put into tokens: none for who is suspended."""
    return frozenset() if user.status is Status.SUSPENDED else effective(user.grants, now)


def must_be_told(before: User | None, after: User, now: datetime) -> bool:
    """Whether a change leaves something that Identity, as far as we know, does not have."""
    if after.status is Status.DELETED:
        return before is None or before.status is not Status.DELETED
    extra = _difference(after.extra_app_metadata, after.app_metadata)
    return wanted_roles(after, now) != after.at_identity.expected or bool(extra)


def patch_for(user: User, found: IdentityUser, now: datetime) -> dict[str, Any]:
    """What is to be merged into the account's ``app_metadata``, and nothing else of it."""
    held = found.app_metadata or {}
    patch = _difference(user.extra_app_metadata, held)
    wanted = wanted_roles(user, now)
    listed = held.get("roles", [])
    if found.roles != wanted or not isinstance(listed, list) or len(listed) != len(wanted):
        patch["roles"] = sorted(wanted)
    return patch


def prepare(user: User, found: IdentityUser, now: datetime) -> Prepared:
    """Merge what Identity answered about the account, and note what will be written there."""
    user = take_over(user, found.roles, now)
    unsettled = user.at_identity.may_be_undone(now)
    patch = patch_for(user, found, now)
    if patch:
        noted = user.at_identity.push_begun(wanted_roles(user, now), found.roles, now)
    else:
        noted = user.at_identity.settled(look_again=unsettled)
    return Prepared(replace(user, at_identity=noted), patch, unsettled)


def conclude(
    user: User, prepared: Prepared, answer: IdentityUser, now: datetime
) -> tuple[User, bool]:
    """The record after Identity's answer to what was written, and whether that was all.

    Where an event came meanwhile and shows other roles than the answer, nobody can tell which of
    the two is the newer: nothing is taken over then, and the next look decides.

    Args:
        user: the record as it is by now.
    """
    noted = prepared.user
    if answer.roles != user.at_identity.seen and not same_view(user, noted):
        return replace(user, at_identity=user.at_identity.marked_pending()), False
    answered = user.at_identity.answered_since(noted.at_identity)
    user = take_over(user, answer.roles, now)
    done = not answered and not patch_for(user, answer, now)
    settled = user.at_identity.settled(look_again=prepared.unsettled or not done)
    return replace(user, at_identity=settled), done


def same_view(one: User, other: User) -> bool:
    """Whether no event changed what we know of the account between two readings."""
    return one.order == other.order and one.at_identity.seen == other.at_identity.seen


def _difference(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The keys whose value is another there; None where one must go."""
    return {
        key: value
        for key, value in wanted.items()
        if (key in held if value is None else held.get(key, _ABSENT) != value)
    }
