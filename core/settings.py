"""All settings, read once from a mapping that is passed in, never from the environment itself.

Every variable begins with ``USHER_``. docs/settings.md describes each; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import Struct

from usher.core.database_url import SQLITE, database_url
from usher.core.domain.held_roles import is_role
from usher.core.errors import SettingsError
from usher.core.jws import MIN_SECRET_BYTES, PUBLIC_SECRET, Tolerance
from usher.core.limits import Network
from usher.core.secret_files import with_files

PREFIX: Final = "USHER_"
HOW_TO_MAKE_A_SECRET: Final = "Make one with: usher secret"
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
DOOR_WITHOUT_LIMIT: Final = (
    "USHER_DOOR is on, but here nothing counts requests by the caller's address. Set up such a "
    "limit in what stands before Usher, and name it in USHER_DOOR_LIMIT (docs/door.md)."
)
MAX_NAME_CHARACTERS: Final = 100
OBSERVE: Final = "observe"
NETLIFY_V1: Final = "netlify-v1"
API_GATEWAY: Final = "api-gateway"
"""Values of USHER_TRUST_PLATFORM."""
_SWITCHES: Final = frozenset({"on", "off", "yes", "no", "true", "false", "none", "0", "1"})
"""They name nothing."""


class Settings(Struct, frozen=True, kw_only=True):
    """Usher's settings; each field is the environment variable ``USHER_`` + its name in capitals.

    Attributes:
        database_url: ``sqlite:///path`` or ``postgresql+psycopg://…``.
        webhook_secrets: secrets that may sign events, newest first; at least 32 bytes each.
        jwt_secret: secret that signs access tokens; None: Identity is asked about each.
        jwt_audience: required ``aud`` of access tokens; None: any.
        identity_url: base address of Identity's API.
        identity_admin_token: operator token for Identity's admin API.
        use_platform_token: whether the token that Netlify gives its functions is another way to
            the admin API.
        bridge_url: address of the bridge function on Netlify, another way to the admin API.
        bridge_secret: secrets that sign requests to the bridge, newest first.
        trust_platform: whose word about an API's caller is taken: ``netlify-v1``, ``api-gateway``;
            empty: nobody's.
        proxy_secret: secrets with which Netlify signs requests that come through the site, newest
            first; empty: the API also answers direct requests.
        instance_id: the Identity instance; None: events of any instance are taken.
        policy: path of policy.toml, or ``package.module:function``.
        policy_shadow: a second policy, which is only watched (``policy``); empty: none.
        handlers: modules with handlers of changes.
        denied_changes: whether an event that is refused makes a change, too.
        mode: ``live``, or ``observe``: every event is answered 204, and Identity told nothing.
        admin_role: role of administrators.
        allowed_origins: origins whose pages may call the API.
        webhook_tolerance_seconds: greatest age of an event.
        webhook_ahead_seconds: greatest lead of an event over our clock.
        max_body_bytes: greatest size of a request; larger ones are answered 413.
        ledger_retention_days: age up to which deliveries are kept.
        audit_retention_days: age up to which entries of the audit are kept; 0: for good.
        pending_days: age at which a pending record that never became an account goes; 0: never.
        api_requests_per_minute: limit of one person's calls of the API; 0: none.
        api_address_requests_per_minute: limit of one public address's calls of the API; 0: none.
        trusted_proxies: networks of the proxies whose X-Forwarded-For is believed.
        metrics_token: bearer token for ``/metrics``; None: there is no such address.
        sync_interval_seconds: time between periodic syncs of a server; 0: never.
        spool: folder of the spool; empty: see ``spool_folder``.
        door: whether ``POST /api/door`` tells refused people why.
        door_limit: name of the limit by address that stands before Usher; empty: Usher counts.
        url: base address of the Usher that guards ask; None: the database of these settings.
        key: machine credential with which a guard names the addresses of its own clients there.
        sink_networks: networks that webhooks may go to, besides public addresses.
    """

    database_url: str = "sqlite:///usher.db"
    webhook_secrets: tuple[bytes, ...]
    jwt_secret: bytes | None = None
    jwt_audience: str | None = None
    identity_url: str | None = None
    identity_admin_token: str | None = None
    use_platform_token: bool = False
    bridge_url: str | None = None
    bridge_secret: tuple[bytes, ...] = ()
    trust_platform: str = ""
    proxy_secret: tuple[bytes, ...] = ()
    instance_id: UUID | None = None
    policy: str = "policy.toml"
    policy_shadow: str = ""
    handlers: tuple[str, ...] = ()
    denied_changes: bool = False
    mode: str = "live"
    admin_role: str = "admin"
    allowed_origins: tuple[str, ...] = ()
    webhook_tolerance_seconds: int = 300
    webhook_ahead_seconds: int = 60
    max_body_bytes: int = 262_144
    ledger_retention_days: int = 90
    audit_retention_days: int = 0
    pending_days: int = 30
    api_requests_per_minute: int = 1_200
    api_address_requests_per_minute: int = 3_000
    trusted_proxies: tuple[Network, ...] = ()
    metrics_token: str | None = None
    sync_interval_seconds: int = 0
    spool: str = ""
    door: bool = False
    door_limit: str = ""
    url: str | None = None
    key: str | None = None
    sink_networks: tuple[Network, ...] = ()

    def __repr__(self) -> str:
        """A form without secrets, for logs and tracebacks."""
        return f"Settings(database={self.database_scheme}, secrets={len(self.webhook_secrets)})"

    @property
    def tolerance(self) -> Tolerance:
        """The window for the ``iat`` of events."""
        return Tolerance(self.webhook_tolerance_seconds, self.webhook_ahead_seconds)

    @property
    def observes(self) -> bool:
        """Whether every event is answered 204, and Identity is told nothing."""
        return self.mode == OBSERVE

    @property
    def tells_identity(self) -> bool:
        """Whether changes here are pushed to Identity: there is a way to its admin API."""
        credentials = self.identity_admin_token or self.jwt_secret or self.use_platform_token
        return self.bridge_url is not None or bool(self.identity_url and credentials)

    @property
    def database_scheme(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.database_url.partition(":")[0].partition("+")[0]

    @property
    def spool_folder(self) -> Path:
        """The folder of the spool: ``spool``, or ``.usher-spool`` beside the SQLite file.

        For PostgreSQL it is in the working directory.
        """
        if self.spool:
            return Path(self.spool)
        beside = Path()
        if self.database_scheme == "sqlite":
            file = self.database_url.removeprefix(SQLITE).partition("?")[0]
            beside = Path(file).parent
        return beside / ".usher-spool"

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, verifies: bool = True) -> Settings:
        """Read the settings.

        Args:
            environ: usually ``os.environ``; names without the prefix are ignored. Each of
                ``FROM_FILES`` may be given by its file.
            verifies: whether events are to be verified; without that no secret is needed.

        Raises:
            SettingsError: a setting is missing, unknown or wrong; one sentence for every problem.
        """
        values: dict[str, Any] = {}
        variables, unread = with_files(environ, FROM_FILES)
        problems = list(unread.values())
        known = {PREFIX + name.upper(): name for name in cls.__struct_fields__}
        for variable in sorted(name for name in variables if name.startswith(PREFIX)):
            if variable not in known:
                problems.append(f"{variable} is not a setting of Usher. See docs/settings.md.")
            elif variables[variable].strip() or known[variable] in _SECRETS:
                try:
                    field_name = known[variable]
                    values[field_name] = _READERS[field_name](variables[variable].strip())
                except ValueError as error:
                    problems.append(f"{variable} {error}")
        if not verifies:
            values.setdefault("webhook_secrets", ())
        elif PREFIX + "WEBHOOK_SECRETS" not in variables.keys() | unread.keys():
            problems.append(
                "USHER_WEBHOOK_SECRETS is not set, so no event could be verified. "
                + HOW_TO_MAKE_A_SECRET
            )
        if ("bridge_url" in values) != ("bridge_secret" in values) and not problems:
            problems.append(
                "USHER_BRIDGE_URL and USHER_BRIDGE_SECRET go together: set both, or neither."
            )
        if values.get("door") and "proxy_secret" in values and "door_limit" not in values:
            problems.append(DOOR_WITHOUT_LIMIT)
        if problems:
            raise SettingsError(tuple(problems))
        return cls(**values)


def _secret(text: str) -> bytes:
    if not text:
        raise ValueError(f"is empty. {HOW_TO_MAKE_A_SECRET}")
    secret = text.encode()
    if secret == PUBLIC_SECRET:
        raise ValueError(
            f"holds the secret that captures are signed with, which everybody knows. "
            f"{HOW_TO_MAKE_A_SECRET}"
        )
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"holds a secret of {len(secret)} bytes; fewer than {MIN_SECRET_BYTES} can be "
            f"guessed. {HOW_TO_MAKE_A_SECRET}"
        )
    return secret


def _token(text: str) -> str:
    if not re.fullmatch("[!-~]*", text):  # a header carries it
        raise ValueError("must be printable ASCII without spaces")
    return _secret(text).decode()


def _secrets(text: str) -> tuple[bytes, ...]:
    return tuple(_secret(part.strip()) for part in text.split(","))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("must be a UUID") from None


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    if not urlsplit(text).hostname:
        raise ValueError("names no host")
    return text.rstrip("/")


def _role(text: str) -> str:
    if not is_role(text):
        raise ValueError("cannot be the name of a role")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"holds {origin!r}; write each as browsers do: https://host or https://host:port, "
                "in lower case"
            )
    return origins


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"must name modules, such as mysite.hooks, not {name!r}")
    return names


def _networks(text: str) -> tuple[Network, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(ip_network(part) for part in parts)
    except ValueError as error:
        raise ValueError(f"must hold addresses or networks: {error}") from None


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return read


def _interval(text: str) -> int:
    return 0 if text == "0" else _integer(60, 2_592_000)(text)


def _mode(text: str) -> str:
    if text not in ("live", OBSERVE):
        raise ValueError(f"must be live or observe, not {text!r}")
    return text


def _platform(text: str) -> str:
    if text not in (NETLIFY_V1, API_GATEWAY):
        raise ValueError(f"must be {NETLIFY_V1} or {API_GATEWAY}, not {text!r}")
    return text


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"must be on or off, not {text!r}")
    return text == "on"


def _name(text: str) -> str:
    if text.lower() in _SWITCHES or not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
        raise ValueError("must name a limit, such as: AWS WAF, rule door")
    return text


_SECRETS: Final = frozenset(
    {"webhook_secrets", "jwt_secret", "bridge_secret", "proxy_secret", "key"}
)
"""An empty one is a mistake, not the default."""
FROM_FILES: Final = frozenset(
    PREFIX + name.upper()
    for name in (*_SECRETS, "database_url", "identity_admin_token", "metrics_token")
)
"""They hold what nobody else may see, so each may be given by a file."""

_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "database_url": database_url,
    "webhook_secrets": _secrets,
    "jwt_secret": _secret,
    "jwt_audience": str,
    "identity_url": _url,
    "identity_admin_token": str,
    "use_platform_token": _switch,
    "bridge_url": _url,
    "bridge_secret": _secrets,
    "trust_platform": _platform,
    "proxy_secret": _secrets,
    "instance_id": _uuid,
    "policy": str,
    "policy_shadow": str,
    "handlers": _modules,
    "denied_changes": _switch,
    "mode": _mode,
    "admin_role": _role,
    "allowed_origins": _origins,
    "webhook_tolerance_seconds": _integer(1, 86_400),
    "webhook_ahead_seconds": _integer(0, 86_400),
    "max_body_bytes": _integer(1_024, 6_291_456),
    "ledger_retention_days": _integer(1, 36_500),
    "audit_retention_days": _integer(0, 36_500),
    "pending_days": _integer(0, 36_500),
    "api_requests_per_minute": _integer(0, 1_000_000),
    "api_address_requests_per_minute": _integer(0, 1_000_000),
    "trusted_proxies": _networks,
    "metrics_token": _token,
    "sync_interval_seconds": _interval,
    "spool": str,
    "door": _switch,
    "door_limit": _name,
    "url": _url,
    "key": _token,
    "sink_networks": _networks,
}
