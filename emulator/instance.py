"""One Identity at work: its parts, and the steps that several endpoints share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from usher.core.jws import constant_time_equal
from usher.emulator.accounts import SYSTEM_ID, Record, storable
from usher.emulator.call import Call, answer, cookie
from usher.emulator.clock import MovableClock
from usher.emulator.errors import IdentityError, TooSoonError
from usher.emulator.faults import Faults
from usher.emulator.hooks import Hooks
from usher.emulator.locks import AccountLocks
from usher.emulator.mail import CONFIRMATION, EMAIL_CHANGE, INVITE, RECOVERY, compose
from usher.emulator.options import Options
from usher.emulator.store import RefreshToken, Store, Work
from usher.emulator.tokens import Claims, access_token, read_access_token
from usher.functions._shared.http import Response

LINK_LIFETIME: Final = timedelta(hours=24)
"""Of confirmation, recovery and a changed address; an invitation never ends."""
LOG_TYPES: Final = {
    "login": "account",
    "logout": "account",
    "invite_accepted": "account",
    "user_signedup": "team",
    "user_invited": "team",
    "user_deleted": "team",
    "token_revoked": "token",
    "token_refreshed": "token",
    "user_modified": "user",
    "user_recovery_requested": "user",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One Identity at work."""

    options: Options
    clock: MovableClock
    store: Store
    locks: AccountLocks
    hooks: Hooks
    faults: Faults

    @contextmanager
    def row(self, work: Work, record: Record) -> Iterator[None]:
        """Lock an account's row from its first write to the commit, hooks included.

        Raises:
            IdentityError: 500, another request held it too long.
        """
        with self.locks.account(record.id):
            work.held.add(record.id)
            yield

    def commit(self, work: Work) -> None:
        """Write everything as soon as no other request holds the rows; then tell of the mails.

        Raises:
            IdentityError: 500, another request held a row too long.
        """
        with ExitStack() as stack:
            for user_id in sorted(work.accounts - work.held):
                stack.enter_context(self.locks.account(user_id))
            self.store.commit(work)
        if self.options.on_mail is not None:
            for mail in work.mails:
                self.options.on_mail(mail)

    def bearer(self, call: Call) -> None:
        """Insist on a good bearer token or the operator's, before anything else is looked at.

        Raises:
            BearerError: 401.
        """
        operator = self.options.operator_token
        if not (operator and constant_time_equal(call.bearer(), operator)):
            self.claims(call)

    def claims(self, call: Call) -> Claims:
        """The claims of the bearer token.

        Raises:
            BearerError: 401.
        """
        now = call.now.timestamp()
        return read_access_token(call.bearer(), self.options.jwt_secret, now)

    def audience(self, call: Call, claims: Claims | None = None) -> str:
        """The audience asked for: by header, else by the token, else the one by default."""
        return call.header("x-jwt-aud") or (claims.audience if claims else "") or self.options.aud

    def existing(self, user_id: UUID) -> Record:
        """The account.

        Raises:
            IdentityError: 404.
        """
        record = self.store.by_id(user_id)
        if record is None:
            raise IdentityError(404, "User not found")
        return record

    def new_record(
        self, call: Call, email: str, aud: str, data: dict[str, Any] | None, role: str = ""
    ) -> Record:
        """An account in the making, without a password."""
        return Record(
            id=self.options.new_id(),
            email=email,
            aud=aud,
            role=(role or self.options.default_role).strip(),
            user_metadata=storable(data),
            created_at=call.now,
            updated_at=call.now,
        )

    def audit(
        self,
        work: Work,
        actor: Record | None,
        action: str,
        now: datetime,
        subject: Record | None = None,
    ) -> None:
        """Note an action and its actor; None is the operator."""
        payload: dict[str, Any] = {
            "action": action,
            "actor_email": actor.email if actor else "",
            "actor_id": str(actor.id if actor else SYSTEM_ID),
            "log_type": LOG_TYPES[action],
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        }
        if actor and "full_name" in (actor.user_metadata or {}):
            payload["actor_name"] = (actor.user_metadata or {})["full_name"]
        if subject is not None:
            payload["traits"] = {"user_email": subject.email, "user_id": str(subject.id)}
        work.audit({"id": self.options.new_id(), "payload": payload, "created_at": now})

    def send_confirmation(self, work: Work, record: Record, now: datetime) -> None:
        """Mail a link that confirms the account.

        Raises:
            TooSoonError: 429, the last such mail is too recent.
        """
        self._not_too_often(record.confirmation_sent_at, now)
        record.confirmation_token = new_token()
        record.confirmation_sent_at = now
        self._mail(work, CONFIRMATION, record.email, record.confirmation_token, record, now)

    def send_invite(self, work: Work, record: Record, now: datetime) -> None:
        """Mail an invitation."""
        record.confirmation_token = new_token()
        record.invited_at = now
        self._mail(work, INVITE, record.email, record.confirmation_token, record, now)

    def send_recovery(self, work: Work, record: Record, now: datetime) -> None:
        """Mail a link that lets its owner in, to choose another password.

        Raises:
            TooSoonError: 429, the last such mail is too recent.
        """
        self._not_too_often(record.recovery_sent_at, now)
        record.recovery_token = new_token()
        record.recovery_sent_at = now
        self._mail(work, RECOVERY, record.email, record.recovery_token, record, now)

    def send_email_change(self, work: Work, record: Record, email: str, now: datetime) -> None:
        """Mail a link to a new address that makes it the account's."""
        record.email_change_token = new_token()
        record.new_email = email
        record.email_change_sent_at = now
        self._mail(work, EMAIL_CHANGE, email, record.email_change_token, record, now)

    def log_in(self, work: Work, record: Record, now: datetime) -> dict[str, Any]:
        """A pair of tokens: the body of the answer."""
        refresh = RefreshToken(new_token(), record.id, now)
        work.grant(refresh)
        seconds = self.options.token_seconds
        expires_at = int((now + timedelta(seconds=seconds)).timestamp())
        return {
            "access_token": access_token(record, expires_at, self.options.jwt_secret),
            "token_type": "bearer",
            "expires_in": seconds,
            "refresh_token": refresh.token,
        }

    def logged_in(self, call: Call, tokens: dict[str, Any]) -> Response:
        """The answer with the tokens, and the cookie where it was asked for."""
        wanted = call.header("x-use-cookie")
        seconds = self.options.cookie_seconds
        if not wanted or seconds <= 0:
            return answer(tokens)
        session = wanted == "session"
        return answer(tokens, cookie(tokens["access_token"], call.now, seconds, session=session))

    def _mail(
        self, work: Work, kind: str, to: str, token: str, record: Record, now: datetime
    ) -> None:
        work.mail(compose(kind, to, token, self.options.site_url, now))
        record.updated_at = now

    def _not_too_often(self, last: datetime | None, now: datetime) -> None:
        interval = timedelta(seconds=self.options.mail_interval_seconds)
        if last is not None and interval and last + interval >= now:
            raise TooSoonError


def check_link(sent_at: datetime | None, now: datetime, what: str) -> None:
    """Insist on a link that was sent within the last 24 hours.

    Raises:
        IdentityError: 422, it has expired.
    """
    if sent_at is not None and now > sent_at + LINK_LIFETIME:
        raise IdentityError(422, f"{what} token expired")


def new_token() -> str:
    """128 random bits for a URL."""
    return secrets.token_urlsafe(16)
