"""Replay over HTTP: each capture is signed anew, for a server that holds our secret."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote
from uuid import UUID

import urllib3

from usher.core.captures.format import EVENT_HEADER, SIGNATURE, Capture
from usher.core.captures.replay import Played
from usher.core.domain.records import AuditEntry
from usher.core.domain.reply import Reply
from usher.core.errors import CaptureError, ReplayTargetError
from usher.core.jws import sign_event
from usher.core.opaque import read_envelope
from usher.core.strict_json import StrictJsonError

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 10.0
BACK_SECONDS: Final = 240
AHEAD_SECONDS: Final = 30
_SENT: Final = ("Content-Type", EVENT_HEADER)
"""The headers of a capture that are sent on; the signature is made anew."""
_PATH: Final = "/-._~!$&'()*+,;=:"
"""Characters that a path keeps (RFC 3986, 3.3; not ``@``, which could be taken for a host's)."""
USERS_KEPT: Final = 100_000
TIMES_KEPT: Final = 32


class FreshTimes:
    """Makes times of issue that the target accepts, in the order of each user's events.

    A server refuses events older than five minutes, and ignores events older than the user's
    newest. So a user's first event gets a time four minutes ago, and each further one a time one
    second later. An event that was issued earlier but arrived late stays earlier. A retry gets
    the same time again. Memory is bounded: the users and times least recently seen are forgotten.

    Args:
        now: the wall clock, in seconds.
        sleep: waits for seconds, where a user has more events than there are accepted seconds.
    """

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._now = now
        self._sleep = sleep
        self._users: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()

    def issued_at(self, user: str, recorded: int) -> int:
        """Return the new time for an event issued at ``recorded``; both in whole seconds."""
        known = self._users.setdefault(user, [])
        self._users.move_to_end(user)
        if len(self._users) > USERS_KEPT:
            self._users.popitem(last=False)
        earliest = int(self._now()) - BACK_SECONDS
        place = bisect_right(known, (recorded, 1 << 62))
        if place and known[place - 1][0] == recorded and known[place - 1][1] >= earliest:
            return known[place - 1][1]
        if place < len(known):  # issued before an event that arrived first
            return max(known[place][1] - 1, earliest)
        made = max(earliest, known[-1][1] + 1) if known else earliest
        while made > self._now() + AHEAD_SECONDS:
            self._sleep(0.2)
        known.append((recorded, made))
        del known[:-TIMES_KEPT]
        return made


@dataclass
class HttpReplayer:
    """Sends captures to a server, one after another over one connection.

    Args:
        to: scheme, host and port; or the address of one function, which then gets every event.
        secret: the target's newest.
        at_recorded_time: keep each event's own time, which the target may find too old.
        rate: events per second at most; 0: as fast as the target answers.
    """

    to: str
    secret: bytes
    at_recorded_time: bool = False
    rate: float = 0
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _due: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Check the address; the first request opens the connection.

        Raises:
            ReplayTargetError: ``to`` is no address of a server.
        """
        url = urllib3.util.parse_url(self.to)
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            raise ReplayTargetError(f"{self.to} is not an address such as https://host:port.")
        self._url = url
        self._times = FreshTimes(self.now, self.sleep)
        self._pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS)

    def play(self, steps: Sequence[Capture | AuditEntry]) -> list[Played]:
        """Send the steps in order; return one result for each.

        Raises:
            ReplayTargetError: the target does not answer; the steps before stay sent.
        """
        return [Played(step, self._play(step)) for step in steps]

    def _play(self, step: Capture | AuditEntry) -> Reply | Exception:
        if isinstance(step, AuditEntry):
            return CaptureError("what a person did cannot be sent; replay it into a database")
        if step.body is None:
            return CaptureError("the body was erased, so there is nothing to send")
        try:
            instance_id, recorded = step.signed_by()
        except CaptureError as error:
            return error
        self._wait_for_turn()
        issued_at = recorded
        if not self.at_recorded_time:
            issued_at = self._times.issued_at(_user_of(step.body), recorded)
        return self._send(step, step.body, instance_id, issued_at)

    def _send(self, step: Capture, body: bytes, instance_id: UUID, issued_at: int) -> Reply:
        signature = sign_event(body, instance_id, issued_at, self.secret, replayed=True)
        url = self._address(step.path)
        headers = {name: step.headers[name] for name in _SENT if name in step.headers}
        headers[SIGNATURE] = signature
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(0.5 * attempt)
            try:
                answer = self._pool.request(
                    step.method,
                    url,
                    body=body,
                    headers=headers,
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError as error:
                trouble = type(error).__name__
                continue
            if answer.status < 500:
                content_type = answer.headers.get("Content-Type", "")
                return Reply(answer.status, content_type, answer.data.decode("utf-8", "replace"))
            trouble = f"status {answer.status}"
        raise ReplayTargetError(f"{url} gave no answer in {ATTEMPTS} attempts ({trouble}).")

    def _address(self, path: str) -> str:
        """The target's address with this path; a file's path reaches no other host."""
        if (self._url.path or "/") != "/":
            return self._url.url
        return self._url._replace(path=quote(path, safe=_PATH)).url

    def _wait_for_turn(self) -> None:
        if not self.rate:
            return
        now = self.now()
        if self._due > now:
            self.sleep(self._due - now)
        self._due = max(self._due, now) + 1 / self.rate


def _user_of(body: bytes) -> str:
    """Return the id of the user in a body; empty where it cannot be read."""
    try:
        user = read_envelope(body, "user")[0].get("user")
    except StrictJsonError:
        return ""
    return str(user.get("id", "")) if isinstance(user, dict) else ""
