"""How fast waiting changes are handed over, and with how much memory: ``python -m bench.outbox``.

So many changes of 2,000 people are written, as after a long outage of all servers. Then one process
drains them with a consumer that does nothing, so the figure is the engine's own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import perf_counter
from uuid import UUID, uuid4

from msgspec import Struct
from msgspec.structs import replace

from bench.machine import describe
from bench.receivers import databases
from usher import migrations
from usher.core.domain.outbox import Change
from usher.core.domain.records import AuditEntry, User, audit
from usher.core.outbox.consumer import Done, Result
from usher.core.outbox.dispatcher import Dispatcher
from usher.core.store.complete import Complete
from usher.core.store.counters import Counters
from usher.core.store.database import Database
from usher.core.store.outbox import Queue
from usher.core.store.users import store_users
from usher.emulator.payload import ZERO_INSTANCE

PEOPLE = 2_000
BATCH = 1_000
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE_BYTES = 4_096


class Nothing(Struct):
    """A consumer that takes every change, and does nothing with it."""

    name: str = "handler:bench.nothing"
    patterns: frozenset[str] = frozenset({"*"})
    seconds: float = 1.0
    changes: int = 0

    def hand_over(self, change: Change) -> Result:  # noqa: ARG002 - nothing is done with it
        """Take it."""
        self.changes += 1
        return Done()


def people() -> list[User]:
    """People with ids in all shards, and as much metadata as is usual."""
    step = 2**128 // PEOPLE
    return [
        User(
            ZERO_INSTANCE,
            UUID(int=number * step + number + 1),
            START,
            START,
            f"person{number}@example.com",
            f"person{number}@example.com",
            "email",
            {"full_name": f"Person {number}", "theme": "dark"},
            {"provider": "email"},
            confirmed_at=START,
        )
        for number in range(PEOPLE)
    ]


def entries(users: list[User]) -> Iterator[AuditEntry]:
    """One change after the other, of one person after the other."""
    number = 0
    while True:
        for user in users:
            number += 1
            after = replace(user, profile={"visits": number})
            entry = audit("user.changed", "user:bench", user, after, START)
            assert entry is not None
            yield entry


def fill(database: Database, changes: int) -> None:
    """Write the records, and so many changes of them."""
    users, known = people(), {}
    for user in users:
        known[(user.instance_id, user.id)] = user
    with database.write() as transaction:
        store_users(transaction, Counters(), {}, known, ())
    following = entries(users)
    for begin in range(0, changes, BATCH):
        some = list(islice(following, min(BATCH, changes - begin)))
        with database.write() as transaction:
            store_users(transaction, Counters(), known, known, some)


def resident_mib() -> float:
    """The memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 2**20


def drain(database: Database, changes: int) -> dict[str, float]:
    """Hand everything over; the figures."""
    consumer, now = Nothing(), START + timedelta(days=1)
    dispatcher = Dispatcher(Queue(database), Complete(database), consumer, lambda: now, uuid4())
    Queue(database).begin(consumer.name, 0, now, consumer.patterns)
    memory: list[float] = []
    began = perf_counter()
    while consumer.changes < changes:
        dispatcher.turn()
        if consumer.changes >= (len(memory) + 1) * changes // 10:
            memory.append(resident_mib())
    seconds = perf_counter() - began
    assert consumer.changes == changes, "some came twice"
    return {
        "changes": changes,
        "seconds": seconds,
        "per_second": changes / seconds,
        "first_mib": memory[0],
        "last_mib": memory[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, databases(asked.database, Path(name)) as new:
        print(describe(Path(name)))
        database = Database(new("outbox"))
        migrations.upgrade(database)
        fill(database, asked.changes)
        figures = drain(database, asked.changes)
        database.dispose()
    print("| changes | seconds | a second | MiB after a tenth | MiB at the end |")
    print("| --- | --- | --- | --- | --- |")
    print(
        f"| {asked.changes:,} | {figures['seconds']:.1f} | {figures['per_second']:,.0f} "
        f"| {figures['first_mib']:.0f} | {figures['last_mib']:.0f} |"
    )
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
