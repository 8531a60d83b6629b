"""The shadow policy: follows the ledger, and keeps what it would have decided otherwise.

It runs in a process of its own (``usher.server.shadow_process``). No transaction is open while a
policy is asked, and no answer waits for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import UUID

from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.events import Event
from usher.core.domain.rules import FilePolicy
from usher.core.domain.shadow import Difference, Run, compare, failed
from usher.core.errors import ConflictError, PolicyError
from usher.core.faults import cause, failure_of
from usher.core.log import describe, get_logger
from usher.core.policy_source import is_absent, is_callable, load_policy
from usher.core.store.shadows import LEASE, Shadows, is_compared
from usher.core.webhooks import event_of

if TYPE_CHECKING:
    from usher.core.domain.records import Delivery, Key, User
    from usher.core.store.complete import Complete

BATCH: Final = 256
"""Deliveries that are looked at between two transactions."""
TRIES: Final = 2
"""A delivery at which the process ends so often is passed over."""
LOOK_SECONDS: Final = 60.0
"""A policy is read anew after this time, though its file looks the same: it may name others."""


class OutgrownError(Exception):
    """The shadow policy needs more memory than it may have; the process has to begin anew."""


class Shadow:
    """Follows the ledger with one shadow policy.

    Args:
        complete: how far the ledger is.
        source: the value of ``USHER_POLICY_SHADOW``.
        live: that of ``USHER_POLICY``.
        clock: gives the current time, UTC.
        lease: the server's, so that its next process goes on at once.
        ended: why the process before this one ended; empty: it did not. Then each delivery is
            looked at by itself, until the one at fault is passed.
        tick: called before each question to a policy.
    """

    def __init__(
        self,
        shadows: Shadows,
        complete: Complete,
        source: str,
        live: str,
        clock: Callable[[], datetime],
        lease: UUID,
        *,
        ended: str = "",
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._shadows = shadows
        self._complete = complete
        self._source = source
        self._shadow = _Loaded(source)
        self._live = _Loaded(live)
        self._clock = clock
        self._lease = lease
        self._ended = ended
        self._careful = BATCH if ended else 0
        self._tick = tick
        self._run: Run | None = None
        self._idle = False

    def step(self) -> bool:
        """Look at some deliveries; True where there may be more.

        Without the shadow policy's file there is nothing to look at.

        Raises:
            PolicyError: one of the policies cannot be loaded.
            OutgrownError: see there.
            DatabaseError: the database cannot be used.
        """
        self._tick()
        if self._is_idle():
            return False
        run = self._claimed()
        if run is None:
            return False
        limit = 1 if self._careful else BATCH
        deliveries, users = self._shadows.following(run, self._complete.up_to() or 0, limit)
        if not deliveries:
            return False
        if self._follow_live(deliveries):
            return True  # a new run begins
        try:
            self._look_at(run, deliveries, users)
        except ConflictError:  # another server follows by now
            self._run = None
            return False
        self._careful = max(0, self._careful - 1)
        return True

    def close(self) -> None:
        """Let another server follow."""
        if self._run is not None:
            self._shadows.release(self._run)

    def _is_idle(self) -> bool:
        """Whether there is nothing to watch, which is told once."""
        idle = self._shadow.is_absent()
        if idle and not self._idle:
            get_logger().info("shadow.idle", source=self._source)
        self._idle = idle
        return idle

    def _claimed(self) -> Run | None:
        """The run, with a lease that lasts a while."""
        shadow, live = self._shadow.current(), self._live.loaded()
        pair = shadow.fingerprint, live.fingerprint
        run, now = self._run, self._clock()
        same = run is not None and (run.fingerprint, run.live) == pair
        if run is not None and same and run.lease_until - now > LEASE / 2:
            return run
        before = run
        self._run = self._shadows.claim(self._source, pair, self._lease, now, self._ended)
        self._ended = ""
        if self._run is not None and (before is None or before.run_id != self._run.run_id):
            get_logger().info(
                "shadow.began", fingerprint=pair[0], live=pair[1], position=self._run.position
            )
        return self._run

    def _follow_live(self, deliveries: Sequence[Delivery]) -> bool:
        """Read the live policy anew where the ledger shows that it is another one by now."""
        newest = next((d.policy for d in reversed(deliveries) if is_compared(d)), "")
        return bool(newest) and self._live.becomes(newest)

    def _look_at(self, run: Run, deliveries: Sequence[Delivery], users: Mapping[Key, User]) -> None:
        compared, found = 0, []
        live = self._live.loaded().fingerprint
        for delivery in deliveries:
            # Decided by another policy than ours, it shows nothing.
            same = is_compared(delivery) and delivery.policy == live
            event = event_of(delivery) if same else None
            if event is None:
                continue
            if self._careful:
                run = self._shadows.trying(run, delivery.sequence or 0, self._clock())
            compared += 1
            if run.tries > TRIES:
                found.append((delivery, failed("shadow.no_answer", run.error)))
                continue
            self._tick()
            differences = self._compare(event, users.get(event.key), delivery)
            found += [(delivery, each) for each in differences]
        self._tick()
        self._run = self._shadows.keep(run, self._clock(), deliveries[-1], compared, found)

    def _compare(
        self, event: Event, user: User | None, delivery: Delivery
    ) -> tuple[Difference, ...]:
        shadow = self._shadow.loaded()
        try:
            return compare(event, user, self._live.loaded(), shadow, delivery.received_at)
        except PolicyError as error:
            source = cause(error)
            if isinstance(source, MemoryError):
                raise OutgrownError from error
            failure = failure_of(error)
            # Without the message, which may hold anything: this outlives the person's data.
            return (
                failed("shadow.failed", " at ".join(filter(None, (failure.error, failure.place)))),
            )


class _Loaded:
    """A policy, and whether its file is another one by now."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._policy: FilePolicy | CallablePolicy | None = None
        self._looks: object = None
        self._read_at = 0.0

    def is_absent(self) -> bool:
        """Whether it is a file that is not there, such as one that was promoted."""
        return is_absent(self._source)

    def loaded(self) -> FilePolicy | CallablePolicy:
        """The policy as it was read.

        Raises:
            PolicyError: it cannot be loaded.
        """
        return self._policy or self.current()

    def current(self) -> FilePolicy | CallablePolicy:
        """The policy as its file is now; of a callable, as it was imported.

        Raises:
            PolicyError: it cannot be loaded.
        """
        if self._policy is not None and is_callable(self._source):
            return self._policy
        looks, now = _looks(self._source), monotonic()
        if self._policy is None or looks != self._looks or now - self._read_at > LOOK_SECONDS:
            self._policy = load_policy(self._source)
            self._looks, self._read_at = looks, now
        return self._policy

    def becomes(self, fingerprint: str) -> bool:
        """Read the file anew, if that gives the policy of this fingerprint and ours is another."""
        if self.loaded().fingerprint == fingerprint:
            return False
        problem = PolicyError(self._source, "is not the policy that decides; reload it")
        try:
            found = load_policy(self._source)
        except PolicyError as error:  # the server goes on with what it has read before
            problem = error
        else:
            if found.fingerprint == fingerprint:
                self._policy = found
                return True
        get_logger().warning("shadow.live_unknown", **describe(problem))
        return False


def _looks(source: str) -> object:
    """Facts of a file that change when it is written."""
    try:
        found = Path(source).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
