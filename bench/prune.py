"""Pruning a large ledger on PostgreSQL while events come: `python -m bench.prune`.

Logins go through the pipeline at a steady rate, in this process, while deliveries of before are
removed as maintenance does it, with another pause. Every ten seconds a line: how many events were
taken and deliveries removed, how long a step took, and what the table and its indexes hold.
"""

import argparse
import io
import random
import statistics
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from uuid import uuid4

from sqlalchemy import text

from bench.machine import describe
from bench.receivers import databases
from bench.seed import LEDGER_START, seed, seed_ledger
from bench.writes import POLICY, SECRET, batches, play
from usher.core import log
from usher.core.app import App
from usher.core.maintenance import STEP
from usher.core.settings import Settings

BATCH = 16
EVERY_SECONDS = 10
STATE = text(
    "SELECT n_live_tup, n_dead_tup, autovacuum_count, pg_relation_size(relid) / 1048576,"
    " pg_indexes_size(relid) / 1048576 FROM pg_stat_user_tables WHERE relname = 'deliveries'"
)


def send(app: App, rate: float, ended: Event, times: list[float]) -> None:
    """Logins at this rate; ``times`` takes the milliseconds of each batch."""
    people = [uuid4() for _ in range(20_000 // BATCH * BATCH)]
    play(app, "signup", people, BATCH)
    began = time.perf_counter()
    while True:
        for batch in batches("login", random.sample(people, len(people)), BATCH):
            due = began + len(times) * BATCH / rate
            if ended.wait(max(0.0, due - time.perf_counter())):
                return
            started = time.perf_counter()
            for answer in app.webhooks.process([app.webhooks.verify(one) for one in batch]):
                if isinstance(answer, Exception):
                    raise answer
            times.append((time.perf_counter() - started) * 1000)


def prune(app: App, before: datetime, pause: float, ended: Event, times: list[float]) -> None:
    """Steps of maintenance; ``times`` takes the milliseconds of each."""
    while not ended.wait(pause):
        started = time.perf_counter()
        if app.store.ledger.prune(before, step=STEP) < STEP:
            return
        times.append((time.perf_counter() - started) * 1000)


def watch(app: App, ended: Event, workers: list[Future[None]], asked: argparse.Namespace) -> None:
    """Print a line every ten seconds."""
    events: list[float] = asked.events_ms
    steps: list[float] = asked.steps_ms
    print("seconds  events  ms p50   p99  removed  ms p50   p99      live      dead  vacuums"
          "  table MiB  indexes MiB")  # fmt: skip
    began = time.monotonic()
    seen = [0, 0]
    while time.monotonic() - began < asked.seconds and not any(one.done() for one in workers):
        ended.wait(EVERY_SECONDS)
        shown = []
        for number, (times, size) in enumerate(((events, BATCH), (steps, STEP))):
            new, seen[number] = times[seen[number] :], len(times)
            centiles = statistics.quantiles(new, n=100) if len(new) > 1 else [0.0] * 99
            shown.append(f"{len(times) * size:8}{centiles[49]:8.1f}{centiles[98]:6.0f}")
        with app.store.database.read() as transaction:
            live, dead, vacuums, table, indexes = transaction.sql.execute(STATE).one()
        print(f"{time.monotonic() - began:7.0f}{shown[0]}{shown[1]}{live:10}{dead:10}{vacuums:9}"
              f"{table:11}{indexes:13}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prune", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=10, help="deliveries of each")
    parser.add_argument("--rate", type=float, default=500, help="events a second")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two steps")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--share", type=float, default=0.5, help="of the ledger that is too old")
    parser.add_argument("--url", help="a database that bench.seed has filled; otherwise a new one")
    asked = parser.parse_args(namespace=argparse.Namespace(events_ms=[], steps_ms=[]))
    log.configure(io.StringIO())
    with (
        tempfile.TemporaryDirectory(prefix="usher-bench-") as temporary,
        databases("postgresql", Path(temporary)) as create,
        ThreadPoolExecutor(2) as threads,
    ):
        policy = Path(temporary) / "policy.toml"
        policy.write_text(POLICY)
        if (url := asked.url) is None:
            url = create("ledger")
            seed(url, asked.users)
            seed_ledger(url, asked.users, asked.each)
        secrets = (SECRET.encode(),)
        app = App(Settings(database_url=url, webhook_secrets=secrets, policy=str(policy)))
        print(describe(Path(temporary)))
        old = int(asked.users * asked.each * asked.share)
        before = datetime.fromtimestamp(LEDGER_START, UTC) + timedelta(seconds=old)
        ended = Event()
        workers = [
            threads.submit(send, app, asked.rate, ended, asked.events_ms),
            threads.submit(prune, app, before, asked.pause, ended, asked.steps_ms),
        ]
        try:
            watch(app, ended, workers, asked)
        finally:
            ended.set()
        for worker in workers:
            worker.result()
        app.close()


if __name__ == "__main__":
    main()
