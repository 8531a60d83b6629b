"""One request at a time for one account: what a row lock is to GoTrue.

Held while an event of the account is sent, so that a hook which changes that account through the
API waits for itself, as with the real one. The database is not held meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from uuid import UUID

from usher.emulator.errors import IdentityError


class AccountLocks:
    """Locks by name, made when wanted and forgotten when free.

    Args:
        wait_seconds: how long to wait for one.
    """

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._guard = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def account(self, user_id: UUID) -> Iterator[None]:
        """Hold an account. Whoever also wants its address takes that first.

        Raises:
            IdentityError: 500, it was not free in time.
        """
        with self._named(f"id {user_id}"):
            yield

    @contextmanager
    def address(self, aud: str, email: str) -> Iterator[None]:
        """Hold an address, whether it has an account or not.

        Raises:
            IdentityError: 500, it was not free in time.
        """
        with self._named(f"email {aud} {email}"):
            yield

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        with ExitStack() as stack:
            with self._guard:
                lock, users = self._locks.get(name, (Lock(), 0))
                self._locks[name] = lock, users + 1
            stack.callback(self._leave, name)
            if not lock.acquire(timeout=self._wait_seconds):
                raise IdentityError(500, "Lock wait timeout exceeded")
            stack.callback(lock.release)
            yield

    def _leave(self, name: str) -> None:
        with self._guard:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = lock, users - 1
