"""Signup events over HTTP: Usher against two plain receivers, in one interleaved run.

Usage, from the repository's root: python -m bench.events_http [--help]
"""

import argparse
import json
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import load
from bench.machine import describe
from bench.receivers import KINDS, Receiver, ReceiverError, install_node_peer

WARM_UP_SECONDS = 2
WARM_UP_PER_SECOND = 20_000
POOL_MARGIN = 3.0
FAILURES = (
    load.LoadError,
    ReceiverError,
    subprocess.SubprocessError,
    sqlite3.Error,
    OSError,
)


@dataclass(slots=True)
class Tally:
    """What one receiver did: its measured runs, and how many deliveries must be stored."""

    receiver: Receiver
    accepted: int = 0
    attempts_in_flight: int = 0
    fastest: float = 0.0
    runs: list[load.Result] = field(default_factory=list)

    def add(self, result: load.Result, connections: int, *, measured: bool) -> None:
        self.accepted += result.accepted
        self.attempts_in_flight += connections + result.connection_errors + result.timeouts
        self.fastest = max(self.fastest, result.per_second)
        if measured:
            self.runs.append(result)

    def check(self) -> int:
        """The deliveries found on disk; every answered one must be there, and no others."""
        rows, name = self.receiver.rows(), self.receiver.kind.name
        if not self.accepted <= rows <= self.accepted + self.attempts_in_flight:
            raise ReceiverError(
                f"{name} answered {self.accepted} events with 2xx but stored {rows} "
                f"(at most {self.attempts_in_flight} more may have been in flight)"
            )
        return rows


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m bench.events_http", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="length of one run (5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each receiver (3)")
    parser.add_argument("--connections", type=int, default=16, help="keep-alive connections (16)")
    parser.add_argument("--threads", type=int, default=1, help="threads of wrk (1)")
    parser.add_argument("--pool", type=int, help="requests prepared for a run (from the warm-up)")
    parser.add_argument("--only", action="append", choices=[*KINDS], help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    given = parser.parse_args(argv)
    if min(given.seconds, given.rounds, given.threads) < 1 or given.connections < given.threads:
        parser.error("seconds, rounds and threads are at least 1; connections at least threads")
    return given


def say(text: str) -> None:
    """Progress goes to stderr; stdout holds the figures alone."""
    print(text, file=sys.stderr, flush=True)


def run_rounds(tallies: list[Tally], given: argparse.Namespace, workdir: Path) -> None:
    """A warm-up of each receiver, then all of them in turn, round after round."""
    for number in range(given.rounds + 1):
        warm_up = number == 0
        seconds = WARM_UP_SECONDS if warm_up else given.seconds
        # The order turns with each round: nobody always follows the same neighbour's cool-down.
        turn = number % len(tallies)
        for tally in [*tallies[turn:], *tallies[:turn]]:
            per_second = WARM_UP_PER_SECOND if warm_up else tally.fastest * POOL_MARGIN
            result = load.run(
                tally.receiver.target,
                tally.receiver.secret,
                seconds=seconds,
                connections=given.connections,
                threads=given.threads,
                count=given.pool or int(per_second * seconds) + 1000,
                workdir=workdir,
            )
            tally.receiver.ensure_alive()
            tally.add(result, given.connections, measured=not warm_up)
            label = "warm-up" if warm_up else f"round {number}"
            name = tally.receiver.kind.name
            say(f"{label:8} {name:8} {result.per_second:8.0f}/s  {result.errors} errors")


def summary(tally: Tally, rows: int) -> dict[str, Any]:
    """The figures of one receiver: medians over its runs, and the runs themselves."""
    rates = [run.per_second for run in tally.runs]
    return {
        "receiver": tally.receiver.kind.name,
        "per_second": statistics.median(rates),
        "per_second_min": min(rates),
        "per_second_max": max(rates),
        "p50_ms": statistics.median(run.p50_ms for run in tally.runs),
        "p99_ms": statistics.median(run.p99_ms for run in tally.runs),
        "errors": sum(run.errors for run in tally.runs),
        "answered": tally.accepted,
        "stored": rows,
        "runs": [asdict(run) for run in tally.runs],
    }


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """Events per second relative to each peer, where that peer took part."""
    for peer in ("fastapi", "node"):
        base = next((row["per_second"] for row in rows if row["receiver"] == peer), None)
        for row in rows:
            row[f"ratio_to_{peer}"] = row["per_second"] / base if base else None


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as text, one receiver a line."""
    head = f"{'receiver':9} {'events/s':>9} {'min..max':>13} {'p50 ms':>8} {'p99 ms':>8}"
    lines = [f"{head} {'errors':>7} {'x fastapi':>10} {'x node':>7}"]
    for row in rows:
        spread = f"{row['per_second_min']:.0f}..{row['per_second_max']:.0f}"
        fastapi, node = (
            "-" if row[key] is None else f"{row[key]:.2f}"
            for key in ("ratio_to_fastapi", "ratio_to_node")
        )
        lines.append(
            f"{row['receiver']:9} {row['per_second']:9.0f} {spread:>13} {row['p50_ms']:8.2f} "
            f"{row['p99_ms']:8.2f} {row['errors']:7} {fastapi:>10} {node:>7}"
        )
    return "\n".join(lines)


def measure(given: argparse.Namespace, workdir: Path) -> list[dict[str, Any]]:
    """Start the receivers, run the load, kill them, and count what each has on disk."""
    names = [name for name in KINDS if not given.only or name in given.only]
    if "node" in names:
        install_node_peer()
    tallies: list[Tally] = []
    try:
        for name in names:
            receiver = Receiver(KINDS[name], workdir / name, secrets.token_hex(32))
            receiver.start()
            tallies.append(Tally(receiver))
            tallies[-1].accepted = receiver.probe()
        run_rounds(tallies, given, workdir)
    finally:
        for tally in tallies:
            tally.receiver.kill()
    rows = [summary(tally, tally.check()) for tally in tallies]
    add_ratios(rows)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when its figures would mean nothing."""
    given = arguments(argv)
    try:
        load.find_wrk()
        with tempfile.TemporaryDirectory(prefix="usher-bench-") as directory:
            machine = describe(Path(directory))
            rows = measure(given, Path(directory))
    except FAILURES as error:
        say(f"error: {error}")
        return 1
    setup = {key: getattr(given, key) for key in ("seconds", "rounds", "connections", "threads")}
    print(f"machine: {machine}")
    print(f"setup: {', '.join(f'{value} {key}' for key, value in setup.items())}")
    print(table(rows))
    print("every event answered with 2xx was found on disk after SIGKILL")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": machine, "setup": setup, "receivers": rows}
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
