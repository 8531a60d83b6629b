"""The server's RSGI application, for Granian: functions by their URL, probes, and the site.

Requests are read in one event loop, so a slow or stuck client holds no thread. Identity's events
are verified there and share commits; the API and the probes run in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from usher.core import app, log
from usher.core.bounds import MAX_KEPT_BODY_BYTES
from usher.core.domain.reply import Reply
from usher.core.errors import UsherError
from usher.core.keys import CLIENT_HEADER, KEY_HEADER
from usher.core.limits import LOCAL, client
from usher.core.periodic import TASKS
from usher.core.server_folder import server_ends
from usher.core.webhooks import Verified, log_fields
from usher.functions import api
from usher.functions._shared.addresses import DOOR_PATHS
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, Response
from usher.functions._shared.identity_hook import IdentityHook
from usher.functions._shared.loopback import for_own_pages, require_host, require_own_page
from usher.server import policy_follower, routes, traces
from usher.server.backlogs import Backlogs
from usher.server.bodies import Bodies, Lease, tells_what_was_done
from usher.server.bodies import Exchange as Body
from usher.server.group_commit import INTERRUPT_SECONDS, START_SECONDS, GroupCommit
from usher.server.long_polls import LongPolls
from usher.server.metrics import Metrics
from usher.server.outbox import look_for_sinks
from usher.server.periodic_tasks import run_periodically

if TYPE_CHECKING:
    from usher.core.store.feed import News

METRICS: Final = "/metrics"
READERS: Final = {"sqlite": 1, "postgresql": 4}
"""Threads for requests that only read. With SQLite reading is all computing, and a second thread
would fight the first for the interpreter's lock (measured: a third fewer requests a second)."""
WAITERS: Final = 8
"""Threads for requests that may wait long, for a lock or for Identity; others must not wait too."""
DOORKEEPERS: Final = 8
"""Threads for questions at the door: strangers ask them, and keep nobody else waiting."""
GUESTS: Final = 16
STARTED_SECONDS: Final = INTERRUPT_SECONDS - START_SECONDS - 0.1
"""An interrupted batch has been under way for at least this long."""
HUNG_SECONDS: Final = 10.0
"""Longer than any transaction of a server, be it a page of a list or a step of maintenance."""
HELD_SECONDS: Final = 1.0
"""Interval of tries to apply the spool's events to the database."""
CHECKPOINT_SECONDS: Final = 1.0
"""Interval of WAL checkpoints. A page that changed many times meanwhile is copied once."""
BACKLOGS_SECONDS: Final = 15.0
"""The usual interval of Prometheus."""
SINKS_SECONDS: Final = 5.0
"""Interval of looks for the first sink, one short read each."""


class Scope(Protocol):
    """RSGI's description of a request."""

    client: str
    method: str
    path: str
    query_string: str
    http_version: str
    headers: Any


