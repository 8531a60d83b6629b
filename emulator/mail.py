"""The mails that Identity sends: kept instead of sent, each with the one link that matters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

KEPT: Final = 200
"""Older mails are dropped."""

# Which fragment of the link carries the token, and the subject line: GoTrue's mailer.
CONFIRMATION: Final = "confirmation"
INVITE: Final = "invite"
RECOVERY: Final = "recovery"
EMAIL_CHANGE: Final = "email_change"
_SUBJECTS: Final = {
    CONFIRMATION: "Confirm Your Signup",
    INVITE: "You have been invited",
    RECOVERY: "Reset Your Password",
    EMAIL_CHANGE: "Confirm Email Change",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail.

    Attributes:
        kind: ``confirmation``, ``invite``, ``recovery`` or ``email_change``.
        link: what the person would click.
    """

    to: str
    kind: str
    token: str
    link: str
    at: datetime

    @property
    def subject(self) -> str:
        """GoTrue's own, in English."""
        return _SUBJECTS[self.kind]


def compose(kind: str, to: str, token: str, site_url: str, at: datetime) -> Mail:
    """A mail with its link, ``{site_url}/#{kind}_token={token}``."""
    return Mail(to, kind, token, f"{site_url}/#{kind}_token={token}", at)
