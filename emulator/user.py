"""``GET`` and ``PUT /user``: one's own account. Fires nothing. Source: GoTrue ``api/user.go``."""

from __future__ import annotations

from hmac import compare_digest
from uuid import UUID

from usher.emulator.accounts import Record
from usher.emulator.addresses import check_address
from usher.emulator.admins import is_admin
from usher.emulator.call import Body, Call, answer
from usher.emulator.errors import ADDRESS_TAKEN, IdentityError
from usher.emulator.instance import Instance, check_link
from usher.emulator.store import Work
from usher.functions._shared.http import Response


def show(identity: Instance, call: Call) -> Response:
    """The caller's account."""
    claims = identity.claims(call)
    user_id = _id(claims.subject)
    if identity.audience(call, claims) != claims.audience:
        raise IdentityError(400, "Token audience doesn't match request audience")
    return answer(identity.existing(user_id).document())


def change(identity: Instance, call: Call) -> Response:
    """Change the caller's password, metadata or address; a new address has to be confirmed."""
    claims = identity.claims(call)
    body = call.body("User Update")
    user_id = _id(claims.subject)
    work = Work()
    record = identity.existing(user_id)
    if password := body.text("password"):
        record.set_password(password, call.now, "Error during password storage")
    if (data := body.map("data")) is not None:
        record.merge_user_metadata(data, call.now)
    if (app_metadata := body.map("app_metadata")) is not None:
        if not is_admin(identity, record, identity.options.aud):
            raise IdentityError(401, "Updating app_metadata requires admin privileges")
        record.merge_app_metadata(app_metadata, call.now)
    _change_address(identity, call, body, work, record)
    identity.audit(work, record, "user_modified", call.now)
    work.save(record)
    identity.commit(work)
    return answer(record.document())


def _change_address(identity: Instance, call: Call, body: Body, work: Work, record: Record) -> None:
    token, email = body.text("email_change_token"), body.text("email")
    if token:
        if not compare_digest(token.encode(), record.email_change_token.encode()):
            raise IdentityError(401, "Email Change Token didn't match token on file")
        check_link(record.email_change_sent_at, call.now, "Email change")
        record.email, record.new_email, record.email_change_token = record.new_email, "", ""
        record.updated_at = call.now
    elif email and email != record.email:
        check_address(email)
        if identity.store.by_email(record.aud, email) is not None:
            raise IdentityError(422, ADDRESS_TAKEN)
        identity.send_email_change(work, record, email, call.now)


def _id(subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError:
        raise IdentityError(400, "Could not read User ID claim") from None
