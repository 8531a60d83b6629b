"""Sending events, and applying the answers.

Source: GoTrue ``api/hooks.go``. Before the commit a refusal is the person's error; after it, a
line in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from usher.core.log import get_logger
from usher.emulator.accounts import Record
from usher.emulator.clock import MovableClock
from usher.emulator.decoding import DecodingError, go_fields, kind
from usher.emulator.errors import IdentityError
from usher.emulator.faults import DELAY, DROP, DUPLICATE, REORDER, ROLLBACK, Faults
from usher.emulator.options import Options
from usher.emulator.payload import event_body
from usher.emulator.sender import Attempt, Failure, send, signed_headers

NOT_HANDLED: Final = "Failed to handle signup webhook"
"""GoTrue says so whatever the event was."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one address, signed once."""

    event: str
    url: str
    body: bytes
    headers: dict[str, str]
    user_id: str
    timeout_seconds: float

    def make(self) -> Attempt:
        """Send it, up to three times, and return the last attempt."""
        *_, last = send(self.url, self.body, self.headers, self.timeout_seconds)
        facts = {
            "event_name": self.event,
            "user_id": self.user_id,
            "attempts": last.number,
            "status": last.status,
            "duration_ms": last.duration_ms,
        }
        if last.accepted:
            get_logger().info("hook.accepted", **facts)
        else:
            get_logger().warning("hook.refused", **facts, failure=last.failure.value)
        return last


class Hooks:
    """Fires events.

    Args:
        options: addresses, and the secrets that sign.
        faults: the faults in force.
        clock: the time; signatures have the real one.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        options: Options,
        faults: Faults,
        clock: MovableClock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._clock = clock
        self._faults = faults
        self._sleep = sleep

    def fire(self, event: str, record: Record) -> None:
        """Send an event before the commit, and write the answer's metadata to the record.

        Raises:
            IdentityError: the request must fail, and nothing be stored.
        """
        self._fire(event, record, can_roll_back=True)

    def fire_after_commit(self, event: str, record: Record) -> bool:
        """Send an event after the commit; a failure is only logged.

        Returns:
            Whether the answer wrote to the record.
        """
        record.written.clear()
        try:
            self._fire(event, record, can_roll_back=False)
        except IdentityError as error:
            get_logger().warning(
                "hook.lost", event_name=event, user_id=str(record.id), status=error.status
            )
            return False
        return bool(record.written)

    def _fire(self, event: str, record: Record, *, can_roll_back: bool) -> None:
        urls, secret = self._options.hooks(event)
        for url in urls:
            delivery = self._prepare(event, url, record, secret)
            rule = self._faults.strike(event, can_roll_back=can_roll_back)
            kind = rule.kind if rule else ""
            if kind == DROP:
                continue
            if kind == REORDER:
                self._faults.hold(delivery.make)
                continue
            if rule and kind == DELAY:
                self._sleep(rule.seconds)
            held = self._faults.release()
            try:
                last = delivery.make()
                if kind == DUPLICATE:
                    delivery.make()
            finally:
                for late in held:
                    late()
            self._conclude(event, url, last, record)
            if kind == ROLLBACK:
                raise IdentityError(500, "Rolled back after the hook, as /_dev/faults asked")

    def _prepare(self, event: str, url: str, record: Record, secret: bytes) -> Delivery:
        instance_id = self._options.instance_id
        issued_at = int(self._clock.real().timestamp())
        body = event_body(event, record.account(), instance_id)
        headers = signed_headers(event, body, instance_id, issued_at, secret)
        timeout = self._options.attempt_timeout_seconds
        return Delivery(event, url, body, headers, str(record.id), timeout)

    def _conclude(self, event: str, url: str, last: Attempt, record: Record) -> None:
        if last.failure is Failure.TIME_OUT:
            seconds = f"{self._options.attempt_timeout_seconds:g}"
            raise IdentityError(504, f"Failed to perform webhook in time frame ({seconds} seconds)")
        if last.failure is Failure.NOT_CONNECTED:
            raise IdentityError(502, f"Failed to connect to {url}")
        if last.failure is Failure.BROKEN:
            raise IdentityError(500, f"Failed to trigger webhook to {url}")
        if not last.accepted:
            raise IdentityError(422, NOT_HANDLED)
        if last.body and event != "userdeleted":
            apply_answer(last.body, record, self._clock())


def apply_answer(body: bytes, record: Record, now: datetime) -> None:
    """Each map in the answer that is not null replaces the stored one whole.

    Raises:
        IdentityError: 500, Identity cannot read the answer.
    """
    try:
        fields = go_fields(body)
        app_metadata = _map(fields, "app_metadata")
        user_metadata = _map(fields, "user_metadata")
    except DecodingError as error:
        raise IdentityError(500, f"Webhook returned malformed JSON: {error}") from None
    if user_metadata is not None:
        record.set_user_metadata(user_metadata, now)
    if app_metadata is not None:
        record.set_app_metadata(app_metadata, now)


def _map(fields: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise DecodingError(f"json: cannot unmarshal {kind(value)} into {name}")
    return value
