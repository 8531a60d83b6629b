"""The algebra of roles: sources, denials, and the three-way merge with Identity. Pure.

The merge compares a user's roles in the payload (Identity now) with those that it showed at our
last look, and with our answers since (``core.domain.at_identity``). A role that differs from both
was changed by a person at Identity. It becomes a grant or a denial here (docs/lifecycle.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import MAX_GRANTED_BYTES, MAX_GRANTS
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.held_roles import HeldRoles
from usher.core.domain.policy import NO_ENDS, Reason
from usher.core.domain.records import Grant, Source, User
from usher.core.strict_json import dumps, written_bytes

_POLICY: Final = Source.POLICY  # an enum's members are slow to reach before Python 3.12


class Merge(Struct, frozen=True, gc=False):
    """The result of ``merge``."""

    grants: tuple[Grant, ...]
    at_identity: AtIdentity
    reasons: tuple[Reason, ...]


def effective(grants: Iterable[Grant], now: datetime) -> frozenset[str]:
    """The roles a user has: granted by any source, denied by none, not ended."""
    granted: set[str] = set()
    denied: set[str] = set()
    for grant in grants:
        if grant.holds(now):
            (denied if grant.denies else granted).add(grant.role)
    return frozenset(granted - denied) if denied else frozenset(granted)


def with_grant(grants: Iterable[Grant], new: Grant) -> tuple[Grant, ...]:
    """The grants with ``new`` in place of the same source's earlier word on that role."""
    kept = without(grants, new.role, new.source)
    return tuple(sorted((*kept, new), key=lambda grant: (grant.role, grant.source)))


def too_many(grants: tuple[Grant, ...]) -> str:
    """Why one user cannot have these grants, as a part of a sentence; empty where that is well."""
    if len(grants) > MAX_GRANTS:
        return f"a user can have at most {MAX_GRANTS} grants and denials"
    size = written_bytes(dumps(sorted({each.role for each in grants})))
    if size > MAX_GRANTED_BYTES:
        return (
            f"the user's roles would have {size} bytes in a token; {MAX_GRANTED_BYTES} is the most"
        )
    return ""


def without(grants: Iterable[Grant], role: str, *sources: Source) -> tuple[Grant, ...]:
    """The grants without these sources' words on the role."""
    return tuple(g for g in grants if g.role != role or g.source not in sources)


def denials(grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
    """The denials among them: all that a waiting user may have."""
    if not grants:
        return grants
    return tuple(grant for grant in grants if grant.denies)


def follow_policy(
    grants: tuple[Grant, ...],
    roles: AbstractSet[str],
    fingerprint: str,
    now: datetime,
    ends: Mapping[str, datetime] = NO_ENDS,
) -> tuple[Grant, ...]:
    """Make these roles the policy's grants; other sources' grants stay as they are.

    Args:
        ends: of roles that the policy gives for a time, the end of each.
    """
    held = {grant.role: grant.expires_at for grant in grants if grant.source is _POLICY}
    wanted = {role: ends.get(role) for role in roles} if ends else dict.fromkeys(roles)
    if held == wanted:
        return grants
    new = [
        Grant(role, _POLICY, now, False, fingerprint, expires_at=wanted[role])
        for role in sorted(wanted.keys() - held.keys())
    ]
    if not grants:
        return tuple(new)
    for grant in grants:
        if grant.source is not _POLICY:
            new.append(grant)
        elif grant.role in wanted:
            end = wanted[grant.role]
            same = end == grant.expires_at
            new.append(grant if same else replace(grant, actor=fingerprint, expires_at=end))
    return tuple(sorted(new, key=lambda grant: (grant.role, grant.source)))


def take_over(user: User, held: HeldRoles, now: datetime) -> User:
    """The record after ``merge`` with the roles that Identity has, which approve nobody."""
    merged = merge(user.grants, user.at_identity, held, now)
    grants = merged.grants if user.waiting_since is None else denials(merged.grants)
    return replace(user, grants=grants, at_identity=merged.at_identity)


def merge(
    grants: tuple[Grant, ...],
    at_identity: AtIdentity,
    shown: HeldRoles,
    now: datetime,
    *,
    signed_at: int | None = None,
    read_early: bool = False,
) -> Merge:
    """Take over people's changes at Identity since our last look.

    A role added there lifts Identity's denial, and becomes Identity's grant unless it is effective
    here. A role removed there ends Identity's grant. Where another source still gives it,
    Identity's denial lies over it, and that source's grant stays on record. A value that cannot be
    read changes nothing, for nobody can tell what it takes away.

    Args:
        signed_at, read_early: of the event that shows the roles (see ``AtIdentity.observe``).
    """
    if shown.foreign:
        return Merge(grants, replace(at_identity, unreadable=shown.unreadable), ())
    observed = at_identity.observe(shown.names, now, signed_at=signed_at, read_early=read_early)
    noted = observed.at_identity
    if shown.kept:
        noted = replace(noted, unreadable=shown.unreadable)
    if not observed.added and not observed.removed:
        return Merge(grants, noted, ())
    held = {(grant.role, grant.source): grant for grant in grants}

    def is_effective(role: str) -> bool:
        said = (held.get((role, source)) for source in Source)
        return bool(effective((grant for grant in said if grant), now))

    reasons = []
    for role in sorted(observed.added):
        earlier = held.get((role, Source.IDENTITY))
        if earlier and earlier.denies:
            del held[role, Source.IDENTITY]
        if not is_effective(role):
            held[role, Source.IDENTITY] = Grant(role, Source.IDENTITY, now, actor="identity")
            reasons.append(Reason("identity.added", f"{role!r} was given at Identity"))
    for role in sorted(observed.removed):
        held.pop((role, Source.IDENTITY), None)
        if is_effective(role):
            denial = Grant(role, Source.IDENTITY, now, denies=True, actor="identity")
            held[role, Source.IDENTITY] = denial
        reasons.append(Reason("identity.removed", f"{role!r} was taken away at Identity"))
    return Merge(tuple(held[key] for key in sorted(held)), noted, tuple(reasons))
