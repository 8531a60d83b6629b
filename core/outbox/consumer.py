"""Consumers of changes: a handler in Python, or a sink."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct

from usher.core.domain.outbox import Change, Write


class Done(Struct, frozen=True):
    """The consumer has the change.

    Attributes:
        write: what a handler returned, for the record of the person.
    """

    write: Write | None = None


class Failed(Struct, frozen=True):
    """The consumer does not have the change, and is to get it again.

    Attributes:
        error: the failure in words, without personal data; it is kept and shown.
        retry_after: seconds until the next attempt at the earliest; None: as the back-off has it.
    """

    error: str
    retry_after: float | None = None


class Gone(Struct, frozen=True):
    """The consumer wants no change any more. It has noted that itself, and is paused.

    The change and all later ones wait, and are handed over once the consumer is resumed.
    """

    why: str


Result = Done | Failed | Gone


class Consumer(Protocol):
    """Gets each change that matches, at least once, and those of one person in order.

    The parts of one consumer are worked on one after the other in a process, but two servers may
    hand over changes of different people at the same time.
    """

    @property
    def name(self) -> str:
        """``handler:NAME`` or ``sink:ID``; the same for good, as its position is kept under it."""
        ...

    @property
    def patterns(self) -> frozenset[str]:
        """Kinds that it is for: ``user.created``, ``user.*`` or ``*``."""
        ...

    @property
    def seconds(self) -> float:
        """The longest that ``hand_over`` takes."""
        ...

    def hand_over(self, change: Change) -> Result:
        """Hand over one change. The person is the one on record now.

        An exception counts as ``Failed``, with its type alone as the error.
        """
        ...


@runtime_checkable
class Starting(Protocol):
    """A consumer that must be started before a hand-over."""

    def start(self) -> Failed | None:
        """Start, unless it runs; this may take longer than a lease lasts."""
        ...
