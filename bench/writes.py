"""What an event writes, index by index: `python -m bench.writes [--database postgresql]`.

Events go through the pipeline in batches, in this process, on a database with users. On SQLite the
pages in the write-ahead log are counted for each table and index, on PostgreSQL the records of the
write-ahead log and their bytes, without images of whole pages. Both are exact: a busy machine
changes nothing.
"""

import argparse
import io
import json
import random
import re
import sqlite3
import struct
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import text

from bench import load
from bench.receivers import databases
from bench.seed import seed, seed_ledger
from usher.core import log
from usher.core.app import App
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.core.webhooks import Received

SECRET = "b" * 40
POLICY = '[admission]\ndefault = "allow"\n[[role]]\ngrant = "member"\n'
STARTED = datetime(2026, 6, 1, tzinfo=UTC)
RECORD = re.compile(
    r"rmgr: (?P<kind>\w+) +len \(rec/tot\): +(?P<bytes>\d+)/.*?desc: (?P<what>\w+)"
    r".*?(?:blkref #0: rel \d+/(?P<database>\d+)/(?P<node>\d+)|$)"
)

Written = defaultdict[str, Counter[str]]
"""How often what was done to each table or index; ``bytes`` of PostgreSQL's log among it."""


def batches(name: str, people: Sequence[UUID], size: int) -> Iterator[list[Received]]:
    """One event of each of these people, a tenth of a second apart."""
    batch: list[Received] = []
    for number, person in enumerate(people):
        at = STARTED + timedelta(seconds=number / 10, days=name == "login")
        issued = int(at.timestamp())
        roles = {"roles": ["member"]} if name == "login" else {}
        body = load.event(name, person, issued, roles)
        signature = load.sign(body, SECRET, issued).decode()
        batch.append(Received([signature], body, "/hooks/identity", None, at))
        if len(batch) == size:
            yield batch
            batch = []


def play(app: App, name: str, people: Sequence[UUID], size: int) -> None:
    """One event of each of these people."""
    for batch in batches(name, people, size):
        verified = [app.webhooks.verify(one) for one in batch]
        for answer in app.webhooks.process(verified):
            if isinstance(answer, Exception):
                raise answer


@contextmanager
def sqlite_log(database: Database, found: defaultdict[str, Counter[str]]) -> Iterator[None]:
    """Count the pages that come into the write-ahead log; a reader keeps it from starting anew."""
    path = str(database.sqlite_path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    reader.execute("BEGIN").execute("SELECT count(*) FROM alembic_version").fetchone()
    yield
    pages = Counter[int]()
    with Path(f"{path}-wal").open("rb") as wal:
        size = struct.unpack(">8xI20x", wal.read(32))[0]
        while header := wal.read(24):
            pages[struct.unpack(">I20x", header)[0]] += 1
            wal.seek(size, 1)
    reader.execute("COMMIT")
    owners = dict(reader.execute("SELECT pageno, name FROM dbstat"))
    for page, count in pages.items():
        found[owners.get(page, "free")]["pages"] += count
    reader.close()


@contextmanager
def postgresql_log(database: Database, found: defaultdict[str, Counter[str]]) -> Iterator[None]:
    """Count the records that come into the write-ahead log, with the server's own pg_waldump."""
    with database.read() as transaction:
        folder = transaction.sql.execute(text("SHOW data_directory")).scalar_one()
        ours = transaction.sql.execute(
            text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ).scalar_one()
        start = transaction.sql.execute(text("SELECT pg_current_wal_insert_lsn()")).scalar_one()
    yield
    with database.read() as transaction:
        end = transaction.sql.execute(text("SELECT pg_current_wal_insert_lsn()")).scalar_one()
        nodes = transaction.sql.execute(
            text(
                "SELECT c.relfilenode, coalesce(o.relname, c.relname) FROM pg_class c"
                " LEFT JOIN pg_class o ON o.reltoastrelid = c.oid WHERE c.relfilenode > 0"
            )
        )
        names = {str(node): name for node, name in nodes.all()}
    server = Path(folder, "postmaster.pid").read_text().split()[0]
    program = Path(f"/proc/{server}/exe").resolve().with_name("pg_waldump")
    command = [str(program), "--path", f"{folder}/pg_wal", "--start", start, "--end", end]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        record = RECORD.match(line)
        if record is None or record["database"] not in (None, str(ours)):
            continue
        name = names.get(record["node"] or "", record["kind"].lower())
        found[name]["bytes"] += int(record["bytes"])
        if record["kind"] in ("Heap", "Heap2", "Btree"):
            found[name][record["what"].lower()] += 1


def measure(app: App, name: str, people: Sequence[UUID], size: int) -> Written:
    """What one event of each of these people writes."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    database = app.store.database
    watching = sqlite_log if database.is_sqlite else postgresql_log
    with watching(database, found):
        play(app, name, people, size)
    return found


def report(name: str, written: Written, events: int) -> dict[str, dict[str, float]]:
    """The table: per event, the most expensive first."""
    unit = "pages" if any("pages" in counts for counts in written.values()) else "bytes"
    print(f"\n{name}: {'':30} {unit:>8}")
    rows = {}
    for relation, counts in sorted(written.items(), key=lambda item: -item[1][unit]):
        rows[relation] = {what: count / events for what, count in counts.items()}
        others = [
            f"{what} {count / events:.2f}"
            for what, count in counts.most_common()
            if what != unit and count / events >= 0.005
        ]
        print(f"  {relation:36} {counts[unit] / events:8.2f}  {', '.join(others)}")
    total = Counter[str]()
    for counts in written.values():
        total += counts
    entries = sum(total[what] for what in ("insert_leaf", "split_r", "split_l"))
    print(f"  {'all':36} {total[unit] / events:8.2f}", end="")
    print(f"  index entries {entries / events:.2f}" if unit == "bytes" else "")
    rows["all"] = {what: count / events for what, count in total.items()}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.writes", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--users", type=int, default=20_000, help="on record before")
    parser.add_argument("--each", type=int, default=10, help="deliveries of each, before")
    parser.add_argument("--events", type=int, default=3_200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    log.configure(io.StringIO())
    with (
        tempfile.TemporaryDirectory(prefix="usher-bench-") as temporary,
        databases(options.database, Path(temporary)) as create,
    ):
        policy = Path(temporary) / "policy.toml"
        policy.write_text(POLICY)
        url = create("writes")
        seed(url, options.users)
        seed_ledger(url, options.users, options.each)
        app = App(
            Settings(database_url=url, webhook_secrets=(SECRET.encode(),), policy=str(policy))
        )
        warm_up = [uuid4() for _ in range(options.batch * 10)]
        play(app, "signup", warm_up, options.batch)
        play(app, "login", warm_up, options.batch)
        new = [uuid4() for _ in range(options.events)]
        figures = {"signup": report("signup", measure(app, "signup", new, options.batch), len(new))}
        known = random.Random(0).sample(new, len(new))
        figures["login"] = report("login", measure(app, "login", known, options.batch), len(known))
        app.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
