"""Sinks: receivers of changes by webhook, their addresses, and what they are sent. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from usher.core.bounds import MAX_SINK_SECRETS
from usher.core.domain.documents import change_document
from usher.core.domain.outbox import Change, Kind, unknown_patterns
from usher.core.domain.public_addresses import Network, may_be_reached
from usher.core.domain.sink_urls import target_of
from usher.core.domain.standard_webhooks import secret_octets
from usher.core.errors import SinkInvalidError
from usher.core.strict_json import dumps

ROTATION_HOURS: Final = 24
"""For so long the secret before signs beside a new one."""
TEST_TYPE: Final = "sink.test"
CONSUMER: Final = "sink:"
"""The beginning of a sink's name among the consumers."""


class Secret(Struct, frozen=True):
    """One secret of a sink; from ``ends_at`` on it signs no more."""

    text: str
    ends_at: datetime | None = None

    def __repr__(self) -> str:
        """A form without the secret, for tracebacks."""
        return f"Secret(ends_at={self.ends_at})"


class Sink(Struct, frozen=True, kw_only=True):
    """One receiver.

    Attributes:
        kinds: the patterns of the changes that it gets.
        full: whether it gets the person and the parts that differ, or ids alone.
        secrets: the newest first.
        paused_by: an actor; empty while it is not paused.
    """

    id: UUID
    url: str
    kinds: tuple[str, ...]
    full: bool
    secrets: tuple[Secret, ...]
    created_at: datetime
    created_by: str
    paused_at: datetime | None = None
    paused_by: str = ""

    @property
    def consumer(self) -> str:
        """Its name among the consumers of the outbox."""
        return f"{CONSUMER}{self.id}"

    def signing(self, now: datetime) -> tuple[str, ...]:
        """The secrets that sign now, the newest first."""
        return tuple(each.text for each in _not_ended(self.secrets, now))

    def old_secret_until(self, now: datetime) -> datetime | None:
        """The time until which a secret from before signs beside the newest; None: none does."""
        ends = [each.ends_at for each in _not_ended(self.secrets, now) if each.ends_at]
        return max(ends, default=None)

    def rotated(self, secret: str, now: datetime, *, at_once: bool) -> tuple[Secret, ...]:
        """The secrets after a rotation.

        Args:
            at_once: no secret from before signs any more.

        Raises:
            SinkInvalidError: it has as many secrets as can be already, or this very one.
        """
        kept = () if at_once else _not_ended(self.secrets, now)
        if len(kept) >= MAX_SINK_SECRETS:
            raise SinkInvalidError(
                f"{MAX_SINK_SECRETS} secrets sign already. A secret ends {ROTATION_HOURS} hours "
                "after it was replaced. Wait for that, or end them all now (--now)."
            )
        if any(each.text == secret for each in self.secrets):
            raise SinkInvalidError("This secret is in use already.")
        ends_at = now + timedelta(hours=ROTATION_HOURS)
        before = (Secret(each.text, each.ends_at or ends_at) for each in kept)
        return (Secret(secret), *before)


class Trial(Struct, frozen=True):
    """The outcome of a webhook that was sent for trial.

    Attributes:
        status: of the answer; None: there was none.
        problem: in words; empty: the receiver takes webhooks.
    """

    status: int | None
    problem: str
    elapsed_ms: int


def _not_ended(secrets: tuple[Secret, ...], now: datetime) -> tuple[Secret, ...]:
    return tuple(each for each in secrets if each.ends_at is None or each.ends_at > now)


def check_sink(url: str, kinds: Collection[str], networks: Collection[Network]) -> None:
    """Require what can be handed over to.

    A name is looked up at each attempt, so here an address alone is asked whether it is public.

    Raises:
        SinkInvalidError: with the problem.
    """
    target = target_of(url)
    if not target.secure and not networks:
        raise SinkInvalidError(
            "The URL begins with https://; http:// is taken in the networks of USHER_SINK_NETWORKS "
            "alone."
        )
    address = target.address
    if address is not None and not may_be_reached(address, networks, public=target.secure):
        raise SinkInvalidError(
            "The URL has an address that is not public, and is not in USHER_SINK_NETWORKS either."
        )
    if not kinds:
        raise SinkInvalidError("A sink needs a kind of change; * is all of them.")
    if unknown := unknown_patterns(frozenset(kinds)):
        known = ", ".join([*Kind, "user.*", "role.*", "event.*", "*"])
        raise SinkInvalidError(f"There is no kind of change {unknown[0][:40]!r}, but: {known}.")


def check_secret(text: str) -> None:
    """Require a secret that receivers take.

    Raises:
        SinkInvalidError
    """
    try:
        secret_octets(text)
    except ValueError as error:
        raise SinkInvalidError(f"A secret {error}") from None


def webhook(change: Change, *, full: bool) -> bytes:
    """The body of a change's webhook: what the feed has of it, in an envelope."""
    data = change_document(change, full=full)
    return _message(data.pop("kind"), data.pop("at"), data)


def trial_webhook(sink: Sink, now: datetime) -> bytes:
    """The body by which an administrator tries a receiver."""
    return _message(TEST_TYPE, now, {"sink_id": sink.id})


def _message(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    return dumps({"type": kind, "timestamp": at, "data": data}).encode()


def sink_document(sink: Sink, now: datetime) -> dict[str, Any]:
    """A sink without its secrets, which leave in the answer that sets them alone."""
    return {
        "id": sink.id,
        "url": sink.url,
        "changes": list(sink.kinds),
        "full": sink.full,
        "state": "paused" if sink.paused_at else "active",
        "old_secret_until": sink.old_secret_until(now),
        "created_at": sink.created_at,
        "created_by": sink.created_by,
        "paused_at": sink.paused_at,
        "paused_by": sink.paused_by,
    }


def trial_document(trial: Trial) -> dict[str, Any]:
    """The outcome of a webhook that was sent for trial."""
    return {
        "delivered": not trial.problem,
        "status": trial.status,
        "problem": trial.problem or None,
        "elapsed_ms": trial.elapsed_ms,
    }
