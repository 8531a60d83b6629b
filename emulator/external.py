"""Logging in through another provider: ``/authorize``, a consent page of our own, ``/callback``.

Source: GoTrue ``api/external.go``. The consent page stands in for the provider: a developer types
there the person that the provider would name.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from usher.core.jws import sign_compact
from usher.emulator.accounts import Record
from usher.emulator.addresses import check_address
from usher.emulator.call import Call, redirect
from usher.emulator.errors import NO_SIGNUPS, USER_NOT_FOUND, IdentityError
from usher.emulator.instance import Instance
from usher.emulator.options import PROVIDERS
from usher.emulator.pages import consent_page
from usher.emulator.payload import go_json
from usher.emulator.signup import create
from usher.emulator.store import Work
from usher.emulator.tokens import read_signed
from usher.functions._shared.http import Response

CONSENT_PATH: Final = "/_dev/consent"
STATE_SECONDS: Final = 300
# RFC 6749, 4.1.2.1, as GoTrue maps statuses to it; all others are server_error.
_ERRORS: Final = {
    400: "invalid_request",
    401: "unauthorized_client",
    403: "access_denied",
    500: "server_error",
    503: "temporarily_unavailable",
}


@dataclass(frozen=True, slots=True)
class Person:
    """The person that the provider names."""

    email: str
    name: str
    verified: bool

    @property
    def user_metadata(self) -> dict[str, Any]:
        """The provider's data about the person."""
        return {"full_name": self.name} if self.name else {}


@dataclass(frozen=True, slots=True)
class State:
    """The parameters of ``/authorize``; they travel signed through the consent page."""

    provider: str
    invite_token: str
    referrer: str


def authorize(identity: Instance, call: Call) -> Response:
    """Send the person to the consent page."""
    provider = call.first("provider")
    if provider.lower() == "saml":
        raise IdentityError(501, "SAML is not emulated, see docs/emulator.md")
    if provider.lower() not in PROVIDERS:
        raise IdentityError(
            400, f"Unsupported provider: Provider {provider[:40]} could not be found"
        )
    if provider.lower() not in identity.options.providers:
        raise IdentityError(400, "Unsupported provider: provider is not enabled")
    invite_token = call.first("invite_token")
    if invite_token and identity.store.by_confirmation_token(invite_token) is None:
        raise IdentityError(404, USER_NOT_FOUND)
    claims = {
        "exp": int(call.now.timestamp()) + STATE_SECONDS,
        "provider": provider.lower(),
        "invite_token": invite_token,
        "referrer": call.referrer(identity.options.site_url),
    }
    state = sign_compact(go_json({"alg": "HS256", "typ": "JWT"}), go_json(claims), _key(identity))
    return redirect(f"{CONSENT_PATH}?{urlencode({'state': state})}")


def consent(identity: Instance, call: Call) -> Response:
    """The page that asks for the person to be named."""
    shown = call.first("state")
    state = _state(identity, call, shown)
    options = identity.options
    return consent_page(state.provider, f"{options.mount}/callback", shown, options.site_url)


def callback(identity: Instance, call: Call) -> Response:
    """Log in or sign up the person named, and send them back to the site."""
    state = _state(identity, call, call.form("state"))
    back = state.referrer or identity.options.site_url
    if call.form("decision") == "deny":
        return _failed(back, "access_denied", "The person refused")
    try:
        tokens = _enter(identity, call, state)
    except IdentityError as error:
        return _failed(back, _ERRORS.get(error.status, "server_error"), error.message)
    return redirect(f"{back}#{urlencode(sorted(tokens.items()))}" if tokens else back)


def _enter(identity: Instance, call: Call, state: State) -> dict[str, Any] | None:
    """The tokens; None where the address has to be confirmed first."""
    person = Person(call.form("email"), call.form("name"), bool(call.form("verified")))
    check_address(person.email)
    work = Work()
    aud = identity.audience(call)
    if state.invite_token:
        return _accept_invite(identity, call, work, state, person)
    proven = person.verified or identity.options.autoconfirm
    record = identity.store.by_email(aud, person.email) if proven else None
    if record is None:
        with identity.locks.address(aud, person.email):
            record = identity.store.by_email(aud, person.email) if proven else None
            if record is None:
                return _sign_up(identity, call, work, state, person, aud, proven=proven)
    if record.confirmed_at is None:
        _confirm(identity, call, work, record)
    else:
        identity.audit(work, record, "login", call.now)
        identity.hooks.fire("login", record)
    return _finish(identity, call, work, record)


def _sign_up(
    identity: Instance,
    call: Call,
    work: Work,
    state: State,
    person: Person,
    aud: str,
    *,
    proven: bool,
) -> dict[str, Any] | None:
    if identity.options.disable_signup:
        raise IdentityError(403, NO_SIGNUPS)
    metadata = person.user_metadata
    record = create(identity, call, work, person.email, aud, metadata, state.provider)
    if not proven:
        identity.send_confirmation(work, record, call.now)
        identity.commit(work)
        return None
    _confirm(identity, call, work, record)
    return _finish(identity, call, work, record)


def _accept_invite(
    identity: Instance, call: Call, work: Work, state: State, person: Person
) -> dict[str, Any]:
    record = _invited(identity, state)
    if record.email != person.email:
        raise IdentityError(400, "Invited email does not match emails from external provider")
    with identity.row(work, record):
        record.merge_app_metadata({"provider": state.provider}, call.now)
        record.merge_user_metadata(person.user_metadata, call.now)
        identity.audit(work, record, "invite_accepted", call.now)
        identity.hooks.fire("signup", record)
        record.confirm(call.now)
        return _finish(identity, call, work, record)


def _invited(identity: Instance, state: State) -> Record:
    record = identity.store.by_confirmation_token(state.invite_token)
    if record is None:
        raise IdentityError(404, USER_NOT_FOUND)
    return record


def _confirm(identity: Instance, call: Call, work: Work, record: Record) -> None:
    identity.audit(work, record, "user_signedup", call.now)
    identity.hooks.fire("signup", record)
    record.confirm(call.now)


def _finish(identity: Instance, call: Call, work: Work, record: Record) -> dict[str, Any]:
    tokens = identity.log_in(work, record, call.now)
    work.save(record)
    identity.commit(work)
    return tokens


def _failed(back: str, error: str, description: str) -> Response:
    return redirect(f"{back}#{urlencode({'error': error, 'error_description': description})}")


def _state(identity: Instance, call: Call, shown: str) -> State:
    if not shown:
        raise IdentityError(400, "OAuth state parameter missing")
    try:
        claims = read_signed(shown, _key(identity), call.now.timestamp())
    except IdentityError as error:
        raise IdentityError(400, f"OAuth state is invalid: {error.message}") from None
    return State(claims["provider"], claims["invite_token"], claims["referrer"])


def _key(identity: Instance) -> bytes:
    """A key for this alone, so that no other signature of ours passes for a state."""
    return hmac.digest(identity.options.jwt_secret, b"usher emulator: oauth state", "sha256")
