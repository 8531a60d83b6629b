"""A push of one user to Identity: its content, and the record after it. Pure.

A push reads the account, merges people's changes there, and writes the roles that hold here. Events
may come at any moment of it: those that the push causes, and those of other changes.
``usher.core.domain.at_identity`` tells them apart by notes made before anything is written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import Status, User
from usher.core.domain.roles import effective, take_over
from usher.core.domain.written import NO_KEYS, untold_keys
from usher.core.strict_json import equal

_ABSENT: Final = object()


class Prepared(Struct, frozen=True, gc=False):
    """The next step of a push, after a look at the account.

    Attributes:
        user: the record with people's changes at Identity, and the coming write noted.
        patch: keys of ``app_metadata`` to merge there; empty: Identity has all of them.
        unsettled: an answer to an event may still be on its way, and would undo the write.
        refused: why the roles are not written there although they may differ; empty: they are.
        of_person: keys of ``user_metadata`` to merge there, which handlers wrote.
    """

    user: User
    patch: Mapping[str, Any]
    unsettled: bool
    refused: str = ""
    of_person: Mapping[str, Any] = NO_KEYS

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.patch or self.of_person)


def wanted_roles(user: User, now: datetime) -> frozenset[str]:
    """The roles that Identity shall put into tokens: none for a suspended user."""
    return frozenset() if user.status is Status.SUSPENDED else effective(user.grants, now)


def must_be_told(before: User | None, after: User, now: datetime) -> bool:
    """Whether Identity, as far as we know, differs from the record after a change."""
    if after.status is Status.DELETED:
        return before is None or before.status is not Status.DELETED
    if _difference(after.extra_app_metadata, after.app_metadata):
        return True
    return wanted_roles(after, now) != after.at_identity.expected or may_be_overwritten(after, now)


def may_be_overwritten(user: User, now: datetime) -> bool:
    """Whether an answer in flight may leave other roles at Identity than it shall have."""
    noted = user.at_identity
    return bool(noted.in_flight) and noted.may_come_to_differ(wanted_roles(user, now))


def patch_for(user: User, found: IdentityUser, now: datetime) -> dict[str, Any]:
    """The keys to merge into the account's ``app_metadata``; its other keys stay.

    Keys that cannot be seen there (``IdentityUser.shows_keys``) are among them.
    """
    patch = _difference(user.extra_app_metadata, found.app_metadata or {})
    wanted, held = wanted_roles(user, now), found.held_roles
    if not held.foreign and not held.shows(wanted):
        patch["roles"] = held.telling(wanted)
    return patch


def prepare(user: User, found: IdentityUser, now: datetime) -> Prepared:
    """Merge the account as Identity answered it, and note the coming write."""
    held = found.held_roles
    user = take_over(user, held, now)
    wanted, noted = wanted_roles(user, now), user.at_identity
    unsettled = (
        noted.may_be_undone(now)
        or may_be_overwritten(user, now)
        or (bool(user.extra_app_metadata) and noted.awaits_answers)
    )
    refused = held.unreadable if held.foreign and (wanted or noted.expected) else ""
    patch, of_person = patch_for(user, found, now), untold_keys(user.written)
    if not patch and not of_person:
        noted = noted.settled(look_again=unsettled or bool(refused))
    elif not held.foreign:
        noted = noted.push_begun(wanted, held.names, now)
    return Prepared(replace(user, at_identity=noted), patch, unsettled, refused, of_person)


def conclude(
    user: User, prepared: Prepared, answer: IdentityUser, now: datetime
) -> tuple[User, bool]:
    """The record after Identity's answer to the write, and whether the push is complete.

    An event that came meanwhile may show other roles than the answer. Nothing tells which of the
    two is newer, so the answer is not taken over, and the next look decides.

    Args:
        user: the record as it stands now.
    """
    noted = prepared.user
    if user.written is not None:  # 200 is the word on these keys, whether the answer shows them
        user = replace(user, written=user.written.told(prepared.of_person, now))
    if answer.roles != user.at_identity.seen and not same_view(user, noted):
        return replace(user, at_identity=user.at_identity.marked_pending()), False
    answered = user.at_identity.answered_since(noted.at_identity)
    user = take_over(user, answer.held_roles, now)
    left = patch_for(user, answer, now)
    # Of keys that the answer cannot show, 200 is the only word; Identity merged them.
    left_there = left if answer.shows_keys else "roles" in left
    done = not answered and not left_there and not untold_keys(user.written)
    look_again = prepared.unsettled or bool(prepared.refused) or not done
    settled = user.at_identity.settled(look_again=look_again)
    return replace(user, at_identity=settled), done


def same_view(one: User, other: User) -> bool:
    """Whether no event changed our view of the account between two readings."""
    return one.order == other.order and one.at_identity.seen == other.at_identity.seen


def _difference(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted keys that are absent or have another value there; None removes a key."""
    return {
        key: value
        for key, value in wanted.items()
        if (key in held if value is None else not equal(held.get(key, _ABSENT), value))
    }
