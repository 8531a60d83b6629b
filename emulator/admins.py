"""Access to the admin endpoints. Source: GoTrue ``api/middleware.go``, ``api/auth.go``."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from usher.core.jws import constant_time_equal
from usher.emulator.accounts import Record
from usher.emulator.call import Call
from usher.emulator.errors import IdentityError
from usher.emulator.instance import Instance
from usher.emulator.tokens import Claims


@dataclass(frozen=True, slots=True)
class Admin:
    """An administrator.

    Attributes:
        claims: the token's; None for the operator.
        record: the person's account; None for the operator and for Netlify's own tokens.
    """

    claims: Claims | None = None
    record: Record | None = None


def require_admin(identity: Instance, call: Call) -> Admin:
    """Insist on an administrator.

    Raises:
        IdentityError: 401.
    """
    operator = identity.options.operator_token
    if operator and constant_time_equal(call.bearer(), operator):
        return Admin()
    claims = identity.claims(call)
    if claims.is_system:
        return Admin(claims)
    record = owner(identity, claims)
    if record is None:
        raise IdentityError(401, "Invalid admin user")
    audience = identity.audience(call, claims)
    if call.request.body and call.request.method not in ("GET", "HEAD"):
        audience = call.body("admin user").text("aud") or audience
    if not is_admin(identity, record, audience):
        raise IdentityError(401, "User not allowed")
    return Admin(claims, record)


def is_admin(identity: Instance, record: Record, audience: str) -> bool:
    """Whether the top-level ``role`` says so; roles in the metadata count for nothing here."""
    same = (audience or identity.options.aud) == record.aud
    return same and record.role == identity.options.admin_group


def owner(identity: Instance, claims: Claims) -> Record | None:
    """The account of a token; None where there is none, or it is gone."""
    try:
        return identity.store.by_id(UUID(claims.subject))
    except ValueError:
        return None
