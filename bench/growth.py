"""Events a second with few users and with many: `python -m bench.growth --folder somewhere`.

Two servers on two SQLite files, one with 1,000 users and a ledger of 10,000, the other with
1,000,000 and 10,000,000. Both get signups by new people, in turns. The large file is seeded once
and kept in the folder (about 8 GB), with what a run adds; the small one is made anew. The large
one is read into the system's memory first, as a site that has run for days has it there. With
`--cold` it is taken out of there, and the disk reads single pages.
"""

import argparse
import json
import os
import secrets
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import load
from bench.events_http import ratios, say, spread
from bench.machine import describe
from bench.receivers import KINDS, Receiver
from bench.seed import seed_ledger, sqlite_url

EACH = 10
"""Rows of the ledger for each user."""
CONNECTIONS = 16


def seeded(folder: Path, count: int) -> str:
    """A file with so many users and their ledger, made where it is not there yet."""
    done = folder / f"users-{count}.ledger"
    url = sqlite_url(folder, count)
    if not done.exists():
        seed_ledger(url, count, EACH)
        done.touch()
    return url


def into_memory(path: Path, *, cold: bool) -> None:
    """Have the system hold a file in memory, if there is room; or nothing of it, when cold."""
    with path.open("rb", buffering=0) as file:
        if cold:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while not cold and file.read(1 << 20):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="Begin with the file on disk alone.")
    parser.add_argument("--folder", type=Path, help="Keep the large database here.")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usher-bench-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sizes = (options.few, options.many)
        few = Path(temporary) / "few"
        few.mkdir()
        urls = {options.few: seeded(few, options.few), options.many: seeded(folder, options.many)}
        into_memory(folder / f"users-{options.many}.db", cold=options.cold)
        print(f"machine: {describe(folder)}")
        receivers: dict[int, Receiver] = {}
        runs: dict[int, list[load.Result]] = {count: [] for count in sizes}
        memory: dict[int, list[float]] = {count: [] for count in sizes}
        try:
            for count, url in urls.items():
                home = Path(temporary) / "homes" / str(count)
                receivers[count] = Receiver(KINDS["usher"], home, secrets.token_hex(32), url)
                receivers[count].start()
            for number in range(options.rounds + 1):
                for count, receiver in receivers.items():
                    result = load.run(
                        receiver.target,
                        receiver.secret,
                        seconds=options.seconds,
                        connections=CONNECTIONS,
                        count=10_000 * options.seconds,
                        workdir=Path(temporary),
                    )
                    receiver.ensure_alive()
                    say(f"{number}  {count:10,} users {result.per_second:8.0f}/s")
                    if result.errors:
                        raise SystemExit(f"{result.errors} errors with {count} users")
                    memory[count].append(receiver.memory_mib())
                    if number:
                        runs[count].append(result)
        finally:
            for receiver in receivers.values():
                receiver.kill()
    few_rates, many_rates = ([run.per_second for run in runs[count]] for count in sizes)
    ratio = ratios(many_rates, few_rates)
    rows: list[dict[str, Any]] = [
        {
            "users": count,
            "ledger": count * EACH,
            "per_second": statistics.median(run.per_second for run in runs[count]),
            "p99_ms": statistics.median(run.p99_ms for run in runs[count]),
            "memory_first_mib": memory[count][0],
            "memory_last_mib": memory[count][-1],
        }
        for count in sizes
    ]
    print(
        f"{'users':>12}{'ledger':>12}{'events/s':>10}{'p99 ms':>9}  memory MiB, first and last run"
    )
    for row in rows:
        print(
            f"{row['users']:12,}{row['ledger']:12,}{row['per_second']:10.0f}{row['p99_ms']:9.1f}"
            f"  {row['memory_first_mib']:.0f} {row['memory_last_mib']:.0f}"
        )
    print(f"many by few, round by round: {spread(ratio)}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "ratio": ratio}, indent=2) + "\n")


if __name__ == "__main__":
    main()
