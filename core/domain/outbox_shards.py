"""The work on one consumer as its servers share it: shards, leases, and whose kinds count. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

SHARDS: Final = 4
"""Parts of a consumer's work, by the first two bits of the user's id."""
MARGIN: Final = timedelta(seconds=10)
"""A lease lasts so much longer than the hand-over that begins now: to end it takes a moment, and
the clocks of two servers differ."""
RENEWED_AFTER: Final = timedelta(seconds=5)
"""A lease is not renewed for each hand-over."""
GIVES_WAY_AFTER: Final = timedelta(minutes=15)
"""When the servers have not been seen for so long whose kinds count, those of others do."""


def shard_of(user_id: UUID) -> int:
    """The shard of a user."""
    return user_id.int >> 126


def users_of(shard: int) -> tuple[UUID, UUID]:
    """The first and the last id of a shard."""
    return UUID(int=shard << 126), UUID(int=((shard + 1) << 126) - 1)


def lease_of(seconds: float) -> timedelta:
    """The length of a lease for a consumer whose hand-overs take so long at most.

    Another server waits so long once this one has died.
    """
    return timedelta(seconds=seconds) + MARGIN + RENEWED_AFTER


def lasts(lease_until: datetime, now: datetime, seconds: float) -> bool:
    """Whether a hand-over that begins now ends while the lease lasts."""
    return lease_until - now >= timedelta(seconds=seconds) + MARGIN


def counts(
    kinds: Sequence[str],
    started_at: datetime,
    now: datetime,
    *,
    noted: Sequence[str],
    noted_at: datetime,
    seen_at: datetime,
) -> bool:
    """Whether a server may work for a consumer with the kinds that it is for, which then count.

    During a deployment two servers may have one handler for different kinds. The position is one
    for both, so what only one of them is for would be passed over.

    Args:
        started_at: when the server was started.
        noted, noted_at: the kinds that count, and when a server was started that is for them.
        seen_at: when one was seen.
    """
    gone = now - seen_at >= GIVES_WAY_AFTER
    return kinds == noted or started_at > noted_at or gone
