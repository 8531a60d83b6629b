"""Sources of a guard: the records in the same database, or another Usher over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID
from weakref import ref

import msgspec
from msgspec import Struct, field

from usher.core.app import App
from usher.core.domain.outbox import Person, person_of
from usher.core.domain.records import Status
from usher.core.errors import (
    AccountDeletedError,
    AccountSuspendedError,
    AccountWaitingError,
    GuardError,
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
    InstanceUnknownError,
    TooManyRequestsError,
    UnauthenticatedError,
    UsherError,
)
from usher.core.keys import CLIENT_HEADER, KEY_HEADER

if TYPE_CHECKING:
    from usher.core.http.interface import Http
    from usher.core.store.database import Database

HUNG_SECONDS: Final = 5.0
"""Longer than any look at one record, or its making, takes."""
WATCH_SECONDS: Final = 1.0


class Caller(Struct, frozen=True):
    """A person who is signed in, as on record now.

    Attributes:
        roles: the effective ones.
        profile: the person's own data at Usher.
        user_metadata: the person's own data at Identity. Both are theirs to write: never decide
            by them.
        app_metadata: as Identity has it, with the keys that are added here, and without roles.
        written: the keys of both maps that handlers wrote, with the handlers' own values.
    """

    id: UUID
    email: str
    roles: frozenset[str]
    profile: Mapping[str, Any] = field(default_factory=dict)
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)


class Told(Struct, frozen=True):
    """An answer of a source: the caller, when that was asked, and the ETag of the answer."""

    caller: Caller
    at: float
    tag: str = ""


class Question(Struct, frozen=True):
    """A question to a source.

    Attributes:
        now: the time, in seconds since the epoch.
        known: the answer before, if any.
        address: key of the client's network (``usher.core.limits``), if that is public.
    """

    token: str
    now: float
    known: Told | None = None
    address: str | None = None


class Source(Protocol):
    """Knows whose token it is, and how they stand."""

    is_remote: bool

    def would_ask(self, question: Question) -> bool:
        """Whether somebody else, an Usher or Identity, is asked about this token now.

        Raises:
            UnauthenticatedError: the token cannot be a good one.
        """

    def ask(self, question: Question) -> Told:
        """The caller of a token.

        Raises:
            UsherError: a refusal; or, from status 500 on, nobody could be asked.
        """


def source_of(usher: App) -> Source:
    """The source that the settings name.

    Raises:
        GuardError: they name none.
    """
    settings = usher.settings
    if not (settings.url or settings.jwt_secret or usher.identity):
        raise GuardError(
            "Nobody can be asked who calls. Set USHER_URL, the address of your Usher; or, to read "
            "its database, USHER_DATABASE_URL with USHER_JWT_SECRET or USHER_IDENTITY_URL."
        )
    return Remote(settings.url, settings.key, usher.http) if settings.url else Records(usher)


class Records:
    """The records of the same database: the next request knows of every change."""

    is_remote = False

    def __init__(self, usher: App) -> None:
        self._auth = usher.auth
        self._clock = usher.clock
        database = ref(usher.store.database)
        Thread(target=_end_hung, args=(database,), name="usher-guard-watch", daemon=True).start()

    def would_ask(self, question: Question) -> bool:
        """See ``Source``."""
        return self._auth.would_ask(question.token)

    def ask(self, question: Question) -> Told:
        """See ``Source``."""
        found = self._auth.authenticate_token(question.token)
        if found.user.status is Status.WAITING:
            raise AccountWaitingError
        return Told(_caller(person_of(found.user, self._clock()), found.roles), question.now)


def _end_hung(database: ref[Database]) -> None:
    """End what a silent database would never end, for as long as there is that database."""
    while (found := database()) is not None:
        found.interrupt(HUNG_SECONDS)
        del found
        sleep(WATCH_SECONDS)


class _Mine(Struct):
    """The part of ``GET /api/me`` that a guard needs."""

    id: UUID
    email: str
    status: str
    roles: frozenset[str]
    profile: dict[str, Any]
    user_metadata: dict[str, Any]
    app_metadata: dict[str, Any]
    written: dict[str, Any]


class _Problem(Struct):
    code: str


_REFUSALS: Final[Mapping[tuple[int, str], Callable[[], UsherError]]] = {
    (401, "unauthenticated"): lambda: UnauthenticatedError("usher_refused"),
    (403, "account_suspended"): AccountSuspendedError,
    (403, "account_deleted"): AccountDeletedError,
    (409, "instance_unknown"): InstanceUnknownError,
}
"""The answers about a caller; any other, a proxy's 401 among them, is about Usher itself."""


