"""The composition root: every service is wired here from Settings, lazily and once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from usher.core import log
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.rules import FilePolicy
from usher.core.errors import NotStorableError, OutOfTimeError, UsherError
from usher.core.limits import RateLimiter
from usher.core.policy_source import PolicyInForce
from usher.core.settings import Settings
from usher.core.webhooks import Webhooks

if TYPE_CHECKING:
    from uuid import UUID

    from usher.core.auth import Authenticator
    from usher.core.door import Door
    from usher.core.http.interface import Http
    from usher.core.identity.client import IdentityClient
    from usher.core.identity.http import AdminTransport
    from usher.core.identity.platform import PlatformToken
    from usher.core.identity.push import Pushes
    from usher.core.identity.sync import Sync
    from usher.core.identity.unconfirmed import Unconfirmed
    from usher.core.keys import KeyService
    from usher.core.maintenance import Maintenance
    from usher.core.outbox.accounts import KnownAccounts
    from usher.core.outbox.consumer import Consumer
    from usher.core.outbox.dispatcher import Dispatcher
    from usher.core.outbox.sinks import Sinks
    from usher.core.outbox.watch import Watch
    from usher.core.oversized import Oversized
    from usher.core.requests import RequestService
    from usher.core.shadow import Shadow
    from usher.core.spool.forward import StoreAndForward
    from usher.core.store.codes import Codes
    from usher.core.store.counters import OversizedTable
    from usher.core.store.database import Database
    from usher.core.store.feed import Feed
    from usher.core.store.instances import Instances
    from usher.core.store.keys import Keys
    from usher.core.store.ledger import Ledger
    from usher.core.store.outbox_rows import Outbox
    from usher.core.store.shadows import Shadows
    from usher.core.users import UserService

PLATFORM: Final = "USHER_USE_PLATFORM_TOKEN"
CATCH_UP: Final = 5
"""Pushes that one invocation makes for others, at most."""
CATCH_UP_SECONDS: Final = 10.0
"""For others, no call of Identity is begun later: somebody waits for an answer meanwhile."""
OWN_CHANGES_SHARE: Final = 20
"""Of so many requests that a person may make, one may change their own record."""


def utc_now() -> datetime:
    """The current time by the wall clock, UTC."""
    return datetime.now(UTC)


class _Store(Struct, frozen=True):
    database: Database
    instances: Instances
    users: UserService
    ledger: Ledger
    oversized: OversizedTable

    def write(self) -> AbstractContextManager[Any]:
        return self.database.write()

    def read(self) -> AbstractContextManager[Any]:
        return self.database.read()

    def load(self) -> None:
        """Import what lists need as well; no connection is opened."""
        from usher.core.store import (  # noqa: F401, PLC0415
            audit,
            counts,
            deliveries,
            user_search,
        )

        self.database.load()

    def check(self) -> None:
        """See ``usher.core.store.readiness``.

        A constraint that is not ours may refuse the rows of this trial and take those of events.

        Raises:
            DatabaseError: no event could be stored now.
        """
        from usher.core.store.readiness import check  # noqa: PLC0415 - few events need it

        with suppress(NotStorableError):
            check(self.database)

    def instance(self) -> UUID | None:
        """The instance in use, or else the only one on record; None: there is none, or several."""
        with self.database.read() as transaction:
            known = self.instances.known(transaction)
        return known.one if len(known.accepted) == 1 else None


class App:
    """The services of one process, each made at first use.

    Args:
        clock: gives the current time, UTC; tests and replays pass their own.
        http: sends what goes out; None: over sockets of this process.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime] = utc_now,
        http: Http | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._http = http
        self._lock = RLock()

    @cached_property
    def policy_in_force(self) -> PolicyInForce:
        """The holder of the current policy."""
        return PolicyInForce(self.settings.policy, log.load_structlog)

    @property
    def policy(self) -> FilePolicy | CallablePolicy:
        """The policy that decides now.

        Raises:
            PolicyError: the policy cannot be loaded.
        """
        return self.policy_in_force.current

    @cached_property
    def webhooks(self) -> Webhooks:
        """The pipeline; the first delivery with a good signature opens the database.

        Raises:
            PolicyError: the policy cannot be loaded. In observe mode each event fails instead.
        """
        if not self.settings.observes:
            _ = self.policy
        return Webhooks(self.settings, self.policy_in_force, lambda: self.store)

    @cached_property
    def store_and_forward(self) -> StoreAndForward:
        """Store and forward; idle until ``start_store_and_forward``."""
        from usher.core.spool.files import Spool  # noqa: PLC0415
        from usher.core.spool.forward import StoreAndForward  # noqa: PLC0415 - only a server has one

        return StoreAndForward(
            self.webhooks, self.policy_in_force, Spool(self.settings.spool_folder)
        )

    def start_store_and_forward(self) -> StoreAndForward:
        """Use ``store_and_forward`` from now on while the database is away.

        For a server: its process lives long enough to apply the deliveries later.
        """
        self.webhooks.fallback = self.store_and_forward
        return self.store_and_forward

    @cached_property
    def auth(self) -> Authenticator:
        """The authenticator of the API's callers."""
        from usher.core.auth import Authenticator  # noqa: PLC0415 - events have no bearer

        secret = self.settings.jwt_secret
        return Authenticator(
            secret=secret,
            audience=self.settings.jwt_audience,
            # The client is slow to load, and needed only where no secret verifies tokens.
            identity=self.identity if secret is None else None,
            users=self.store.users,
            keys=self.keys,
            policy=self.policy_in_force,
            clock=self.clock,
        )

    @cached_property
    def keys(self) -> KeyService:
        """The keys of machines."""
        from usher.core.keys import KeyService  # noqa: PLC0415 - events have no bearer

        return KeyService(lambda: self._keys, self.clock)

    @cached_property
    def _keys(self) -> Keys:
        from usher.core.store.keys import Keys  # noqa: PLC0415 - loads SQLAlchemy

        return Keys(self.store.database, self.store.instances)

    @cached_property
    def person_limit(self) -> RateLimiter:
        """The rate limit of the calls of one person, or with one key."""
        return RateLimiter(self.settings.api_requests_per_minute, monotonic)

    @cached_property
    def own_changes_limit(self) -> RateLimiter:
        """How often one person may change their own record; each change is kept in the audit."""
        per_minute = self.settings.api_requests_per_minute
        return RateLimiter(per_minute and max(1, per_minute // OWN_CHANGES_SHARE), monotonic)

    @cached_property
    def address_limit(self) -> RateLimiter:
        """The rate limit of one address's calls of the API."""
        return RateLimiter(self.settings.api_address_requests_per_minute, monotonic)

    @cached_property
    def door(self) -> Door:
        """The door, which tells refused people why."""
        from usher.core.door import Door  # noqa: PLC0415 - events need none

        def find(address_key: str, after: datetime) -> str:
            return self.store.ledger.refusal(address_key, after)  # opened by the first look-up

        return Door(find, self.clock, monotonic, limit=self.settings.door_limit)

    @cached_property
    def oversized(self) -> Oversized:
        """The count of requests that were refused for their size."""
        from usher.core.oversized import Oversized  # noqa: PLC0415 - events need none

        return Oversized(lambda: self.store.oversized, self.clock)

    def flush_oversized(self) -> None:
        """Write that count, if there is any; for runtimes without periodic tasks.

        A failure is logged, and the count kept.
        """
        if "oversized" not in self.__dict__:
            return
        try:
            self.oversized.flush()
        except UsherError as error:
            log.get_logger().warning("oversized.not_written", **log.describe(error))

    @cached_property
    def http(self) -> Http:
        """HTTP to others."""
        if self._http is not None:
            return self._http
        from usher.core.http.native import NativeHttp  # noqa: PLC0415 - Netlify has no sockets

        return NativeHttp()

    @cached_property
    def identity(self) -> IdentityClient | None:
        """The client of Identity's API; None where there is no way to it."""
        url, ways = self.settings.identity_url, self.admin_ways
        if not url and not ways:
            return None  # before an HTTP client is imported
        from usher.core.identity.client import IdentityClient  # noqa: PLC0415 - events call nobody

        setting, way = next(iter(ways.items()), ("", None))
        if setting == PLATFORM:
            return IdentityClient(
                url, way, http=self.http, waits=lambda: not self.platform.is_given
            )
        return IdentityClient(url, way, http=self.http)

    @cached_property
    def platform(self) -> PlatformToken:
        """The platform's token for Identity; an adapter renews it with each invocation."""
        from usher.core.identity.platform import PlatformToken  # noqa: PLC0415 - events call nobody

        settings = self.settings
        return PlatformToken(settings.identity_url if settings.use_platform_token else None)

    def catch_up(self) -> None:
        """Tell Identity what waited for the platform's token; for an invocation that brought one.

        Called for somebody who proved who they are, once theirs is done. Failures are logged.
        """
        identity = self.identity if self.platform.is_given else None
        if identity is None or self.settings.observes:
            return
        syncs = self.settings.sync_interval_seconds > 0
        until = monotonic() + CATCH_UP_SECONDS
        try:
            if self.pushes.are_due() or (syncs and self.sync.is_due()):
                with identity.calling_while(lambda: monotonic() < until):
                    identity.probe()  # with a stranger's token nothing is begun
                    self.pushes.push_pending(CATCH_UP)
                    if syncs:
                        self.sync.step()
        except OutOfTimeError:
            return  # the next invocation goes on
        except UsherError as error:
            log.get_logger().warning("platform.not_caught_up", **log.describe(error))

    @cached_property
    def admin_ways(self) -> Mapping[str, AdminTransport]:
        """Transports to Identity's admin API, by the setting of their credentials.

        The first one is used.
        """
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
            ways["USHER_IDENTITY_ADMIN_TOKEN"] = HttpTransport(url, lambda: operator, self.http)
        if url and secret is not None:
            ways["USHER_JWT_SECRET"] = HttpTransport(
                url,
                lambda: system_token(secret, settings.jwt_audience, self.clock().timestamp()),
                self.http,
            )
        if settings.bridge_url and settings.bridge_secret:
            ways["USHER_BRIDGE_SECRET"] = BridgeTransport(
                settings.bridge_url,
                settings.bridge_secret[0],
                lambda: self.clock().timestamp(),
                self.http,
            )
        if url and settings.use_platform_token:
            from usher.core.identity.platform import PlatformTransport  # noqa: PLC0415

            ways[PLATFORM] = PlatformTransport(url, self.platform, self.http)
        return ways

    @cached_property
    def pushes(self) -> Pushes:
        """The pushes of changes made here to Identity."""
        from usher.core.identity.push import Pushes  # noqa: PLC0415 - events call nobody

        return Pushes(
            self.store.database,
            self.store.users,
            self.identity,
            self.clock,
            observes=self.settings.observes,
        )

    @cached_property
    def requests(self) -> RequestService:
        """The requests that administrators decide."""
        from usher.core.requests import RequestService  # noqa: PLC0415 - loads SQLAlchemy

        store = self.store
        return RequestService(store.database, store.users, self.clock, store.instances)

    @cached_property
    def sync(self) -> Sync:
        """The sync of the records with Identity's accounts."""
        from usher.core.identity.sync import Sync  # noqa: PLC0415 - events call nobody

        return Sync(
            self.store.database,
            self.store.users,
            self.policy_in_force,
            self.identity,
            self.pushes,
            self.clock,
            instances=self.store.instances,
            interval_seconds=self.settings.sync_interval_seconds,
            pending_days=self.settings.pending_days,
            observes=self.settings.observes,
        )

    @cached_property
    def maintenance(self) -> Maintenance:
        """The removal of what is past its time."""
        from usher.core.maintenance import Maintenance  # noqa: PLC0415 - events need none

        return Maintenance(
            self.store.ledger,
            self.store.users,
            self.unconfirmed,
            self.codes,
            self.shadows,
            self.outbox,
            self.settings.ledger_retention_days,
            self.clock,
            audit_retention_days=self.settings.audit_retention_days,
        )

    @cached_property
    def shadows(self) -> Shadows:
        """The shadow policies, as far as they have followed the ledger."""
        from usher.core.store.shadows import Shadows  # noqa: PLC0415 - events need none

        return Shadows(self.store.database)

    def shadow(self, lease: UUID, ended: str, tick: Callable[[], object]) -> Shadow:
        """The follower with the shadow policy of the settings; for a process of its own."""
        from usher.core.shadow import Shadow  # noqa: PLC0415
        from usher.core.store.complete import Complete  # noqa: PLC0415
        from usher.core.store.tables import DELIVERIES  # noqa: PLC0415

        return Shadow(
            self.shadows,
            Complete(self.store.database, DELIVERIES),
            self.settings.policy_shadow,
            self.settings.policy,
            self.clock,
            lease,
            ended=ended,
            tick=tick,
        )

    @cached_property
    def outbox(self) -> Outbox:
        """The changes that were not handed over at once, for administrators."""
        from usher.core.store.outbox_rows import Outbox  # noqa: PLC0415 - events need none

        return Outbox(self.store.database, self.store.instances, self.clock)

    def newest_entry(self) -> int:
        """The number of the newest entry of the audit; 0: there is none.

        Raises:
            DatabaseError: the database cannot be used.
        """
        from usher.core.store.outbox_shards import newest_entry  # noqa: PLC0415 - loads SQLAlchemy

        with self.store.read() as transaction:
            return newest_entry(transaction)

    def dispatcher(
        self,
        consumer: Consumer,
        lease: UUID,
        *,
        begins_at: int | None = None,
        started_at: datetime | None = None,
        settling: timedelta | None = None,
        watch: Watch | None = None,
    ) -> Dispatcher:
        """A dispatcher of changes to one consumer, for one thread.

        Args:
            lease: names the process that dispatches.
            begins_at: the entry after which a new handler begins, as ``newest_entry`` gave it
                before the first event was answered; None: the newest one at its first turn. A sink
                began when it was added.
            started_at: when the server was started; None: with the first dispatcher.
            settling: after so long Identity no longer rolls back; None: as Netlify's.
            watch: looks for all consumers of the process.
        """
        from usher.core.domain.outbox import HANDLER  # noqa: PLC0415 - events need none
        from usher.core.domain.outbox_queue import SETTLING  # noqa: PLC0415
        from usher.core.outbox.dispatcher import Dispatcher  # noqa: PLC0415
        from usher.core.store.complete import Complete  # noqa: PLC0415
        from usher.core.store.outbox import Queue  # noqa: PLC0415

        database = self.store.database
        return Dispatcher(
            Queue(database),
            Complete(database),
            consumer,
            self.clock,
            lease,
            accounts=self.accounts,
            apply=self.store.users.write_of_handler,
            begins_at=begins_at if consumer.name.startswith(HANDLER) else None,
            started_at=started_at or self._started_at,
            settling=SETTLING if settling is None else settling,
            watch=watch,
        )

    @cached_property
    def _started_at(self) -> datetime:
        return self.clock()

    @cached_property
    def watch(self) -> Watch:
        """The look for all consumers whose dispatchers run in this process."""
        from usher.core.outbox.watch import Watch  # noqa: PLC0415 - events need none
        from usher.core.store.outbox_shards import Shards  # noqa: PLC0415

        return Watch(Shards(self.store.database), self.clock)

    @cached_property
    def accounts(self) -> KnownAccounts | None:
        """Identity's accounts, for dispatchers; None where there is no way to its admin API."""
        identity = self._identity_at_any_time
        if identity is None:
            return None
        from usher.core.outbox.accounts import KnownAccounts  # noqa: PLC0415
        from usher.core.store.pending import PendingRecords  # noqa: PLC0415

        return KnownAccounts(identity, PendingRecords(self.store.database, self.store.instances))

    @property
    def _identity_at_any_time(self) -> IdentityClient | None:
        """The client, where maintenance can use it: no invocation need bring a token."""
        if not self.settings.tells_identity or next(iter(self.admin_ways)) == PLATFORM:
            return None
        return self.identity

    @cached_property
    def unconfirmed(self) -> Unconfirmed:
        """The pending records that never became an account."""
        from usher.core.identity.unconfirmed import Unconfirmed  # noqa: PLC0415 - events need none
        from usher.core.store.pending import PendingRecords  # noqa: PLC0415

        return Unconfirmed(
            PendingRecords(self.store.database, self.store.instances),
            self._identity_at_any_time,
            self.clock,
            days=self.settings.pending_days,
        )

    @cached_property
    def feed(self) -> Feed:
        """The feed of changes."""
        from usher.core.store.feed import Feed  # noqa: PLC0415 - events need none

        return Feed(self.store.database, self.store.instances, self.clock)

    @cached_property
    def codes(self) -> Codes:
        """The invitation codes, for administrators."""
        from usher.core.store.codes import Codes  # noqa: PLC0415 - events need none

        return Codes(self.store.database, self.store.instances, self.clock)

    @cached_property
    def sinks(self) -> Sinks:
        """The receivers of changes by webhook."""
        from usher.core.outbox.sinks import Sinks  # noqa: PLC0415 - events need none

        store, networks = self.store, self.settings.sink_networks
        return Sinks(store.database, store.instances, networks, self.clock, self.http)

    @property
    def store(self) -> _Store:
        """Database, instances, user service and ledger; first use imports SQLAlchemy."""
        with self._lock:
            return self._store

    @cached_property
    def _store(self) -> _Store:
        from usher.core.store.counters import OversizedTable  # noqa: PLC0415
        from usher.core.store.database import Database  # noqa: PLC0415 - forged events need no SQL
        from usher.core.store.instances import Instances  # noqa: PLC0415
        from usher.core.store.ledger import Ledger  # noqa: PLC0415
        from usher.core.users import UserService  # noqa: PLC0415

        database = Database(self.settings.database_url)
        instances = Instances(self.settings.instance_id)
        return _Store(
            database,
            instances,
            UserService(
                database,
                self.settings.admin_role,
                self.clock,
                instances,
                tells_identity=self.settings.tells_identity,
            ),
            Ledger(database, instances),
            OversizedTable(database),
        )

    def close(self) -> None:
        """Write what is counted; close the door, the spool and the database, if opened."""
        self.flush_oversized()
        if "door" in self.__dict__:
            self.door.close()
        if "store_and_forward" in self.__dict__:
            self.store_and_forward.close()
        if "_store" in self.__dict__:
            self._store.database.dispose()


_current: App | None = None
_lock = RLock()


def current(*, guest: bool = False, http: Http | None = None) -> App:
    """The process's App, made from the environment at first use.

    Args:
        guest: the process is somebody else's, and takes no events perhaps: no webhook secret is
            needed, and logging stays as its owner configured it.
        http: of the App, where this call makes it.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                if not guest:
                    log.configure()
                settings = Settings.from_env(os.environ, verifies=not guest)
                if settings.observes:
                    log.get_logger().warning("mode.observe")
                _current = App(settings, http=http)
    return _current


def end() -> None:
    """Close the process's App, where there is one; ``current`` then makes another."""
    global _current
    with _lock:
        before, _current = _current, None
    if before is not None:
        before.close()


@contextmanager
def use(app: App) -> Iterator[App]:
    """Make ``app`` the process's App within the block, then close it.

    The server, commands and tests use this.
    """
    global _current
    with _lock:
        before, _current = _current, app
    try:
        yield app
    finally:
        with _lock:
            _current = before
        app.close()
