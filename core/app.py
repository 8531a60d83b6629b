"""The composition root: everything is wired here, from Settings, lazily and once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from usher.core import log
from usher.core.domain.policy import CallablePolicy, FilePolicy
from usher.core.limits import RateLimiter
from usher.core.policy_source import PolicyInForce
from usher.core.settings import Settings
from usher.core.webhooks import Webhooks

if TYPE_CHECKING:
    from usher.core.auth import Authenticator
    from usher.core.identity.client import IdentityClient
    from usher.core.identity.http import AdminTransport
    from usher.core.identity.push import Pushes
    from usher.core.identity.sync import Sync
    from usher.core.maintenance import Maintenance
    from usher.core.spool.forward import StoreAndForward
    from usher.core.store.database import Database
    from usher.core.store.ledger import Ledger
    from usher.core.users import UserService


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Store:
    database: Database
    users: UserService
    ledger: Ledger

    def write(self) -> AbstractContextManager[Any]:
        return self.database.write()


class App:
    """The services of one process.

    Args:
        settings: where everything is.
        clock: the current time, UTC; tests and replays pass their own.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self._lock = RLock()

    @cached_property
    def policy_in_force(self) -> PolicyInForce:
        """What holds the policy."""
        return PolicyInForce(self.settings.policy)

    @property
    def policy(self) -> FilePolicy | CallablePolicy:
        """The policy that decides now.

        Raises:
            PolicyError
        """
        return self.policy_in_force.current

    @cached_property
    def webhooks(self) -> Webhooks:
        """The pipeline; opens no database until a delivery with a good signature comes.

        Raises:
            PolicyError: there is no policy to decide by.
        """
        _ = self.policy
        return Webhooks(self.settings, self.policy_in_force, lambda: self.store)

    @cached_property
    def store_and_forward(self) -> StoreAndForward:
        """Keeps deliveries while the database is away, once it is started."""
        from usher.core.spool.files import Spool  # noqa: PLC0415
        from usher.core.spool.forward import StoreAndForward  # noqa: PLC0415 - only a server has one

        return StoreAndForward(
            self.webhooks, self.policy_in_force, Spool(self.settings.spool_folder)
        )

    def start_store_and_forward(self) -> StoreAndForward:
        """From now on deliveries go to ``store_and_forward`` while the database is away.

        For what lives long enough to apply them again: a server, when it starts.
        """
        self.webhooks.fallback = self.store_and_forward
        return self.store_and_forward

    @cached_property
    def auth(self) -> Authenticator:
        """Who calls the API."""
        from usher.core.auth import Authenticator  # noqa: PLC0415 - events have no bearer

        secret = self.settings.jwt_secret
        return Authenticator(
            secret=secret,
            audience=self.settings.jwt_audience,
            # Its client, which is slow to load, is asked only where no secret says the same.
            identity=self.identity if secret is None else None,
            users=self.store.users,
            policy=self.policy_in_force,
            clock=self.clock,
        )

    @cached_property
    def person_limit(self) -> RateLimiter:
        """How often one person may call the API."""
        return RateLimiter(self.settings.api_requests_per_minute, monotonic)

    @cached_property
    def address_limit(self) -> RateLimiter:
        """How often the API may be called from one address."""
        return RateLimiter(self.settings.api_address_requests_per_minute, monotonic)

    @cached_property
    def identity(self) -> IdentityClient | None:
        """The client of Identity's API; None where there is no way to it."""
        url, ways = self.settings.identity_url, self.admin_ways
        if not url and not ways:
            return None  # and no HTTP client is loaded
        from usher.core.identity.client import IdentityClient  # noqa: PLC0415 - events call nobody

        return IdentityClient(url, next(iter(ways.values()), None))

    @cached_property
    def admin_ways(self) -> Mapping[str, AdminTransport]:
        """Ways to Identity's admin API, by the setting with the credentials; the first is used."""
        settings = self.settings
        if not settings.identity_url and not settings.bridge_url:
            return {}
        from usher.core.identity.bridge import BridgeTransport  # noqa: PLC0415
        from usher.core.identity.http import HttpTransport, system_token  # noqa: PLC0415

        url, operator, secret = (
            settings.identity_url,
            settings.identity_admin_token,
            settings.jwt_secret,
        )
        ways: dict[str, AdminTransport] = {}
        if url and operator is not None:
            ways["USHER_IDENTITY_ADMIN_TOKEN"] = HttpTransport(url, lambda: operator)
        if url and secret is not None:
            ways["USHER_JWT_SECRET"] = HttpTransport(
                url, lambda: system_token(secret, settings.jwt_audience, self.clock().timestamp())
            )
        if settings.bridge_url and settings.bridge_secret:
            ways["USHER_BRIDGE_SECRET"] = BridgeTransport(
                settings.bridge_url,
                settings.bridge_secret[0],
                lambda: self.clock().timestamp(),
            )
        return ways

    @cached_property
    def pushes(self) -> Pushes:
        """What tells Identity of changes made here."""
        from usher.core.identity.push import Pushes  # noqa: PLC0415 - events call nobody

        return Pushes(self.store.database, self.store.users, self.identity, self.clock)

    @cached_property
    def sync(self) -> Sync:
        """What compares the records with Identity's accounts."""
        from usher.core.identity.sync import Sync  # noqa: PLC0415 - events call nobody

        return Sync(
            self.store.database,
            self.store.users,
            self.policy_in_force,
            self.identity,
            self.pushes,
            self.clock,
            instance_id=self.settings.instance_id,
            interval_seconds=self.settings.sync_interval_seconds,
        )

    @cached_property
    def maintenance(self) -> Maintenance:
        """What a server does beside answering."""
        from usher.core.maintenance import Maintenance  # noqa: PLC0415 - events need none

        days = self.settings.ledger_retention_days
        return Maintenance(self.store.ledger, self.store.users, days, self.clock)

    @property
    def store(self) -> _Store:
        """Database, user service and ledger; SQL is imported here, at first use."""
        with self._lock:
            return self._store

    @cached_property
    def _store(self) -> _Store:
        from usher.core.store.database import Database  # noqa: PLC0415 - forged events need no SQL
        from usher.core.store.ledger import Ledger  # noqa: PLC0415
        from usher.core.users import UserService  # noqa: PLC0415

        database = Database(self.settings.database_url)
        return _Store(
            database,
            UserService(
                database,
                self.settings.admin_role,
                self.clock,
                self.settings.instance_id,
                tells_identity=self.settings.tells_identity,
            ),
            Ledger(database, self.settings.instance_id),
        )

    def close(self) -> None:
        """Close the spool and the database, if they were opened."""
        if "store_and_forward" in self.__dict__:
            self.store_and_forward.close()
        if "_store" in self.__dict__:
            self._store.database.dispose()


_current: App | None = None
_lock = RLock()


def current() -> App:
    """The process's App; made from the environment when first asked for.

    Raises:
        SettingsError: the environment is not usable.
    """
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                log.configure()
                _current = App(Settings.from_env(os.environ))
    return _current


@contextmanager
def use(app: App) -> Iterator[App]:
    """Make ``app`` the process's App for a while: the server, commands and tests do this."""
    global _current
    with _lock:
        before, _current = _current, app
    try:
        yield app
    finally:
        with _lock:
            _current = before
        app.close()
