"""``POST /verify`` and ``POST /recover``: the links in mails, and asking for one.

Source: GoTrue ``api/verify.go``, ``api/recover.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from usher.emulator.accounts import Record
from usher.emulator.call import Body, Call, answer
from usher.emulator.errors import USER_NOT_FOUND, IdentityError
from usher.emulator.instance import Instance, check_link
from usher.emulator.store import Work
from usher.functions._shared.http import Response


def verify(identity: Instance, call: Call) -> Response:
    """Exchange the token of a mail for a login."""
    body = call.body("verification")
    token = body.text("token")
    if not token.strip():  # the database compares without trailing spaces: "" is everybody's
        raise IdentityError(422, "Verify requires a token")
    kinds: dict[str, tuple[Callable[[str], Record | None], _Step]] = {
        "signup": (identity.store.by_confirmation_token, _confirm),
        "recovery": (identity.store.by_recovery_token, _recover),
    }
    if body.text("type") not in kinds:
        raise IdentityError(422, "Verify requires a verification type")
    find, step = kinds[body.text("type")]
    record = find(token)
    if record is None:
        raise IdentityError(404, USER_NOT_FOUND)
    work = Work()
    with ExitStack() as held:
        step(identity, call, body, work, record, held)
        tokens = identity.log_in(work, record, call.now)
        work.save(record)
        identity.commit(work)
    return identity.logged_in(call, tokens)


def recover(identity: Instance, call: Call) -> Response:
    """Mail a link to choose another password; the answer for a stranger is the same."""
    email = call.body("verification").text("email")
    if not email:
        raise IdentityError(422, "Password recovery requires an email")
    record = identity.store.by_email(identity.audience(call), email)
    if record is not None:
        work = Work()
        identity.audit(work, record, "user_recovery_requested", call.now)
        identity.send_recovery(work, record, call.now)
        work.save(record)
        identity.commit(work)
    return answer({})


_Step = Callable[[Instance, Call, Body, Work, Record, ExitStack], None]


def _confirm(
    identity: Instance, call: Call, body: Body, work: Work, record: Record, held: ExitStack
) -> None:
    """A link of a confirmation or an invitation; the latter needs a password, and never ends."""
    check_link(record.confirmation_sent_at, call.now, "Confirmation")
    if not record.password and record.invited_at is not None:
        password = body.text("password")
        if not password:
            raise IdentityError(422, "Invited users must specify a password")
        held.enter_context(identity.row(work, record))
        record.set_password(password, call.now, "Error storing password")
    _sign_up(identity, call, work, record)


def _recover(
    identity: Instance, call: Call, _body: Body, work: Work, record: Record, held: ExitStack
) -> None:
    """A link of a recovery; it proves the address too."""
    check_link(record.recovery_sent_at, call.now, "Recovery")
    held.enter_context(identity.row(work, record))
    record.recovery_token = ""
    record.updated_at = call.now
    if record.confirmed_at is not None:
        return
    try:
        _sign_up(identity, call, work, record)
    except IdentityError:
        # GoTrue words every failure of a recovery alike (api/verify.go, recoverVerify).
        raise IdentityError(500, "Database error updating user") from None


def _sign_up(identity: Instance, call: Call, work: Work, record: Record) -> None:
    identity.audit(work, record, "user_signedup", call.now)
    identity.hooks.fire("signup", record)
    record.confirm(call.now)
