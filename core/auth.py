"""Authentication of the API's callers: an access token becomes a Principal.

Identity's token only names the person. Roles and status come from our record, so that an
administrator's change holds from the next request on.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import MAX_ACCESS_TOKEN_BYTES
from usher.core.domain.events import IdentityUser, read_user
from usher.core.domain.records import Status, User
from usher.core.domain.roles import effective
from usher.core.errors import (
    AccountDeletedError,
    AccountSuspendedError,
    BodyError,
    Check,
    IdentityUnavailableError,
    SignatureError,
    UnauthenticatedError,
)
from usher.core.jws import open_compact, read_unverified
from usher.core.keys import KeyService, Machine, is_key
from usher.core.opaque import read_envelope

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.policy_source import PolicyInForce
    from usher.core.users import UserService

CACHE_SECONDS: Final = 60
CACHE_ENTRIES: Final = 10_000
OPENED_ENTRIES: Final = 1_000
OPENED_BYTES: Final = 4_096
"""Good tokens whose signature is not checked again: how many, and up to what size."""
SKEW_SECONDS: Final = 60
"""Greatest lead of ``iat`` over our clock."""
COOKIE: Final = "nf_jwt"
_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE | re.ASCII)


class TrustedCaller(Struct, frozen=True):
    """A caller whom the platform itself verified, passed beside the event.

    Only a runtime adapter makes one, and only where nobody else can put it.

    Attributes:
        claims: of the caller's access token.
    """

    claims: Mapping[str, Any]


class Credentials(Struct, frozen=True):
    """The credentials of a request.

    Attributes:
        authorization: values of all Authorization headers.
        cookies: values of all Cookie headers; None where the method must not use them.
        trusted: the caller as the platform verified it; goes before the headers.
    """

    authorization: Sequence[str]
    cookies: Sequence[str] | None
    trusted: TrustedCaller | None = None


class Principal(Struct, frozen=True):
    """An authenticated caller: the record, and its effective roles now."""

    user: User
    roles: frozenset[str]

    @property
    def name(self) -> str:
        """The caller's name in the log, and of their rate limit."""
        return str(self.user.id)

    @property
    def actor(self) -> str:
        """The caller's name in the audit."""
        return f"user:{self.user.id}"


