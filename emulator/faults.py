"""Faults on request: events lost, late, twice, out of order, or rolled back after the hook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from usher.emulator.errors import IdentityError

DROP: Final = "drop"
DELAY: Final = "delay"
ROLLBACK: Final = "rollback"
DUPLICATE: Final = "duplicate"
REORDER: Final = "reorder"
KINDS: Final = (DROP, DELAY, ROLLBACK, DUPLICATE, REORDER)
ANY_EVENT: Final = "*"
MAX_RULES: Final = 50
MAX_DELAY_SECONDS: Final = 600.0
_KEYS: Final = {"fault", "event", "count", "seconds"}


@dataclass(slots=True)
class Rule:
    """One fault.

    Attributes:
        kind: one of ``KINDS``.
        event: the event that it befalls; ``*`` is any.
        count: events still to befall; None: until the rules are changed.
        seconds: the wait of a delayed event.
    """

    kind: str
    event: str
    count: int | None
    seconds: float

    def document(self) -> dict[str, Any]:
        """As ``/_dev/faults`` shows and takes it."""
        shown: dict[str, Any] = {"fault": self.kind, "event": self.event, "count": self.count}
        if self.kind == DELAY:
            shown["seconds"] = self.seconds
        return shown


class Faults:
    """The rules in force and the deliveries held back; used by many threads.

    Args:
        events: names that a rule may give.
    """

    def __init__(self, events: tuple[str, ...]) -> None:
        self._events = events
        self._lock = Lock()
        self._rules: list[Rule] = []
        self._held: list[Callable[[], object]] = []

    def replace(self, document: Mapping[str, Any]) -> None:
        """Put other rules in force: ``{"rules": [{"fault", "event", "count", "seconds"}]}``.

        Raises:
            IdentityError: 400 with the mistake named; the old rules stay.
        """
        listed = document.get("rules")
        if set(document) != {"rules"} or not isinstance(listed, list) or len(listed) > MAX_RULES:
            raise IdentityError(400, f'Send {{"rules": […]}} with at most {MAX_RULES} rules.')
        rules = [self._read(item) for item in listed]
        with self._lock:
            self._rules = rules

    def document(self) -> dict[str, Any]:
        """The rules with the rest of their counts, and the number of events held back."""
        with self._lock:
            return {
                "rules": [rule.document() for rule in self._rules],
                "held_back": len(self._held),
            }

    def strike(self, event: str, *, can_roll_back: bool) -> Rule | None:
        """The fault that befalls this event, if any; counted.

        Args:
            can_roll_back: the commit is still to come.
        """
        with self._lock:
            for rule in self._rules:
                if rule.event not in (event, ANY_EVENT) or rule.count == 0:
                    continue
                if rule.kind == ROLLBACK and not can_roll_back:
                    continue
                if rule.count is not None:
                    rule.count -= 1
                return rule
        return None

    def hold(self, delivery: Callable[[], object]) -> None:
        """Keep a delivery until another event has been sent."""
        with self._lock:
            self._held.append(delivery)

    def release(self) -> list[Callable[[], object]]:
        """The deliveries held back, to be made now."""
        with self._lock:
            held, self._held = self._held, []
        return held

    def _read(self, item: Any) -> Rule:
        if not isinstance(item, dict) or not set(item) <= _KEYS:
            raise IdentityError(400, f"A rule is an object with {', '.join(sorted(_KEYS))}.")
        kind, event = item.get("fault"), item.get("event", ANY_EVENT)
        count, seconds = item.get("count"), item.get("seconds", 0)
        if kind not in KINDS:
            raise IdentityError(400, f"fault must be one of: {', '.join(KINDS)}.")
        if event not in (*self._events, ANY_EVENT):
            raise IdentityError(400, f"event must be * or one of: {', '.join(self._events)}.")
        if count is not None and (type(count) is not int or count < 0):
            raise IdentityError(400, "count must be null or a whole number from 0 on.")
        if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_DELAY_SECONDS:
            raise IdentityError(400, f"seconds must be from 0 to {MAX_DELAY_SECONDS:.0f}.")
        if "seconds" in item and kind != DELAY:
            raise IdentityError(400, "seconds belong to the fault delay only.")
        return Rule(kind, event, count, float(seconds))