class Exchange(Body, Protocol):
    """RSGI's body and answer of one request."""

    def response_str(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        """Send the answer."""

    def client_disconnect(self) -> Awaitable[None]:
        """The end of the caller's connection."""


class Guest(Protocol):
    """Another service behind the same port, such as a local Identity."""

    def serves(self, path: str) -> bool:
        """Whether the guest answers this path."""

    def handle(self, request: Request) -> Response:
        """Answer a request; called in several threads."""


class Application:
    """The RSGI application of one worker process.

    Args:
        guest: asked first. It has its own threads, since it may wait for our answers.
        own_pages: answer only what this machine's own pages and programs ask.
    """

    def __init__(self, guest: Guest | None = None, *, own_pages: bool = False) -> None:
        usher = app.current()
        self._policy_follower = policy_follower.start(usher)  # before anything asks for the policy
        self._guest = guest
        self._own_pages = own_pages
        self._guests = ThreadPoolExecutor(GUESTS, thread_name_prefix="guest") if guest else None
        self._bodies = Bodies(usher.settings.max_body_bytes)
        self._metrics = Metrics(usher.settings.metrics_token)
        self._traces = traces.start()
        routes.load()
        self._asks_identity = usher.settings.jwt_secret is None
        self._readers = ThreadPoolExecutor(
            READERS[usher.settings.database_scheme], thread_name_prefix="reader"
        )
        self._waiters = ThreadPoolExecutor(WAITERS, thread_name_prefix="waiter")
        self._doorkeepers = ThreadPoolExecutor(DOORKEEPERS, thread_name_prefix="doorkeeper")
        # A thread of its own: metrics are asked for even while all others wait for a database.
        self._scraper = ThreadPoolExecutor(1, thread_name_prefix="scraper")
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="looker")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large")
        """Reads large events one after the other: each takes seconds, and memory."""
        self._large_done = ThreadPoolExecutor(1, thread_name_prefix="large-done")
        """Reads those of administrators, which must not wait for anybody's logins."""
        self._long_polls = LongPolls(self._news, server_ends)
        self._look: asyncio.Future[Response] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._database = usher.store.database
        self._store_and_forward = usher.start_store_and_forward()
        self._group_commit: GroupCommit[Verified, Reply] = GroupCommit(
            self._process, partial(self._database.interrupt, STARTED_SECONDS)
        )
        self._metrics.gauge(
            "usher_queue_deliveries",
            "Deliveries that wait for the next transaction.",
            lambda: self._group_commit.waiting,
        )
        log.observe(self._metrics.observe)
        if self._traces:
            log.observe(self._traces.observe)

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        request = Request(scope.method, scope.path, _headers(scope), b"", scope.query_string)
        lease = Lease()
        try:
            require_host(request.headers.get("host", ()), scope.http_version)
            if self._own_pages:
                signed = self._guest is None and routes.find_hook(request.path) is not None
                require_own_page(request, any_host=signed)
            answer = await self._answer(request, exchange, lease, scope.client)
        except Exception as error:
            answer = failure(error)
        finally:
            lease.end()
        if self._own_pages:
            answer = for_own_pages(request, answer)
        # In one piece, never chunked: Identity reads a body only when its length is announced.
        exchange.response_str(answer.status, answer.header_list(), answer.body_for(request.method))

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the worker's periodic tasks."""
        usher = app.current()
        self._store_and_forward.adopt()
        if self._policy_follower is not None:
            self._policy_follower.start()
        every = [
            self._end_hung(),
            *(
                run_periodically(task.step(usher), task.name, every=task.every_seconds)
                for task in TASKS
                if task.asked_for(usher.settings)
            ),
            run_periodically(
                self._store_and_forward.step, "spool", first=0, every=HELD_SECONDS, pause=0
            ),
            run_periodically(partial(look_for_sinks, usher), "sinks", every=SINKS_SECONDS),
        ]
        if self._database.is_sqlite:
            every.append(
                run_periodically(
                    self._database.checkpoint_wal,
                    "wal_checkpoint",
                    every=CHECKPOINT_SECONDS,
                    pause=CHECKPOINT_SECONDS,
                )
            )
        if usher.settings.metrics_token:
            backlogs = Backlogs(usher, self._metrics)
            every.append(
                run_periodically(backlogs.step, "backlogs", first=0, every=BACKLOGS_SECONDS)
            )
        self._tasks = [loop.create_task(steps) for steps in every]

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """End the worker; everything accepted is committed first."""
        for task in self._tasks:
            task.cancel()
        self._group_commit.close()
        self._long_polls.close()
        if self._policy_follower is not None:
            self._policy_follower.close()
        self._store_and_forward.close()
        app.current().flush_oversized()
        if self._guests is not None:
            self._guests.shutdown()
        self._readers.shutdown()
        self._waiters.shutdown()
        self._doorkeepers.shutdown()
        self._scraper.shutdown()
        self._looker.shutdown()
        self._large.shutdown()
        self._large_done.shutdown()
        if self._traces:
            self._traces.close()

    async def _end_hung(self) -> None:
        """Interrupt hung statements: a silent database would hold a thread for ever."""
        while True:
            await asyncio.sleep(HELD_SECONDS)
            self._database.interrupt(HUNG_SECONDS)

    async def _answer(
        self, request: Request, exchange: Exchange, lease: Lease, peer: str
    ) -> Response:
        loop = asyncio.get_running_loop()
        if self._guest is not None and self._guest.serves(request.path):
            request = await self._bodies.read(request, exchange, lease)
            return await loop.run_in_executor(self._guests, self._guest.handle, request)
        hook = routes.find_hook(request.path)
        if hook is not None:
            try:
                request = await self._bodies.read(request, exchange, lease, hook.vouches)
            except UsherError as error:
                return hook.unread(request, error)
            started = perf_counter()
            if len(request.body) <= MAX_KEPT_BODY_BYTES:
                answer = hook.prepare(request)
            else:
                reader = self._large_done if tells_what_was_done(request) else self._large
                answer = await loop.run_in_executor(reader, hook.prepare, request)
                request = replace(request, body=b"")
                lease.end()
            if isinstance(answer, Verified):
                answer = await self._deliver(hook, answer, started)
            self._metrics.event_answered(answer.status, perf_counter() - started)
            return answer
        if routes.is_api(request.path):
            return await self._call_api(request, exchange, lease, peer)
        if request.path == METRICS:
            return await loop.run_in_executor(self._scraper, self._metrics.answer, request)
        if request.path == routes.READYZ and request.method in ("GET", "HEAD"):
            return await self._readiness(request)
        return routes.answer_rest(request)

    async def _readiness(self, request: Request) -> Response:
        """Answer all who ask at once by one check: it writes, and anybody may ask."""
        if self._look is None or self._look.done():
            loop = asyncio.get_running_loop()
            self._look = loop.run_in_executor(self._looker, routes.answer_rest, request)
        return await asyncio.shield(self._look)

    async def _deliver(self, hook: IdentityHook, verified: Verified, started: float) -> Response:
        if self._traces is None:
            return hook.conclude(await self._group_commit.submit(verified))
        traced = self._traces.begin(started, log_fields(verified))
        status = 500  # where the request is cancelled
        try:
            answer = hook.conclude(await self._group_commit.submit(verified))
            status = answer.status
        finally:
            self._traces.end(traced, status)
        return answer

    def _process(self, batch: Sequence[Verified]) -> Sequence[Reply | Exception]:
        self._metrics.batch(len(batch))
        started = perf_counter()
        answers = app.current().webhooks.process(batch)
        if self._traces:
            self._traces.transaction([verified.id for verified in batch], started)
        return answers

    async def _call_api(
        self, request: Request, exchange: Exchange, lease: Lease, peer: str
    ) -> Response:
        try:
            network = self._count_address(request, peer)
            request = await self._bodies.read(request, exchange, lease)
        except Exception as error:
            return api.refuse(request, error)
        received = perf_counter()
        answer = partial(api.answer, request, network=network)
        if self._traces:
            answer = partial(self._traces.request, request, received, answer)
        run = partial(asyncio.get_running_loop().run_in_executor, self._pool_for(request))
        response = await run(answer)
        if response.later is not None:
            try:
                response = await self._long_polls.answer(response, run, exchange.client_disconnect)
            except Exception as error:
                return api.refuse(request, error)
        if left := response.seconds_left(received):
            await asyncio.sleep(left)
        return response

    def _news(self, place: int) -> News:
        return app.current().feed.news(place)

    def _pool_for(self, request: Request) -> ThreadPoolExecutor:
        if request.path in DOOR_PATHS:
            return self._doorkeepers
        only_reads = request.method in ("GET", "HEAD") and not self._asks_identity
        return self._readers if only_reads else self._waiters

    def _count_address(self, request: Request, peer: str) -> str:
        """Count a request by its network, and return the network's key."""
        usher = app.current()
        headers = request.headers
        address = None
        if KEY_HEADER in headers:
            named = headers.get(CLIENT_HEADER, ())
            address = usher.keys.client_of(headers[KEY_HEADER], named)
        if address is None:
            host = peer.rpartition(":")[0].strip("[]")
            forwarded = headers.get("x-forwarded-for", ())
            address = client(host, forwarded, usher.settings.trusted_proxies)
        if address is not None:
            usher.address_limit.take(address)
        return address or LOCAL


def _headers(scope: Scope) -> dict[str, tuple[str, ...]]:
    """Return all values by name; HTTP/1.1 and HTTP/2 alike give names in lower case."""
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in scope.headers.items():
        headers[name] = (*headers[name], value) if name in headers else (value,)
    return headers
