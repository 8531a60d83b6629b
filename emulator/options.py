"""The options of one emulated Identity; nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from usher.core.jws import MIN_SECRET_BYTES
from usher.emulator.mail import Mail
from usher.emulator.payload import ZERO_INSTANCE

EVENTS: Final = ("validate", "signup", "login", "usermodified", "userdeleted")
PROVIDERS: Final = ("bitbucket", "github", "gitlab", "google", "facebook")
MOUNT: Final = "/.netlify/identity"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One address for every event, with a secret of its own (an outgoing webhook).

    Attributes:
        url: absolute, or a path below the site's address.
        secret: signs; empty: requests carry no signature.
        events: the events that are sent.
    """

    url: str
    secret: bytes
    events: tuple[str, ...] = EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One Identity.

    Attributes:
        database: its own SQLite file, or a ``sqlite:///…`` URL.
        jwt_secret: signs access tokens, and events to function hooks.
        site_url: target of links in mails and of returns from providers; no slash at its end.
        webhook: receives the events; excludes ``function_hooks``.
        function_hooks: addresses by event, each absolute or a path below ``site_url``.
        operator_token: opens the admin endpoints; empty: there is none.
        autoconfirm: accounts need no mail.
        disable_signup: by invitation only.
        providers: external logins that are on, of ``PROVIDERS``.
        aud: the audience where a request names none.
        default_role: the top-level ``role`` of new accounts.
        admin_group: the top-level ``role`` that opens the admin endpoints.
        token_seconds: lifetime of an access token.
        cookie_seconds: lifetime of the cookie ``nf_jwt``; 0: none is set.
        mail_interval_seconds: until the same mail can be asked for again.
        attempt_timeout_seconds: of each attempt to deliver an event.
        lock_wait_seconds: how long a request waits for another that has locked the same account.
        max_body_bytes: of a request.
        mount: the prefix of every path of the API.
        instance_id: names this Identity in events.
        on_mail: told of each mail once it is stored.
        clock: the real time, in UTC; tests move it, ``/_dev/clock`` runs ahead of it.
        new_id: ids of accounts and audit entries.
    """

    database: Path | str
    jwt_secret: bytes
    site_url: str
    webhook: Webhook | None = None
    function_hooks: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    operator_token: str = ""
    autoconfirm: bool = False
    disable_signup: bool = False
    providers: tuple[str, ...] = PROVIDERS
    aud: str = ""
    default_role: str = ""
    admin_group: str = "admin"
    token_seconds: int = 3600
    cookie_seconds: int = 86_400
    mail_interval_seconds: float = 0.0
    attempt_timeout_seconds: float = 5.0
    lock_wait_seconds: float = 50.0
    max_body_bytes: int = 16_777_216
    mount: str = MOUNT
    instance_id: UUID = ZERO_INSTANCE
    on_mail: Callable[[Mail], None] | None = None
    clock: Callable[[], datetime] = _utc_now
    new_id: Callable[[], UUID] = uuid4

    def __post_init__(self) -> None:
        """Refuse options that could only fail later, or silently.

        Raises:
            ValueError: with a sentence that says what to change.
        """
        if len(self.jwt_secret) < MIN_SECRET_BYTES:
            raise ValueError(f"jwt_secret must have at least {MIN_SECRET_BYTES} bytes")
        if self.webhook is not None and self.function_hooks:
            raise ValueError("events go to one webhook or to function hooks, not to both")
        if self.webhook is not None and 0 < len(self.webhook.secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the webhook's secret must have at least {MIN_SECRET_BYTES} bytes")
        site = urlsplit(self.site_url)
        if site.scheme not in ("http", "https") or not site.hostname or self.site_url[-1] == "/":
            raise ValueError("site_url must be like http://localhost:8888, without a slash at last")
        named = [*self.function_hooks, *(self.webhook.events if self.webhook else ())]
        if unknown := sorted(set(named) - set(EVENTS)):
            raise ValueError(f"no such event: {', '.join(unknown)}")
        if unknown := sorted(set(self.providers) - set(PROVIDERS)):
            raise ValueError(f"no such provider: {', '.join(unknown)}")

    @property
    def database_url(self) -> str:
        """The database in SQLAlchemy's form."""
        if isinstance(self.database, Path):
            return f"sqlite:///{self.database}"
        return self.database

    def hooks(self, event: str) -> tuple[list[str], bytes]:
        """The addresses that an event goes to, and the secret that signs it there."""
        if self.webhook is not None:
            urls = [self.webhook.url] if event in self.webhook.events else []
            return [self._absolute(url) for url in urls], self.webhook.secret
        found = self.function_hooks.get(event, ())
        urls = [found] if isinstance(found, str) else list(found)
        return [self._absolute(url) for url in urls], self.jwt_secret

    def _absolute(self, url: str) -> str:
        return self.site_url + url if url.startswith("/") else url
