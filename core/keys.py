"""The keys of machines: made and revoked by administrators, and checked at each request.

Nothing of a key is remembered, so a revoked one is refused at the next request. The exception is a
guard's right to name its clients, which a server looks at before it opens the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import randbits
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from usher.core.domain.keys import (
    KEY_BITS,
    PREFIX,
    ApiKey,
    KeyState,
    NewKey,
    Scope,
    digest_of,
    spelled,
)
from usher.core.errors import DatabaseError, KeyForbiddenError, UnauthenticatedError
from usher.core.jws import constant_time_equal

if TYPE_CHECKING:
    from usher.core.domain.records import Page
    from usher.core.store.keys import Keys

USE_NOTED: Final = timedelta(minutes=1)
"""Interval at which the use of a key is written."""
KEY_HEADER: Final = "usher-key"
CLIENT_HEADER: Final = "usher-client"
"""Headers of a guard that forwards a person's request: its key, and the client's network."""
NAMING_REMEMBERED: Final = timedelta(minutes=1)
MAX_CLIENT_CHARACTERS: Final = 64
_NEVER: Final = ("", datetime.min.replace(tzinfo=UTC))


class Machine(Struct, frozen=True):
    """A caller with a key, which is nobody's person."""

    key: ApiKey

    @property
    def name(self) -> str:
        """The caller's name in the log, and of its rate limit."""
        return self.actor

    @property
    def actor(self) -> str:
        """The caller's name in the audit."""
        return f"key:{self.key.name}"

    def require(self, scope: Scope | None) -> None:
        """Insist on a scope; None: on one that no key has.

        Raises:
            KeyForbiddenError: the key lacks it.
        """
        if scope is None or scope not in self.key.scopes:
            raise KeyForbiddenError(scope.value if scope else "")


class KeyService:
    """Makes, finds and revokes keys.

    Args:
        clock: gives the current time, UTC.
    """

    def __init__(self, keys: Callable[[], Keys], clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._clock = clock
        self._naming: dict[str, tuple[str, datetime]] = {}

    def create(self, wanted: NewKey, actor: str) -> tuple[str, ApiKey]:
        """Make a key.

        Returns:
            Its text, which nobody can tell later, and the key.

        Raises:
            KeyInvalidError: it cannot be made so.
            KeyTakenError: a key of its name was made before, revoked or not.
        """
        now = self._clock()
        wanted.check(now)
        text = spelled(randbits(KEY_BITS))
        key = ApiKey(
            wanted.name, digest_of(text), wanted.scopes, now, actor, expires_at=wanted.expires_at
        )
        self._keys().add(key)
        return text, key

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[ApiKey]:
        """One page of keys, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        return self._keys().page(limit=limit, cursor=cursor)

    def revoke(self, name: str, actor: str, reason: str = "") -> ApiKey:
        """End a key for good.

        Raises:
            KeyNotFoundError: there is no such key.
        """
        return self._keys().revoke(name, actor, reason, self._clock())

    def authenticate(self, text: str) -> Machine:
        """The caller with this key.

        Raises:
            UnauthenticatedError: there is no such key, or it has ended.
        """
        digest, now = digest_of(text), self._clock()
        key = self._keys().find(digest) if digest else None
        if key is None or not constant_time_equal(key.digest, digest):
            raise UnauthenticatedError("key_unknown", "There is no such key.")
        state = key.state(now)
        if state is not KeyState.OPEN:
            raise UnauthenticatedError(f"key_{state.value}", f"The key is {state.value}.")
        if key.used_at is None or key.used_at <= now - USE_NOTED:
            with suppress(DatabaseError):  # it can be read, and that is enough for the request
                self._keys().note_use(key, now, now - USE_NOTED)
        return Machine(key)

    # --- guards, which name the clients whose requests they forward ----------------------------

    def check_naming(self, texts: Sequence[str]) -> str:
        """Look whether a guard's key lets it name clients, for its next requests.

        Returns:
            The name of the key, or the reason of its refusal.
        """
        text = texts[0] if len(texts) == 1 else ""
        name, until = self._naming.get(digest_of(text), _NEVER)
        if self._clock() + NAMING_REMEMBERED / 2 < until:
            return name
        try:
            machine = self.authenticate(text)
        except UnauthenticatedError as error:
            self._naming.pop(digest_of(text), None)
            return error.reason
        if Scope.CLIENTS_NAME not in machine.key.scopes:
            return "key_scope"
        self._naming[machine.key.digest] = machine.name, self._clock() + NAMING_REMEMBERED
        return machine.name

    def client_of(self, texts: Sequence[str], named: Sequence[str]) -> str | None:
        """The client that a guard names; None: it names none, or its key is not known yet.

        The database is not asked, so that a server's event loop can.
        """
        if len(texts) != 1 or len(named) != 1 or not named[0]:
            return None
        _, until = self._naming.get(digest_of(texts[0]), _NEVER)
        return named[0][:MAX_CLIENT_CHARACTERS] if self._clock() < until else None


def is_key(text: str) -> bool:
    """Whether a bearer is meant as a key; a token of Identity's never begins so."""
    return text.startswith(PREFIX)
