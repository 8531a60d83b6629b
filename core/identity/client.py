"""Client of Identity's HTTP API (docs/identity.md); never called from inside an event.

Idempotent calls are repeated a few times, with jittered pauses, while the client's patience lasts.
All other calls fail at once; their callers decide.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Struct

from usher.core.domain.events import IdentityUser, read_user
from usher.core.domain.sync_plan import Trouble, Unreadable
from usher.core.errors import (
    BodyError,
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    IdentityCredentialsError,
    IdentityNotConfiguredError,
    IdentityRefusedError,
    IdentityUnavailableError,
    OutOfTimeError,
    PlatformTokenError,
    UsherError,
)
from usher.core.http.interface import Http
from usher.core.identity.http import AdminAnswer, AdminTransport, BoundedHttp
from usher.core.opaque import (
    APP_METADATA,
    SetAside,
    only,
    only_of_start,
    read_envelope,
    read_list,
)
from usher.core.strict_json import StrictJsonError, loads_object

ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 2.0
MAX_PER_PAGE: Final = 1_000
BEYOND_ALL: Final = 1_000_000
"""A page that no Identity has so many accounts for."""
LEFT_OUT: Final = "usher_left_out"
"""The member in which the bridge names the maps that were too large for its answer."""
_METADATA: Final = ("id", "app_metadata", LEFT_OUT)
_UUID: Final = rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_FIRST_ID: Final = re.compile(rb'"users":\s*\[\s*\{\s*"id":\s*"(' + _UUID + rb')"')
_WORTH_A_REPEAT: Final = frozenset({429, 500, 502, 503, 504})
_REPEATABLE: Final = frozenset({"GET", "PUT", "DELETE"})


class UserPage(Struct, frozen=True):
    """One page of Identity's accounts.

    Attributes:
        accounts: in Identity's order, each as it could be read.
        more: whether there is a further page.
        total: number of all accounts; None where Identity does not say.
    """

    accounts: tuple[IdentityUser | Unreadable, ...]
    more: bool
    total: int | None

    @property
    def users(self) -> tuple[IdentityUser, ...]:
        """The accounts that could be read."""
        return tuple(each for each in self.accounts if isinstance(each, IdentityUser))

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The others."""
        return tuple(each for each in self.accounts if isinstance(each, Unreadable))


