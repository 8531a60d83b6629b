"""Sending events, and what becomes of the answers.

Source: GoTrue ``api/hooks.go``. Before the commit a refusal is the person's error; after it, a
line in the log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from usher.core.log import get_logger
from usher.emulator.accounts import Record
from usher.emulator.errors import IdentityError
from usher.emulator.faults import DELAY, DROP, DUPLICATE, REORDER, ROLLBACK, Faults
from usher.emulator.options import Options
from usher.emulator.payload import event_body
from usher.emulator.sender import Attempt, Failure, send, signed_headers

NOT_HANDLED: Final = "Failed to handle signup webhook"
"""GoTrue says so whatever the event was."""


class MalformedError(ValueError):
    """A hook's answer is JSON, but not what GoTrue's struct takes."""


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
        """Send it, up to three times, and give the last attempt."""
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
        options: where to, and which secrets sign.
        faults: what is to go wrong.
        sleep: waits so many seconds.
    """

    def __init__(
        self, options: Options, faults: Faults, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._options = options
        self._faults = faults
        self._sleep = sleep

    def fire(self, event: str, record: Record) -> None:
        """Send an event before the commit, and take metadata from the answer into the record.

        Raises:
            IdentityError: the request that led here must fail, and nothing be stored.
        """
        self._fire(event, record, can_roll_back=True)

    def fire_after_commit(self, event: str, record: Record) -> bool:
        """Send an event of what is done already; a failure is only logged.

        Returns:
            Whether the answer changed the record.
        """
        before = replace(record)
        try:
            self._fire(event, record, can_roll_back=False)
        except IdentityError as error:
            get_logger().warning(
                "hook.lost", event_name=event, user_id=str(record.id), status=error.status
            )
            return False
        return record != before

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
        issued_at = int(self._options.clock().timestamp())
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
        if last.body and last.length_announced and event != "userdeleted":
            _apply(last.body, record, self._options.clock())


def _apply(body: bytes, record: Record, now: datetime) -> None:
    """Each map in the answer that is not null replaces the stored one whole."""
    try:
        answer = go_value(body)
        app_metadata = _map(answer, "app_metadata")
        user_metadata = _map(answer, "user_metadata")
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else "nested too deep"
        raise IdentityError(500, f"Webhook returned malformed JSON: {said}") from None
    if user_metadata is not None:
        record.user_metadata = user_metadata
        record.updated_at = now
    if app_metadata is not None:
        record.app_metadata = app_metadata
        record.updated_at = now


def go_value(body: bytes) -> Any:
    """The first JSON value, read as leniently as Go does: what follows it is ignored.

    Raises:
        ValueError, RecursionError: Go would not read it either.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    value, _ = _GO_DECODER.raw_decode(text)
    return _well_formed(value)


def _well_formed(value: Any) -> Any:
    """Go replaces half a surrogate pair by U+FFFD; no UTF-8 could hold it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"invalid character in {name}")


def _number(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"cannot unmarshal number {text[:20]}")
    return value


_GO_DECODER: Final = json.JSONDecoder(parse_constant=_constant, parse_float=_number)


def _map(answer: Any, name: str) -> dict[str, Any] | None:
    if answer is None:
        return None
    if not isinstance(answer, dict):
        raise MalformedError(f"cannot unmarshal {type(answer).__name__} into an object")
    value = answer.get(name)
    if value is not None and not isinstance(value, dict):
        raise MalformedError(f"cannot unmarshal {type(value).__name__} into {name}")
    return value
