"""A connection to the first of several PostgreSQL servers that is ours to write to, in time.

libpq waits for each host, and for each address of one, as long as ``connect_timeout`` says, one
after the other; so does psycopg. Identity gives up after five seconds, whichever of them are down.
So the addresses are tried beside one another, each a moment after the one before it, and one time
bounds them all.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.errors import error_from_result

from usher.core.database_url import hosts
from usher.core.store.drivers.pipeline import CONNECT_SECONDS, wanted_session

NEXT_HOST_SECONDS: Final = 0.5
"""How long an address is waited for alone, at most."""

_READ: Final = select.POLLIN
_WRITE: Final = select.POLLOUT
_POLLING: Final = {pq.PollingStatus.READING: _READ, pq.PollingStatus.WRITING: _WRITE}


class Hosts:
    """The servers that an address names.

    Args:
        arguments: libpq's parameters. With several hosts ``target_session_attrs`` is
            ``read-write`` unless said otherwise: of a primary and its replicas the primary.
        question: a statement for each new connection, with the process id of the server as its
            parameter. A pooler takes connections for a server that is gone; only an answer shows
            that there is one.
    """

    def __init__(self, arguments: Mapping[str, str], question: str) -> None:
        given = dict(arguments)
        self._seconds = int(given.get("connect_timeout", 0)) or CONNECT_SECONDS
        self._hosts = hosts(given)
        given["target_session_attrs"] = wanted_session(given, len(self._hosts))
        self._arguments = given
        self._question = question.encode()
        self._best = _Target(0, "", {})

    def connect(self) -> tuple[psycopg.Connection[Any], bytes | None]:
        """A connection, and what the question was answered with.

        Raises:
            psycopg.Error: no host serves us; with the words of each.
        """
        began = monotonic()
        targets = _Targets([self._arguments | own for own in self._hosts], self._best)
        race = _Race(targets, self._question, began + self._seconds / 2)
        try:
            won = race.run(began + self._seconds)
        finally:
            race.end()
        self._best = won.target
        return psycopg.Connection(won.line), won.answer


class _Target(NamedTuple):
    """One address of one host.

    Attributes:
        place: that of the host.
        address: empty where libpq finds it.
        arguments: libpq's parameters for it.
    """

    place: int
    address: str
    arguments: dict[str, str]


class _Targets:
    """The addresses still to be tried: the best first, for others are replicas, or down.

    A name is looked up when its turn comes: one that the resolver is slow about is in nobody's way.
    """

    def __init__(self, each: list[dict[str, str]], best: _Target) -> None:
        self._best = best
        self._hosts = deque(sorted(enumerate(each), key=lambda host: host[0] != best.place))
        self._addresses: deque[_Target] = deque()

    def __len__(self) -> int:
        """How many are known of; a name that was not looked up yet counts as one."""
        return len(self._hosts) + len(self._addresses)

    def next(self) -> _Target:
        if not self._addresses:
            place, own = self._hosts.popleft()
            best = self._best.address
            self._addresses.extend(
                _Target(place, address, own | ({"hostaddr": address} if address else {}))
                for address in sorted(_addresses(own), key=lambda address: address != best)
            )
        return self._addresses.popleft()


class _Race:
    """Attempts that run beside one another until one has won.

    Args:
        last_at: when the last of them begins, at the latest.
    """

    def __init__(self, targets: _Targets, question: bytes, last_at: float) -> None:
        self._targets = targets
        self._question = question
        self._last_at = last_at
        self._running: list[_Attempt] = []
        self._failed: list[psycopg.Error] = []
        self._next_at = 0.0

    def run(self, until: float) -> _Attempt:
        """Run them, and return the one that won."""
        while True:
            tried = self._running or self._failed
            if (tried and monotonic() >= until) or not (self._running or self._targets):
                raise _all_of([*self._failed, *(one.silent() for one in self._running)])
            if self._targets and (not self._running or monotonic() >= self._next_at):
                self._start()
            else:
                for attempt in self._ready(until):
                    if self._advance(attempt):
                        self._running.remove(attempt)
                        return attempt

    def end(self) -> None:
        """Close all that have not won."""
        for attempt in self._running:
            attempt.line.finish()

    def _start(self) -> None:
        self._running.append(_Attempt(self._targets.next(), self._question))
        now = monotonic()
        share = (self._last_at - now) / max(1, len(self._targets))
        self._next_at = now + min(NEXT_HOST_SECONDS, share)

    def _ready(self, until: float) -> list[_Attempt]:
        """Those whose turn it is, after a wait."""
        waits, lines = select.poll(), {}
        for attempt in self._running:
            if not attempt.waits_for:
                return [attempt]
            lines[attempt.line.socket] = attempt
            waits.register(attempt.line.socket, attempt.waits_for)
        end = min(until, self._next_at) if self._targets else until
        found = waits.poll(max(0.0, end - monotonic()) * 1_000 + 1)
        return [lines[fileno] for fileno, _ in found]

    def _advance(self, attempt: _Attempt) -> bool:
        try:
            return attempt.advance()
        except psycopg.Error as error:
            self._failed.append(error)
            self._running.remove(attempt)
            attempt.line.finish()
            self._next_at = 0.0  # nobody waits for it
            return False


class _Attempt:
    """One connection on its way.

    Attributes:
        waits_for: what of its socket it needs; 0: nothing.
        answer: the first column of what the question was answered with.
    """

    def __init__(self, target: _Target, question: bytes) -> None:
        arguments = target.arguments
        self.target = target
        self.answer: bytes | None = None
        host = arguments.get("host", "")
        address = f" ({target.address})" if target.address not in ("", host) else ""
        self._name = f'"{host}"{address}, port {arguments.get("port") or "5432"}'
        self._question = question
        self._asked = False
        self.line = pq.PGconn.connect_start(make_conninfo("", **arguments).encode())
        self.waits_for = 0 if self.line.status == pq.ConnStatus.BAD else _WRITE

    def advance(self) -> bool:
        """Go on; whether the question is answered.

        Raises:
            psycopg.Error: it has failed.
        """
        if not self._asked:
            status = self.line.connect_poll() if self.waits_for else pq.PollingStatus.FAILED
            if status == pq.PollingStatus.FAILED:
                raise psycopg.OperationalError(
                    f"connection failed: {self.line.get_error_message()}"
                )
            self.waits_for = _POLLING.get(pq.PollingStatus(status), _READ | _WRITE)
            if status != pq.PollingStatus.OK:
                return False
            self._ask()
        return self._answered()

    def silent(self) -> psycopg.Error:
        """The error of one that has taken too long."""
        return psycopg.OperationalError(f"connection to server at {self._name}: no answer in time")

    def _ask(self) -> None:
        self.line.nonblocking = 1
        self.line.send_query_params(self._question, [str(self.line.backend_pid).encode()])
        self._asked = True

    def _answered(self) -> bool:
        self.waits_for = _READ | (_WRITE if self.line.flush() else 0)
        self.line.consume_input()
        while not self.line.is_busy():
            result = self.line.get_result()
            if result is None:
                return True
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
            self.answer = result.get_value(0, 0)
        return False


def _addresses(arguments: Mapping[str, str]) -> list[str]:
    """Each address of a host, for libpq would try them in turn; an empty one is libpq's choice."""
    host = arguments.get("host", "")
    if not host or host.startswith(("/", "@")) or "hostaddr" in arguments:
        return [""]
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(each[4][0]) for each in found))
    return [""]  # libpq says what is wrong with the name


def _all_of(failed: list[psycopg.Error]) -> psycopg.Error:
    """One error that has the first line of each."""
    if len(failed) == 1:
        return failed[0]
    words = "; ".join(
        str(one).partition("\n")[0].removeprefix("connection failed: ") for one in failed
    )
    return psycopg.OperationalError(f"no host can be used: {words}")
