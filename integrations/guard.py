"""The guard that all frameworks share: a request's access token becomes a Caller, or a refusal.

Roles and status come from Usher's records, never from the token. Whatever goes wrong on our side is
a 503, so a guard that cannot ask lets nobody in.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Final, TypeVar

from msgspec import Struct

from usher.core import app
from usher.core.app import App
from usher.core.auth import Credentials, read_claims, token_of
from usher.core.errors import (
    AccountDeletedError,
    AccountSuspendedError,
    AccountWaitingError,
    ForbiddenError,
    GuardError,
    TooManyRequestsError,
    UnauthenticatedError,
    UsherError,
)
from usher.core.limits import RateLimiter, client
from usher.core.log import Recurring, describe, get_logger
from usher.integrations.sources import Caller, Question, Source, Told, source_of

REMEMBER_SECONDS: Final = 10.0
"""Longest time for which an answer of another Usher counts without a question."""
REFUSED_PER_MINUTE: Final = 60
"""Tokens a minute from one address that cost a question, and were not good."""
REMEMBERED: Final = 1_000
"""Callers that are remembered; each may have two maps of 64 KiB."""
THREADS: Final = 16
_READS: Final = ("GET", "HEAD")
_SHUT_OUT: Final = (AccountSuspendedError, AccountDeletedError, AccountWaitingError)
Inner = TypeVar("Inner", bound=Callable[..., Any])


class Visit(Struct, frozen=True):
    """The part of a request that a guard looks at.

    Attributes:
        method: empty for what is no HTTP request, such as a WebSocket.
        authorization, cookies, forwarded: values of all ``Authorization``, ``Cookie`` and
            ``X-Forwarded-For`` headers.
        peer: the address at the other end of the connection.
    """

    method: str
    authorization: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forwarded: tuple[str, ...] = ()
    peer: str = ""

    @property
    def token(self) -> str:
        """The access token; other sites' pages make a browser send cookies, so they only read.

        Raises:
            UnauthenticatedError: there is none, or several.
        """
        cookies = self.cookies if self.method in _READS else None
        return token_of(Credentials(self.authorization, cookies))


class Guard:
    """Tells a site's own endpoints who calls, by the settings of this process.

    Args:
        stale_ok: seconds for which the last good answer about a token still counts while nobody can
            be asked; 0: 503 at once.
        remember: seconds, ten at most, for which an answer of the Usher at ``USHER_URL`` counts
            without a question. The database of the settings is asked each time.
        refused_per_minute: tokens that one public address may send in vain where Identity or the
            Usher at ``USHER_URL`` must be asked about each; 0: no limit.
    """

    def __init__(
        self,
        *,
        stale_ok: float = 0,
        remember: float = REMEMBER_SECONDS,
        refused_per_minute: int = REFUSED_PER_MINUTE,
    ) -> None:
        if not 0 <= remember <= REMEMBER_SECONDS:
            raise ValueError(f"remember is at least 0 and at most {REMEMBER_SECONDS:g} seconds")
        self._stale_ok = stale_ok
        self._remember = remember
        self._refused = RateLimiter(refused_per_minute, monotonic)
        self._source: tuple[App, Source] | None = None
        self._told: OrderedDict[bytes, Told] = OrderedDict()
        self._lock = Lock()
        self._failure = Recurring()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="usher-guard")

    def check(self, visit: Visit, roles: Collection[str] = ()) -> Caller:
        """The caller, who has one of the roles, if any are named.

        Raises:
            UsherError: the refusal: 401, 403, 409, 429 or 503.
        """
        try:
            caller = self._find(visit)
        except Exception as error:
            raise self._refusal(error) from error
        return self.require(caller, roles)

    def require(self, caller: Caller, roles: Collection[str]) -> Caller:
        """The caller, who has one of the roles, if any are named.

        Raises:
            ForbiddenError
        """
        if roles and caller.roles.isdisjoint(roles):
            raise self._refusal(ForbiddenError(*sorted(roles)))
        return caller

    async def check_async(self, visit: Visit, roles: Collection[str] = ()) -> Caller:
        """As ``check``, in a thread of the guard's own, since it waits for a database or a host."""
        check = partial(self.check, visit, roles)
        return await asyncio.get_running_loop().run_in_executor(self._threads, check)

    def _refusal(self, error: Exception) -> UsherError:
        if isinstance(error, UsherError) and error.status < 500:
            fields = {"reason": error.reason} if isinstance(error, UnauthenticatedError) else {}
            get_logger().info("guard.refused", status=error.status, code=error.code, **fields)
            return error
        self._note(error)
        return GuardError()

    def _note(self, error: Exception) -> None:
        with self._lock:
            tell = self._failure.again(type(error))
        if tell:
            get_logger().error("guard.failed", **describe(error))

    def _find(self, visit: Visit) -> Caller:
        usher = app.current(guest=True)
        source, now = self._source_for(usher), usher.clock().timestamp()
        token = visit.token
        address = client(visit.peer, visit.forwarded, usher.settings.trusted_proxies)
        if not source.is_remote and not self._stale_ok:
            return self._ask(source, Question(token, now, address=address)).caller
        claims = read_claims(token, now, usher.settings.jwt_audience)
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._told.get(key)
        age = now - known.at if known else -1.0
        if known and source.is_remote and 0 <= age < self._remember:
            return known.caller
        try:
            told = _about(claims, self._ask(source, Question(token, now, known, address)))
        except Exception as error:
            if isinstance(error, UsherError) and error.status < 500:
                self._forget(key, _subject(claims), error)
                raise
            if known and 0 <= age <= self._stale_ok:
                self._note(error)
                return known.caller
            raise
        self._keep(key, told)
        return told.caller

    def _ask(self, source: Source, question: Question) -> Told:
        """Ask, unless this address had too many tokens refused that somebody was asked about.

        Tokens that somebody makes up would each cost a question otherwise.

        Raises:
            TooManyRequestsError
        """
        address = question.address
        if address is None or not source.would_ask(question):
            return source.ask(question)
        self._refused.take(address)
        refused = False
        try:
            return source.ask(question)
        except UsherError as error:
            refused = error.status < 500
            raise
        finally:
            if not refused:
                self._refused.give_back(address)

    def _forget(self, key: bytes, subject: str, refusal: UsherError) -> None:
        """Let nobody pass by an older answer who was refused since.

        Args:
            subject: of the token. Where the person is shut out, older answers about any of their
                tokens are forgotten.
        """
        if isinstance(refusal, TooManyRequestsError):  # this one says nothing about the caller
            return
        with self._lock:
            self._told.pop(key, None)
            if isinstance(refusal, _SHUT_OUT):
                about = [one for one, told in self._told.items() if str(told.caller.id) == subject]
                for each in about:
                    del self._told[each]

    def _source_for(self, usher: App) -> Source:
        """The source of this App; what another one said is forgotten."""
        made = self._source
        if made is None or made[0] is not usher:
            with self._lock:
                made = self._source
                if made is None or made[0] is not usher:
                    self._told.clear()
                    self._source = made = (usher, source_of(usher))
        return made[1]

    def _keep(self, key: bytes, told: Told) -> None:
        with self._lock:
            self._told[key] = told
            self._told.move_to_end(key)
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)


class WrappingGuard(Guard, ABC):
    """A guard that is put around what it guards: a view, or a whole application."""

    def signed_in(self, inner: Inner) -> Inner:
        """Let pass only people who are signed in."""
        return self._around(inner, ())

    def require_role(self, role: str, *more: str) -> Callable[[Inner], Inner]:
        """Let pass only people who have one of these roles."""
        return lambda inner: self._around(inner, (role, *more))

    @abstractmethod
    def _around(self, inner: Inner, roles: tuple[str, ...]) -> Inner:
        """What checks first, and then does what ``inner`` does."""


def _about(claims: Mapping[str, Any], told: Told) -> Told:
    """The answer, unless a proxy mixed two up: it must be about the token's owner."""
    if str(told.caller.id) != _subject(claims):
        raise GuardError("The answer is about somebody else.")
    return told


def _subject(claims: Mapping[str, Any]) -> str:
    return str(claims.get("sub")).lower()
