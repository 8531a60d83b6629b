"""``POST /token`` and ``POST /logout``. Source: GoTrue ``api/token.go``, ``api/logout.go``."""

from __future__ import annotations

from dataclasses import replace

from usher.emulator.accounts import Record
from usher.emulator.admins import owner
from usher.emulator.call import Call, no_cookie, refusal
from usher.emulator.errors import INVALID_GRANT, IdentityError, OAuthError
from usher.emulator.instance import Instance
from usher.emulator.passwords import matches
from usher.emulator.store import RefreshToken, Work
from usher.functions._shared.http import Response


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
    email, password = call.form("username"), call.form("password")
    named = identity.store.by_email(identity.audience(call), email)
    if named is None:
        raise OAuthError("invalid_grant", INVALID_GRANT)
    work = Work()
    with identity.locks.account(named.id):
        record = _checked(identity.store.by_id(named.id), password)
        identity.audit(work, record, "login", call.now)
        identity.hooks.fire("login", record)
        tokens = identity.log_in(work, record, call.now)
        work.save(record)
        identity.commit(work)
    return identity.logged_in(call, tokens)


def _checked(record: Record | None, password: str) -> Record:
    if record is None:  # deleted while we waited
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
    named = _known(identity, shown)
    work = Work()
    with identity.locks.account(named.user_id):
        current = _known(identity, shown)
        if current.revoked:
            return _reused(identity, call, current)
        record = identity.store.by_id(current.user_id)
        if record is None:
            raise OAuthError("invalid_grant", "Invalid Refresh Token")
        identity.audit(work, record, "token_refreshed", call.now)
        identity.audit(work, record, "token_revoked", call.now)
        work.revoke(current)
        tokens = identity.log_in(work, record, call.now, current.family)
        identity.commit(work)
    return identity.logged_in(call, tokens)


def _known(identity: Instance, shown: str) -> RefreshToken:
    found = identity.store.refresh_token(shown)
    if found is None:
        raise OAuthError("invalid_grant", "Invalid Refresh Token")
    return found


def _reused(identity: Instance, call: Call, current: RefreshToken) -> Response:
    if identity.options.revoke_family_on_reuse:
        work = Work()
        work.revoke_family(current.family)
        identity.commit(work)
    refused = refusal(OAuthError("invalid_grant", "Invalid Refresh Token"))
    return replace(refused, headers=no_cookie(call.now))