class Remote:
    """Another Usher, asked for ``/api/me`` with the caller's own token.

    While it cannot be reached, one request at a time tries and all others fail at once, so that a
    hung Usher does not take all threads of a site.

    Args:
        url: its base address, without a slash at its end.
        key: the credential that lets it believe ``CLIENT_HEADER``.
        http: sends the requests.
    """

    is_remote = True

    def __init__(self, url: str, key: str | None, http: Http) -> None:
        from usher.core.identity.http import BoundedHttp  # noqa: PLC0415 - a database needs none

        self._http = BoundedHttp(url, http)
        self._key = key
        self._away = False
        self._trying = Lock()

    def would_ask(self, question: Question) -> bool:
        """See ``Source``; a token that was good before is no stranger's guess."""
        return question.known is None

    def ask(self, question: Question) -> Told:
        """See ``Source``."""
        known, address = question.known, question.address
        headers = {"Authorization": f"Bearer {question.token}"}
        if known is not None and known.tag:
            headers["If-None-Match"] = known.tag
        if self._key is not None and address is not None:
            headers |= {KEY_HEADER: self._key, CLIENT_HEADER: address}
        status, found, body = self._get(headers)
        if status == 304 and known is not None:
            return Told(known.caller, question.now, known.tag)
        if status != 200:
            raise _refusal(status, found, body)
        try:
            mine = msgspec.json.decode(body, type=_Mine)
        except (msgspec.MsgspecError, ValueError):
            raise GuardError("The answer of USHER_URL is not that of /api/me.") from None
        if mine.status == Status.WAITING:
            raise AccountWaitingError
        if mine.status != Status.ACTIVE:
            raise GuardError(f"USHER_URL let somebody pass who is {mine.status[:20]!r}.")
        return Told(_caller(mine, mine.roles), question.now, found.get("etag", ""))

    def _get(self, headers: dict[str, str]) -> Any:
        alone = self._away
        if alone and not self._trying.acquire(blocking=False):
            raise GuardError("USHER_URL cannot be reached; another request tries it already.")
        try:
            answer = self._http.request("GET", "/api/me", headers)
        except (IdentityUnavailableError, IdentityAnswerTooLargeError) as error:
            self._away = True
            raise GuardError(error.detail.replace("Identity", "USHER_URL")) from None
        finally:
            if alone:
                self._trying.release()
        self._away = False
        return answer


def _caller(person: Person | _Mine, roles: frozenset[str]) -> Caller:
    return Caller(
        person.id,
        person.email,
        roles,
        person.profile,
        person.user_metadata,
        person.app_metadata,
        person.written,
    )


def _refusal(status: int, headers: Any, body: bytes) -> UsherError:
    try:
        code = msgspec.json.decode(body, type=_Problem).code
    except (msgspec.MsgspecError, ValueError):
        code = ""
    if status == 429 and code == TooManyRequestsError.code:
        seconds = headers.get("retry-after", "")
        return TooManyRequestsError(int(seconds) if seconds.isdecimal() else 1)
    refusal = _REFUSALS.get((status, code))
    if refusal is not None:
        return refusal()
    return GuardError(f"USHER_URL answered GET /api/me with {status} {code[:40]}".rstrip() + ".")
