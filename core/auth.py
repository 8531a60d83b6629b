"""Who calls the API: an access token becomes a Principal.

Identity's token says only who somebody is. Their roles, and whether they may come in at all, are
those of our record, so what an administrator changes here holds from the next request on.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from usher.core.domain.events import IdentityUser, read_user
from usher.core.domain.records import Status, User
from usher.core.domain.roles import effective
from usher.core.errors import (
    AccountDeletedError,
    AccountSuspendedError,
    BodyError,
    IdentityUnavailableError,
    SignatureError,
    UnauthenticatedError,
)
from usher.core.jws import open_compact, read_unverified

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.policy_source import PolicyInForce
    from usher.core.users import UserService

MAX_TOKEN_BYTES: Final = 16_384
"""An access token carries both metadata maps; headers have room for this much."""
CACHE_SECONDS: Final = 60
CACHE_ENTRIES: Final = 10_000
SKEW_SECONDS: Final = 60
"""How far ahead of our clock ``iat`` may lie."""
COOKIE: Final = "nf_jwt"
_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedCaller:
    """A caller whom the platform itself verified, passed beside the event.

    Only a runtime adapter makes one, and only where nobody else can put it there.
    """

    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of its caller.

    Attributes:
        authorization: the values of all Authorization headers.
        cookies: of all Cookie headers; None where the method must not use them.
    """

    authorization: Sequence[str]
    cookies: Sequence[str] | None
    trusted: TrustedCaller | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: their record, and the roles that it gives now."""

    user: User
    roles: frozenset[str]

    @property
    def actor(self) -> str:
        """As the audit names them."""
        return f"user:{self.user.id}"


class Authenticator:
    """Turns credentials into principals.

    Args:
        secret: what signs access tokens; None: Identity is asked.
        audience: what ``aud`` must be; None: anything.
        identity: asked where there is no secret; None: there is no way to it.
        clock: the current time, UTC.
    """

    def __init__(
        self,
        *,
        secret: bytes | None,
        audience: str | None,
        identity: IdentityClient | None,
        users: UserService,
        policy: PolicyInForce,
        clock: Callable[[], datetime],
    ) -> None:
        self._secret = secret
        self._audience = audience
        self._identity = identity
        self._users = users
        self._policy = policy
        self._clock = clock
        self._asked: OrderedDict[str, tuple[float, IdentityUser]] = OrderedDict()
        self._lock = Lock()

    def authenticate(self, credentials: Credentials) -> Principal:
        """The caller; a record is made where a good token has none yet.

        Raises:
            UnauthenticatedError: no token, or none that is good.
            AccountSuspendedError, AccountDeletedError: it is good, its owner is shut out.
            IdentityUnavailableError: it could not be checked.
        """
        caller = self._caller(credentials)
        user = self._users.look_up(caller.id)
        if user is None or user.status is Status.PENDING:
            user = self._users.welcome(caller, self._policy.current)
        if user.status is Status.DELETED:
            raise AccountDeletedError
        if user.status is Status.SUSPENDED:
            raise AccountSuspendedError
        return Principal(user, effective(user.grants, self._clock()))

    def _caller(self, credentials: Credentials) -> IdentityUser:
        if credentials.trusted is not None:
            now = self._clock().timestamp()
            return _read_caller(self._checked(dict(credentials.trusted.claims), now))
        token = _token(credentials)
        now = self._clock().timestamp()
        if self._secret is not None:
            try:
                claims, _ = open_compact(token, (self._secret,), MAX_TOKEN_BYTES)
            except SignatureError as error:
                raise UnauthenticatedError(error.check.value) from None
            return _read_caller(self._checked(claims, now))
        return self._ask(token, now)

    def _checked(self, claims: dict[str, Any], now: float) -> dict[str, Any]:
        """The claims of an access token, each as strictly as an event's.

        An event's JWS may be signed by the same key (docs/identity.md); it must open nothing here.
        """
        if claims.get("iss") == "gotrue" or "sha256" in claims:
            raise UnauthenticatedError("event_token")
        expiry = claims.get("exp")
        if not isinstance(expiry, int | float) or isinstance(expiry, bool):
            raise UnauthenticatedError("claim_exp")
        if expiry <= now:
            raise UnauthenticatedError("expired", "The access token has expired.")
        not_before = claims.get("nbf", now)
        if type(not_before) not in (int, float) or not_before > now:
            raise UnauthenticatedError("claim_nbf")
        issued_at = claims.get("iat", now)
        if type(issued_at) not in (int, float) or issued_at > now + SKEW_SECONDS:
            raise UnauthenticatedError("claim_iat")
        if self._audience is not None:
            audience = claims.get("aud")
            named = audience if isinstance(audience, list) else [audience]
            if self._audience not in named:
                raise UnauthenticatedError("claim_aud")
        return claims

    def _ask(self, token: str, now: float) -> IdentityUser:
        """Identity's own word on a token, remembered for a minute and never past its end."""
        try:
            claims = self._checked(read_unverified(token, MAX_TOKEN_BYTES), now)
        except SignatureError as error:
            raise UnauthenticatedError(error.check.value) from None
        key = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            remembered = self._asked.get(key)
        if remembered is not None and now < remembered[0]:
            return remembered[1]
        if self._identity is None:
            raise IdentityUnavailableError(
                "Neither USHER_JWT_SECRET nor USHER_IDENTITY_URL is set: no token can be checked."
            )
        caller = self._identity.user_of(token)
        if caller is None:
            raise UnauthenticatedError("identity_refused")
        if str(caller.id) != str(claims.get("sub")).lower():
            raise UnauthenticatedError("claim_sub")
        with self._lock:
            # Not as a float: an integer of 400 digits is a good exp, and no float holds it.
            self._asked[key] = min(now + CACHE_SECONDS, claims["exp"]), caller
            self._asked.move_to_end(key)
            while len(self._asked) > CACHE_ENTRIES:
                self._asked.popitem(last=False)
        return caller


def _token(credentials: Credentials) -> str:
    if credentials.authorization:
        # Some platforms join repeated headers. No token holds a comma: one begins another value.
        value = ",".join(credentials.authorization).strip()
        found = _BEARER.fullmatch(value)
        if not found and "," in value:
            raise UnauthenticatedError("token_repeated", "Send one Authorization header.")
        if not found:
            raise UnauthenticatedError(
                "not_bearer", "The Authorization header must be: Bearer, a space, the access token."
            )
        return found[1]
    cookies = [
        value
        for header in credentials.cookies or ()
        for name, equals, value in [pair.strip().partition("=") for pair in header.split(";")]
        if name == COOKIE and equals and value
    ]
    if len(set(cookies)) > 1:
        raise UnauthenticatedError("token_repeated", f"There are two cookies {COOKIE}.")
    if not cookies:
        raise UnauthenticatedError(
            "no_token", "Send Authorization: Bearer, a space, and the user's access token."
        )
    return cookies[0]


def _read_caller(claims: dict[str, Any]) -> IdentityUser:
    """Who the claims say it is, without roles: those may have been taken away since."""
    fields = {key: claims.get(key) for key in ("email", "app_metadata", "user_metadata")}
    try:
        caller = read_user({**fields, "id": claims.get("sub")})
    except BodyError as error:
        raise UnauthenticatedError(error.pointer.replace("/user/", "claim_")) from None
    if not caller.id.int:  # Identity's own system (usher.core.identity.http), which is nobody
        raise UnauthenticatedError("claim_id")
    kept = {key: value for key, value in (caller.app_metadata or {}).items() if key != "roles"}
    return replace(caller, app_metadata=kept)
