"""What every endpoint works with, and what several of them do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from usher.emulator.accounts import SYSTEM_ID, Record
from usher.emulator.call import Call, answer, cookie
from usher.emulator.errors import IdentityError
from usher.emulator.faults import Faults
from usher.emulator.hooks import Hooks
from usher.emulator.locks import AccountLocks
from usher.emulator.mail import CONFIRMATION, EMAIL_CHANGE, INVITE, RECOVERY, compose
from usher.emulator.options import Options
from usher.emulator.store import RefreshToken, Store, Work
from usher.emulator.tokens import Claims, access_token, read_access_token
from usher.functions._shared.http import Response

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
    store: Store
    locks: AccountLocks
    hooks: Hooks
    faults: Faults

    def commit(self, work: Work) -> None:
        """Write what a request came to, then tell of its mails."""
        self.store.commit(work)
        if self.options.on_mail is not None:
            for mail in work.mails:
                self.options.on_mail(mail)

    def claims(self, call: Call) -> Claims:
        """Whose token this is.

        Raises:
            IdentityError: 401.
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
            user_metadata=data,
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
        """Note who did what; ``actor`` None: the operator."""
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
            IdentityError: 500, it is too soon after the last.
        """
        self._not_too_often(record.confirmation_sent_at, now, "Error sending confirmation mail")
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
            IdentityError: 500, it is too soon after the last.
        """
        self._not_too_often(record.recovery_sent_at, now, "Error recovering user")
        record.recovery_token = new_token()
        record.recovery_sent_at = now
        self._mail(work, RECOVERY, record.email, record.recovery_token, record, now)

    def send_email_change(self, work: Work, record: Record, email: str, now: datetime) -> None:
        """Mail a link to a new address that makes it the account's."""
        record.email_change_token = new_token()
        record.new_email = email
        record.email_change_sent_at = now
        self._mail(work, EMAIL_CHANGE, email, record.email_change_token, record, now)

    def log_in(
        self, work: Work, record: Record, now: datetime, family: UUID | None = None
    ) -> dict[str, Any]:
        """A pair of tokens: the body of the answer.

        Args:
            family: of the refresh token that is exchanged; None: a new one begins.
        """
        refresh = RefreshToken(new_token(), record.id, family or self.options.new_id())
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

    def _not_too_often(self, last: datetime | None, now: datetime, message: str) -> None:
        interval = timedelta(seconds=self.options.mail_interval_seconds)
        if last is not None and interval and last + interval >= now:
            raise IdentityError(500, message)


def new_token() -> str:
    """128 random bits for a URL."""
    return secrets.token_urlsafe(16)