class Authenticator:
    """Turns credentials into principals.

    Args:
        secret: secret that signs access tokens; None: Identity is asked about each.
        audience: required ``aud``; None: any.
        identity: asked where there is no secret; None: there is no way to Identity.
        policy: gives the roles of a record that is made here.
        keys: those of machines.
        clock: gives the current time, UTC.
    """

    def __init__(
        self,
        *,
        secret: bytes | None,
        audience: str | None,
        identity: IdentityClient | None,
        users: UserService,
        keys: KeyService,
        policy: PolicyInForce,
        clock: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._secret = secret
        self._audience = audience
        self._identity = identity
        self._users = users
        self._policy = policy
        self._clock = clock
        self._asked: OrderedDict[str, tuple[float, IdentityUser]] = OrderedDict()
        self._opened: OrderedDict[bytes, tuple[dict[str, Any], IdentityUser]] = OrderedDict()
        self._lock = Lock()

    def authenticate(self, credentials: Credentials) -> Principal | Machine:
        """The caller; with a good token, a missing or pending record becomes an active one.

        A key counts in the Authorization header alone.

        Raises:
            UnauthenticatedError: there is no good token, and no good key.
            AccountSuspendedError: the token is good, its user is suspended.
            AccountDeletedError: the token is good, its user is deleted.
            IdentityUnavailableError: the token could not be checked.
        """
        if credentials.trusted is None and credentials.authorization:
            bearer = token_of(credentials)
            if is_key(bearer):
                return self._keys.authenticate(bearer)
        return self._principal(self._caller(credentials))

    def authenticate_token(self, token: str) -> Principal:
        """The caller with this access token, as ``authenticate``."""
        return self._principal(self._person(token))

    def would_ask(self, token: str) -> bool:
        """Whether Identity is asked about this token now.

        Raises:
            UnauthenticatedError: the token cannot be a good one.
        """
        if self._secret is not None:
            return False
        now = self._clock().timestamp()
        read_claims(token, now, self._audience)
        return self._remembered(_key_of(token), now) is None

    def _principal(self, caller: IdentityUser) -> Principal:
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
            claims = dict(credentials.trusted.claims)
            return _read_caller(check_claims(claims, now, self._audience))
        return self._person(token_of(credentials))

    def _person(self, token: str) -> IdentityUser:
        now = self._clock().timestamp()
        if self._secret is not None:
            return self._open(token, self._secret, now)
        return self._ask(token, now)

    def _open(self, token: str, secret: bytes, now: float) -> IdentityUser:
        """The person of a signed token.

        The signature of the same bytes is checked once, and what passes with time at each request.
        """
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            opened = self._opened.get(key)
        if opened is not None:
            check_claims(opened[0], now, self._audience)
            return opened[1]
        try:
            claims, _ = open_compact(token, (secret,), MAX_ACCESS_TOKEN_BYTES, _read_claims)
        except SignatureError as error:
            raise UnauthenticatedError(error.check.value) from None
        caller = _read_caller(check_claims(claims, now, self._audience))
        if len(token) <= OPENED_BYTES:
            with self._lock:
                self._opened[key] = claims, caller
                while len(self._opened) > OPENED_ENTRIES:
                    self._opened.popitem(last=False)
        return caller

    def _ask(self, token: str, now: float) -> IdentityUser:
        """The account of a token as Identity says it; remembered for ``CACHE_SECONDS`` at most.

        It is forgotten when the token ends.
        """
        claims = read_claims(token, now, self._audience)
        key = _key_of(token)
        remembered = self._remembered(key, now)
        if remembered is not None:
            return remembered
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
            # No conversion to float: an integer of 400 digits is a good exp, and no float holds it.
            self._asked[key] = min(now + CACHE_SECONDS, claims["exp"]), caller
            self._asked.move_to_end(key)
            while len(self._asked) > CACHE_ENTRIES:
                self._asked.popitem(last=False)
        return caller

    def _remembered(self, key: str, now: float) -> IdentityUser | None:
        """Identity's answer about a token, while it still counts."""
        with self._lock:
            found = self._asked.get(key)
        return found[1] if found is not None and now < found[0] else None


def _key_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def token_of(credentials: Credentials) -> str:
    """The access token of a request.

    Raises:
        UnauthenticatedError: there is none, or several, or one that is too large.
    """
    token = _sent_token(credentials)
    if len(token) > MAX_ACCESS_TOKEN_BYTES:
        raise UnauthenticatedError(
            Check.TOKEN_TOO_LARGE.value,
            f"The access token has {len(token)} bytes; {MAX_ACCESS_TOKEN_BYTES} is the most. "
            "What makes it large is the account's metadata at Identity.",
        )
    return token


def _sent_token(credentials: Credentials) -> str:
    if credentials.authorization:
        # Some platforms join repeated headers. No token holds a comma, so one begins another value.
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


def check_claims(claims: dict[str, Any], now: float, audience: str | None) -> dict[str, Any]:
    """The claims of an access token, checked as strictly as an event's.

    An event's JWS may be signed by the same key (docs/identity.md) and must not pass here.

    Raises:
        UnauthenticatedError: one of them is not as it must be.
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
    if audience is not None:
        said = claims.get("aud")
        if audience not in (said if isinstance(said, list) else [said]):
            raise UnauthenticatedError("claim_aud")
    return claims


def read_claims(token: str, now: float, audience: str | None = None) -> dict[str, Any]:
    """The claims of a token for whose signature somebody else vouches.

    Raises:
        UnauthenticatedError: the token cannot be a good one.
    """
    try:
        claims = read_unverified(token, MAX_ACCESS_TOKEN_BYTES, _read_claims)
    except SignatureError as error:
        raise UnauthenticatedError(error.check.value) from None
    return check_claims(claims, now, audience)


def _read_claims(payload: bytes) -> dict[str, Any]:
    """Claims are strict; what a person wrote into their own metadata shuts nobody out."""
    return read_envelope(payload)[0]


def _read_caller(claims: dict[str, Any]) -> IdentityUser:
    """The person that the claims name, without roles, which may be revoked since."""
    fields = {key: claims.get(key) for key in ("email", "app_metadata", "user_metadata")}
    try:
        caller = read_user({**fields, "id": claims.get("sub")})
    except BodyError as error:
        raise UnauthenticatedError(error.pointer.replace("/user/", "claim_")) from None
    if not caller.id.int:  # Identity's own system (usher.core.identity.http), no person
        raise UnauthenticatedError("claim_id")
    kept = {key: value for key, value in (caller.app_metadata or {}).items() if key != "roles"}
    return replace(caller, app_metadata=kept)
