"""``POST /token`` and ``POST /logout``. Source: GoTrue ``api/token.go``, ``api/logout.go``."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from usher.emulator.accounts import Record
from usher.emulator.admins import owner
from usher.emulator.call import Call, no_cookie, refusal
from usher.emulator.errors import INVALID_GRANT, IdentityError, OAuthError
from usher.emulator.instance import Instance
from usher.emulator.passwords import matches
from usher.emulator.store import Work
from usher.functions._shared.http import Response

REFRESH_LIFETIME: Final = timedelta(days=30)
_INVALID: Final = "Invalid Refresh Token"


def token(identity: Instance, call: Call) -> Response:
    """A pair of tokens, for a password or for a refresh token."""
    grants = {"password": _password_grant, "refresh_token": _refresh_grant}
    grant = grants.get(call.form("grant_type"))
    if grant is None:
        raise OAuthError("unsupported_grant_type")
    return grant(identity, call)


def log_out(identity: Instance, call: Call) -> Response:
    """End every login of the caller; access tokens live on until they expire."""
    claims = identity.claims(call)
    record = owner(identity, claims)
    if record is None and not claims.is_system:
        raise IdentityError(401, "Invalid user")
    work = Work()
    identity.audit(work, record, "logout", call.now)
    if record is not None:
        work.log_out(record.id)
    identity.commit(work)
    return Response(204, headers=no_cookie(call.now))


def _password_grant(identity: Instance, call: Call) -> Response:
    """Nothing is locked while the hook is called: its answer overwrites any change in between."""
    email, password = call.form("username"), call.form("password")
    record = _checked(identity.store.by_email(identity.audience(call), email), password)
    work = Work()
    identity.audit(work, record, "login", call.now)
    identity.hooks.fire("login", record)
    tokens = identity.log_in(work, record, call.now)
    work.save(record)
    identity.commit(work)
    return identity.logged_in(call, tokens)


def _checked(record: Record | None, password: str) -> Record:
    if record is None:
        raise OAuthError("invalid_grant", INVALID_GRANT)
    if record.confirmed_at is None:
        raise OAuthError("invalid_grant", "Email not confirmed")
    if not matches(password, record.password):
        raise OAuthError("invalid_grant", INVALID_GRANT)
    return record


def _refresh_grant(identity: Instance, call: Call) -> Response:
    shown = call.form("refresh_token")
    if not shown:
        raise OAuthError("invalid_request", "refresh_token required")
    work = Work()
    with identity.locks.token(shown):
        current = identity.store.refresh_token(shown)
        if current is None:
            raise OAuthError("invalid_grant", _INVALID)
        if current.revoked:
            return _refused(call, _INVALID)
        if call.now > current.created_at + REFRESH_LIFETIME:
            return _refused(call, "Refresh token expired")
        record = identity.store.by_id(current.user_id)
        if record is None:
            raise OAuthError("invalid_grant", _INVALID)
        identity.audit(work, record, "token_refreshed", call.now)
        identity.audit(work, record, "token_revoked", call.now)
        work.revoke(current)
        tokens = identity.log_in(work, record, call.now)
        identity.commit(work)
    return identity.logged_in(call, tokens)


def _refused(call: Call, message: str) -> Response:
    """Nothing else ends by it: the token that took its place lives on."""
    refused = refusal(OAuthError("invalid_grant", message))
    return replace(refused, headers=no_cookie(call.now))
