"""The composition root: everything is wired here, from Settings, lazily and once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import log
from core.limits import Buckets
from core.policy import CallablePolicy, FilePolicy
from core.policy_source import load_policy
from core.settings import Settings
from core.webhooks import Webhooks

if TYPE_CHECKING:
    from core.auth import Authenticator
    from core.database import Database
    from core.identity import IdentityClient
    from core.ledger import Ledger
    from core.upkeep import Upkeep
    from core.users import UserService


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
    def policy(self) -> FilePolicy | CallablePolicy:
        """The policy, read once; a change needs a new process."""
        return load_policy(self.settings.policy)

    @cached_property
    def webhooks(self) -> Webhooks:
        """The pipeline; opens no database until a delivery with a good signature comes."""
        return Webhooks(self.settings, self.policy, lambda: self.store)

    @cached_property
    def auth(self) -> Authenticator:
        """Who calls the API."""
        from core.auth import Authenticator  # noqa: PLC0415 - events have no bearer

        return Authenticator(
            secret=self.settings.jwt_secret,
            audience=self.settings.jwt_audience,
            identity=lambda: self.identity,
            users=lambda: self.store.users,
            policy=lambda: self.policy,
            clock=self.clock,
        )

    @cached_property
    def person_limit(self) -> Buckets:
        """How often one person may call the API."""
        return Buckets(self.settings.api_requests_per_minute, monotonic)

    @cached_property
    def address_limit(self) -> Buckets:
        """How often the API may be called from one address."""
        return Buckets(self.settings.api_address_requests_per_minute, monotonic)

    @cached_property
    def identity(self) -> IdentityClient | None:
        """The client of Identity's API; None where no address is set."""
        from core.identity import IdentityClient  # noqa: PLC0415 - events call nobody

        url, token = self.settings.identity_url, self.settings.identity_admin_token
        return IdentityClient(url, token) if url else None

    @cached_property
    def upkeep(self) -> Upkeep:
        """What a server does beside answering."""
        from core.upkeep import Upkeep  # noqa: PLC0415 - events need none

        days = self.settings.ledger_retention_days
        return Upkeep(self.store.ledger, self.store.users, days, self.clock)

    @property
    def store(self) -> _Store:
        """Database, user service and ledger; SQL is imported here, at first use."""
        with self._lock:
            return self._store

    @cached_property
    def _store(self) -> _Store:
        from core.database import Database  # noqa: PLC0415 - forged events need no SQL
        from core.ledger import Ledger  # noqa: PLC0415
        from core.users import UserService  # noqa: PLC0415

        database = Database(self.settings.database_url)
        return _Store(
            database,
            UserService(database, self.settings.admin_role, self.clock, self.settings.instance_id),
            Ledger(database, self.settings.instance_id),
        )

    def close(self) -> None:
        """Close the database, if it was opened."""
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
