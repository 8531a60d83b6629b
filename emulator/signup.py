"""``POST /signup`` and ``POST /invite``. Source: GoTrue ``api/signup.go``, ``api/invite.go``."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from usher.emulator.accounts import Record
from usher.emulator.addresses import check_address
from usher.emulator.admins import require_admin
from usher.emulator.call import Call, answer
from usher.emulator.errors import ADDRESS_TAKEN, NO_SIGNUPS, IdentityError, TooSoonError
from usher.emulator.instance import Instance
from usher.emulator.passwords import hash_password
from usher.emulator.store import Work
from usher.functions._shared.http import Response


def sign_up(identity: Instance, call: Call) -> Response:
    """A new account, or the confirmation mail of one that never confirmed once more."""
    if identity.options.disable_signup:
        raise IdentityError(403, NO_SIGNUPS)
    body = call.body("Signup")
    email, password, data = body.text("email"), body.text("password"), body.map("data")
    if not password:
        raise IdentityError(422, "Signup requires a valid password")
    check_address(email)
    aud = identity.audience(call)
    work = Work()
    record = identity.store.by_email(aud, email)
    if record is None:
        with identity.locks.address(aud, email):
            record = identity.store.by_email(aud, email)
            if record is None:
                record = create(identity, call, work, email, aud, data, "email", password)
                return _finish(identity, call, work, record)
    if record.confirmed_at is not None:
        raise IdentityError(400, "A user with this email address has already been registered")
    with identity.row(work, record):
        record.merge_user_metadata(data, call.now)
        work.save(record)
        return _finish(identity, call, work, record)


def _finish(identity: Instance, call: Call, work: Work, record: Record) -> Response:
    """Confirm the account at once, or by mail; a mail that is too soon is left out."""
    if identity.options.autoconfirm:
        identity.audit(work, record, "user_signedup", call.now)
        identity.hooks.fire("signup", record)
        record.confirm(call.now)
    else:
        with suppress(TooSoonError):
            identity.send_confirmation(work, record, call.now)
    identity.commit(work)
    return answer(record.document())


def invite(identity: Instance, call: Call) -> Response:
    """A new account without a password, and a mail to its owner."""
    admin = require_admin(identity, call)
    body = call.body("Invite")
    email = body.text("email")
    check_address(email)
    aud = identity.audience(call, admin.claims)
    work = Work()
    with identity.locks.address(aud, email):
        if identity.store.by_email(aud, email) is not None:
            raise IdentityError(422, ADDRESS_TAKEN)
        record = create(identity, call, work, email, aud, body.map("data"), "email")
        identity.audit(work, admin.record, "user_invited", call.now, record)
        identity.send_invite(work, record, call.now)
        identity.commit(work)
    return answer(record.document())


def create(
    identity: Instance,
    call: Call,
    work: Work,
    email: str,
    aud: str,
    data: dict[str, Any] | None,
    provider: str,
    password: str = "",
) -> Record:
    """An account in the making, past the event ``validate``; the caller holds its address.

    Raises:
        IdentityError: the hook refused it.
    """
    record = identity.new_record(call, email, aud, data)
    record.app_metadata = {"provider": provider}
    if password:
        record.password = hash_password(password, "Database error creating user")
    work.create(record)
    identity.hooks.fire("validate", record)
    return record