class IdentityClient:
    """A client of one Identity.

    Args:
        url: base address, without a slash at its end; None: only admin calls are possible.
        admin: the way to the admin API; None: no admin calls are possible.
        patience_seconds: time from the first attempt within which a repeat may begin.
        sleep: waits for a number of seconds.
        http: sends the requests that bring a caller's own token.
        waits: tells whether there are no credentials just now, though there will be.
    """

    def __init__(
        self,
        url: str | None,
        admin: AdminTransport | None = None,
        *,
        http: Http | None = None,
        waits: Callable[[], bool] = lambda: False,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = BoundedHttp(url, http) if url else None
        self._admin = admin
        self._waits = waits
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._may_call: Callable[[], bool] = _always

    @property
    def is_admin(self) -> bool:
        """Whether there are credentials for admin calls, good or not."""
        return self._admin is not None

    @property
    def may_call(self) -> bool:
        """Whether there is time for an admin call."""
        return self._may_call()

    @contextmanager
    def calling_while(self, may_call: Callable[[], bool]) -> Iterator[None]:
        """Begin admin calls within the block only while ``may_call`` allows it.

        Any other raises OutOfTimeError, and calls nobody.
        """
        self._may_call = may_call
        try:
            yield
        finally:
            self._may_call = _always

    @property
    def is_waiting(self) -> bool:
        """Whether admin calls cannot be made just now, and will be possible later."""
        return self._waits()

    def user_of(self, token: str) -> IdentityUser | None:
        """The account of an access token (``GET /user``); None where Identity refuses the token.

        Raises:
            IdentityUnavailableError: Identity is away or slow, or its answer is malformed.
        """
        if self._http is None:
            raise IdentityUnavailableError("USHER_IDENTITY_URL is not set.")
        try:
            answer = self._http.request("GET", "/user", {"Authorization": f"Bearer {token}"})
        except IdentityAnswerTooLargeError as error:
            raise IdentityUnavailableError(error.detail) from None
        if answer.status in (401, 403, 404):  # 404: a good token, but its account is gone
            return None
        if answer.status != 200:
            raise IdentityUnavailableError(f"Identity answered GET /user with {answer.status}.")
        return _described(answer.body)

    # --- admin calls: each raises IdentityUnavailableError, IdentityCredentialsError,
    # --- IdentityNotConfiguredError and IdentityRefusedError (400, 404, 409, 422) -----------------

    def users(self, page: int = 1, per_page: int = 100) -> UserPage:
        """A page of all accounts, the oldest first, so that new ones do not move the pages."""
        query = urlencode({"page": page, "per_page": per_page, "sort": "created_at asc"})
        answer = self._ask("GET", f"/admin/users?{query}")
        try:
            _, documents = read_list(answer.body, "users")
        except StrictJsonError as error:
            raise IdentityUnavailableError(
                f"Identity answered GET /admin/users without users: {error}."
            ) from None
        first = (page - 1) * per_page + 1
        total = answer.headers.get("x-total-count", "")
        link = answer.headers.get("link")
        return UserPage(
            tuple(_listed(document, first + at) for at, document in enumerate(documents)),
            more='rel="next"' in link if link is not None else len(documents) >= per_page,
            total=int(total) if total.isascii() and total.isdecimal() and len(total) < 19 else None,
        )

    def user(self, user_id: UUID) -> IdentityUser | None:
        """One account; None where there is no such account.

        Raises:
            IdentityAccountUnreadableError: there is one, and it cannot be read.
        """
        answer = self._ask("GET", f"/admin/users/{user_id}", missing=404)
        if answer.status == 404:
            return None
        _insist(user_id, answer.body)
        return _account(answer.body)

    def metadata(self, user_id: UUID) -> IdentityUser | None:
        """One account with nothing but its id and ``app_metadata``, however odd the rest of it is.

        Raises:
            IdentityAccountUnreadableError: even these cannot be read.
        """
        return self._metadata_by("GET", user_id)

    def update(
        self,
        user_id: UUID,
        app_metadata: Mapping[str, Any],
        user_metadata: Mapping[str, Any] | None = None,
    ) -> IdentityUser | None:
        """Change an account's metadata; None where there is no such account.

        Identity merges each map key by key: other keys stay, and null removes a key.

        Returns:
            The account afterwards, as ``metadata`` reads it.
        """
        body = {"app_metadata": app_metadata, "user_metadata": user_metadata}
        named = {name: keys for name, keys in body.items() if keys}
        return self._metadata_by("PUT", user_id, named)

    def _metadata_by(
        self, method: str, user_id: UUID, body: Mapping[str, Any] | None = None
    ) -> IdentityUser | None:
        """The account that a call answers; of one too large to be read, its beginning.

        Identity writes ``app_metadata`` before what the person wrote, which has no bounds.
        """
        try:
            answer = self._ask(method, f"/admin/users/{user_id}", body, missing=404)
        except IdentityAnswerTooLargeError as error:
            try:
                alone = only_of_start(error.start, ("id", APP_METADATA))
            except StrictJsonError:
                raise error from None
            return _metadata(user_id, alone)
        return None if answer.status == 404 else _metadata(user_id, answer.body)

    def create(
        self,
        email: str,
        password: str,
        *,
        confirm: bool = False,
        data: Mapping[str, Any] | None = None,
    ) -> IdentityUser:
        """Make an account, without a mail or an event.

        Args:
            confirm: make it usable at once.
            data: the account's ``user_metadata``.
        """
        body = {
            "email": email,
            "password": password,
            "confirm": confirm,
            "user_metadata": data or {},
        }
        return _described(self._ask("POST", "/admin/users", body).body)

    def invite(self, email: str, data: Mapping[str, Any]) -> IdentityUser:
        """Have Identity make an account and mail an invitation.

        Args:
            data: the account's ``user_metadata``.
        """
        return _described(self._ask("POST", "/invite", {"email": email, "data": data}).body)

    def delete(self, user_id: UUID) -> bool:
        """Delete an account; False where there was none."""
        return self._ask("DELETE", f"/admin/users/{user_id}", missing=404).status != 404

    def probe(self) -> Mapping[str, str]:
        """Make one admin call that changes nothing; return the headers of its answer.

        It asks for a page beyond all accounts, so no account can make it fail.
        """
        query = urlencode({"page": BEYOND_ALL, "per_page": 1})
        answer = self._ask("GET", f"/admin/users?{query}")
        if answer.document.get("users") not in ([], None):
            raise IdentityUnavailableError("Identity gives accounts on a page beyond all of them.")
        return answer.headers

    def is_away(self) -> bool:
        """Whether Identity fails even where no account can be at fault."""
        try:
            self.probe()
        except UsherError:
            return True
        return False

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        missing: int | None = None,
    ) -> AdminAnswer:
        """The answer to an admin call, if its status is 200, 201, 204 or ``missing``."""
        if self._admin is None:
            raise IdentityNotConfiguredError(
                "Identity's admin API needs USHER_IDENTITY_URL, and USHER_IDENTITY_ADMIN_TOKEN "
                "or USHER_JWT_SECRET; or USHER_BRIDGE_URL and USHER_BRIDGE_SECRET; or, inside "
                "Netlify, USHER_USE_PLATFORM_TOKEN."
            )
        what = f"{method} {path.partition('?')[0]}"
        answer = self._patiently(self._admin, method, path, body)
        if answer.status in (200, 201, 204, missing):
            return answer
        if answer.status in (401, 403):
            raise IdentityCredentialsError(
                f"Identity answered {what} with {answer.status}: it does not accept Usher's "
                "admin credentials. Run: usher doctor"
            )
        if answer.status in (400, 404, 409, 422):
            said = answer.document.get("msg")
            sentence = said[:200] if isinstance(said, str) else "It gave no reason."
            raise IdentityRefusedError(f"Identity refused {what}: {sentence}")
        raise IdentityUnavailableError(f"Identity answered {what} with {answer.status}.")

    def _patiently(
        self, admin: AdminTransport, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AdminAnswer:
        last_start = time.monotonic() + self._patience_seconds
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            outcome: AdminAnswer | IdentityUnavailableError
            if not self._may_call():
                raise OutOfTimeError("There is no time left to ask Identity.")
            try:
                outcome = admin.request(method, path, body)
            except PlatformTokenError:
                raise  # so soon there is no other
            except IdentityUnavailableError as error:
                outcome = error
            else:
                if outcome.status not in _WORTH_A_REPEAT:
                    return outcome
            # Jitter: servers that failed together must not come back together.
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            late = time.monotonic() + wait > last_start
            if late or attempt == ATTEMPTS or method not in _REPEATABLE:
                break
            self._sleep(wait)
            pause *= 2
        if isinstance(outcome, IdentityUnavailableError):
            raise outcome
        return outcome


def _described(body: bytes) -> IdentityUser:
    """The account that an answer describes."""
    try:
        return _account(body)
    except IdentityAccountUnreadableError as error:
        raise IdentityUnavailableError(f"Identity described a user oddly: {error}") from None


def _metadata(user_id: UUID, body: bytes) -> IdentityUser:
    try:
        alone = only(body, _METADATA)
    except StrictJsonError:
        alone = b""
    _insist(user_id, alone)
    return _account(alone)


def _insist(user_id: UUID, document: bytes) -> None:
    """Refuse an answer that is not about this account."""
    if _id_of(document) != str(user_id):
        raise IdentityUnavailableError("Identity answered about another user.")


def _always() -> bool:
    return True


def _listed(document: bytes, number: int) -> IdentityUser | Unreadable:
    try:
        return _account(document)
    except IdentityAccountUnreadableError as error:
        return Unreadable(_id_of(document), number, Trouble.FORM, error.detail)


def _account(document: bytes) -> IdentityUser:
    """An account, read as an event's is."""
    try:
        fields, set_aside = read_envelope(document)
        return read_user(fields, set_aside + _left_out(fields))
    except (StrictJsonError, BodyError) as error:
        raise IdentityAccountUnreadableError(str(error)[:200]) from None


def _left_out(fields: Mapping[str, Any]) -> tuple[SetAside, ...]:
    names = fields.get(LEFT_OUT)
    if not isinstance(names, list):
        return ()
    return tuple(SetAside(str(name), "left out by the bridge: too large") for name in names)


def _id_of(document: bytes) -> str:
    """The id of an account, or nothing where that cannot be read."""
    try:
        return str(UUID(loads_object(only(document, ("id",)))["id"]))
    except (StrictJsonError, KeyError, TypeError, ValueError, AttributeError):
        return ""


def first_id(start: bytes) -> str:
    """The id of the first account of a page of which only the start came, if it is there."""
    found = _FIRST_ID.search(start)
    return found[1].decode().lower() if found else ""
