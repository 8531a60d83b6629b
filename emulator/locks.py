"""Row locks: one request at a time may have written an account and not yet committed.

A request holds its account from the first write on. GoTrue writes before the hook only when an
invitation is accepted, an unconfirmed account is recovered, or autoconfirm meets an account that
exists; then a hook that changes the account through the API waits for itself. During a login and a
plain confirmation nothing is held. The database is never held while a hook is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from uuid import UUID

from usher.emulator.addresses import address_key
from usher.emulator.errors import IdentityError


class AccountLocks:
    """Locks by name, made when wanted and forgotten when free.

    Args:
        wait_seconds: until a waiting request gives up.
    """

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._guard = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def account(self, user_id: UUID) -> Iterator[None]:
        """Hold an account. A request that also wants its address takes that first.

        Raises:
            IdentityError: 500, it was not free in time.
        """
        with self._named(f"id {user_id}"):
            yield

    @contextmanager
    def address(self, aud: str, email: str) -> Iterator[None]:
        """Hold an address without an account, while one is made for it.

        Raises:
            IdentityError: 500, it was not free in time.
        """
        with self._named(f"email {aud} {address_key(email)}"):
            yield

    @contextmanager
    def token(self, token: str) -> Iterator[None]:
        """Hold a refresh token, while it is exchanged.

        Raises:
            IdentityError: 500, it was not free in time.
        """
        with self._named(f"token {token}"):
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
