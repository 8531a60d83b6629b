"""Events over HTTP: Usher against two plain receivers, in one interleaved run.

Usage, from the repository's root: python -m bench.events_http [--help]
"""

import argparse
import contextlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from bench import load
from bench.machine import describe
from bench.receivers import (
    KINDS,
    Receiver,
    ReceiverError,
    databases,
    install_node_peer,
    usher_shadowed,
    usher_with,
    usher_with_handlers,
)

WARM_UP_SECONDS = 2
WARM_UP_PER_SECOND = 20_000
POOL_MARGIN = 3.0
PEERS = ("fastapi", "node")
FAILURES = (
    load.LoadError,
    ReceiverError,
    subprocess.SubprocessError,
    SQLAlchemyError,
    OSError,
)


@dataclass(slots=True)
class Tally:
    """What one receiver did: its measured runs by connections, and how much must be stored."""

    receiver: Receiver
    accepted: int = 0
    attempts_in_flight: int = 0
    fastest: float = 0.0
    runs: dict[int, list[load.Result]] = field(default_factory=dict)
    cpu_us: dict[int, list[float]] = field(default_factory=dict)
    memory_mib: list[float] = field(default_factory=list)
    people: list[uuid.UUID] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.receiver.kind.name

    def add(
        self, result: load.Result, connections: int, cpu_seconds: float, *, measured: bool
    ) -> None:
        self.accepted += result.accepted
        self.attempts_in_flight += connections + result.connection_errors + result.timeouts
        self.fastest = max(self.fastest, result.per_second)
        if measured:
            self.runs.setdefault(connections, []).append(result)
            spent = cpu_seconds * 1e6 / max(1, result.accepted)
            self.cpu_us.setdefault(connections, []).append(spent)
            self.memory_mib.append(self.receiver.memory_mib())

    def logins(self, count: int) -> Iterator[load.Signed]:
        """At first the signups of those who will log in, a while ago: their logins are later."""
        now = int(time.time())
        if self.people:
            return load.logins(self.people, count, now)
        self.people = [uuid.uuid4() for _ in range(count)]
        return load.signups(self.people, now - load.EARLIER_SECONDS)

    def check(self) -> None:
        """Every answered delivery must be found on disk, and no others."""
        rows = self.receiver.rows()
        if not self.accepted <= rows <= self.accepted + self.attempts_in_flight:
            raise ReceiverError(
                f"{self.name} answered {self.accepted} events with 2xx but stored {rows} "
                f"(at most {self.attempts_in_flight} more may have been in flight)"
            )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m bench.events_http", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--event", choices=("signup", "login"), default="signup")
    parser.add_argument("--seconds", type=int, default=5, help="length of one run (5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each receiver (3)")
    parser.add_argument(
        "--connections",
        type=int,
        action="append",
        metavar="N",
        help="keep-alive connections; may be repeated (16)",
    )
    parser.add_argument("--only", action="append", choices=[*KINDS], help="may be repeated")
    parser.add_argument("--workers", type=int, metavar="N", help="Usher in N processes, as well")
    parser.add_argument("--shadow", action="store_true", help="Usher with a shadow policy, as well")
    parser.add_argument("--handlers", action="store_true", help="Usher with ten handlers, as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    given = parser.parse_args(argv)
    given.connections = given.connections or [16]
    if min(given.seconds, given.rounds, *given.connections) < 1:
        parser.error("seconds, rounds and connections are at least 1")
    return given


def say(text: str) -> None:
    """Progress goes to stderr; stdout holds the figures alone."""
    print(text, file=sys.stderr, flush=True)


def run_rounds(tallies: list[Tally], given: argparse.Namespace, workdir: Path) -> None:
    """A warm-up of each receiver, then all of them in turn, round after round."""
    for number in range(given.rounds + 1):
        # The order turns with each round: nobody always follows the same neighbour's cool-down.
        turn = number % len(tallies)
        for connections in given.connections if number else [16]:
            for tally in [*tallies[turn:], *tallies[:turn]]:
                per_second = tally.fastest * POOL_MARGIN if number else WARM_UP_PER_SECOND
                seconds = given.seconds if number else WARM_UP_SECONDS
                count = int(per_second * seconds) + 1000
                cpu_before = tally.receiver.cpu_seconds()
                with contextlib.ExitStack() as others:
                    for other in tallies:
                        if other is not tally:
                            others.enter_context(other.receiver.frozen())
                    result = load.run(
                        tally.receiver.target,
                        tally.receiver.secret,
                        seconds=seconds,
                        connections=connections,
                        count=count,
                        workdir=workdir,
                        events=tally.logins(count) if given.event == "login" else (),
                    )
                tally.receiver.ensure_alive()
                cpu_seconds = tally.receiver.cpu_seconds() - cpu_before
                if not number:
                    del tally.people[result.accepted :]  # in this order they signed up
                tally.add(result, connections, cpu_seconds, measured=number > 0)
                label = f"round {number}" if number else "warm-up"
                say(
                    f"{label:8} {connections:4} {tally.name:8} {result.per_second:8.0f}/s"
                    f"  {result.errors} errors"
                )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours by theirs, round for round: the median, the least and the greatest."""
    found = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [statistics.median(found), min(found), max(found)]


def compared(
    name: str, runs: Mapping[str, list[load.Result]], figure: Callable[[load.Result], float]
) -> dict[str, list[float]]:
    """A figure of one receiver by that of each peer."""
    ours = [figure(run) for run in runs[name]]
    return {
        peer: ratios(ours, [figure(run) for run in runs[peer]])
        for peer in PEERS
        if peer in runs and peer != name
    }


def summary(tallies: list[Tally], database: str) -> list[dict[str, Any]]:
    """A row for each number of connections and receiver: medians over its runs, and the runs."""
    rows = []
    for connections in tallies[0].runs:
        runs = {tally.name: tally.runs[connections] for tally in tallies}
        for tally in tallies:
            own = runs[tally.name]
            rows.append(
                {
                    "database": database,
                    "connections": connections,
                    "receiver": tally.name,
                    "per_second": statistics.median(run.per_second for run in own),
                    "p50_ms": statistics.median(run.p50_ms for run in own),
                    "p99_ms": statistics.median(run.p99_ms for run in own),
                    "cpu_us": statistics.median(tally.cpu_us[connections]),
                    "errors": sum(run.errors for run in own),
                    "memory_mib": max(tally.memory_mib),
                    "rate_ratio": compared(tally.name, runs, lambda run: run.per_second),
                    "p99_ratio": compared(tally.name, runs, lambda run: run.p99_ms),
                    "runs": [asdict(run) for run in own],
                }
            )
    return rows


def spread(figures: Sequence[float] | None) -> str:
    """A ratio as text."""
    return "-" if figures is None else "{:.2f} ({:.2f} to {:.2f})".format(*figures)


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as text, one receiver a line."""
    head = f"{'':>4} {'receiver':15}{'events/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>8}"
    head += f"{'errors':>8}{'MiB':>6}"
    lines = [f"{head}  {'rate x fastapi':24}{'rate x node':24}{'p99 x fastapi'}"]
    for row in rows:
        rate, p99 = row["rate_ratio"], row["p99_ratio"]
        lines.append(
            f"{row['connections']:4} {row['receiver']:15}{row['per_second']:9.0f}"
            f"{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}{row['cpu_us']:8.0f}"
            f"{row['errors']:8}{row['memory_mib']:6.0f}  "
            f"{spread(rate.get('fastapi')):24}{spread(rate.get('node')):24}"
            f"{spread(p99.get('fastapi'))}".rstrip()
        )
    return "\n".join(lines)


def measure(given: argparse.Namespace, workdir: Path) -> list[dict[str, Any]]:
    """Start the receivers, run the load, kill them, and count what each has on disk."""
    kinds = [kind for name, kind in KINDS.items() if not given.only or name in given.only]
    if given.workers:
        kinds.append(usher_with(given.workers))
    if given.shadow:
        kinds.append(usher_shadowed())
    if given.handlers:
        kinds.append(usher_with_handlers())
    if KINDS["node"] in kinds:
        install_node_peer()
    tallies: list[Tally] = []
    with databases(given.database, workdir) as create:
        try:
            for kind in kinds:
                home = workdir / "homes" / kind.name
                receiver = Receiver(kind, home, secrets.token_hex(32), create(kind.name))
                receiver.start()
                tallies.append(Tally(receiver))
                tallies[-1].accepted = receiver.probe()
            run_rounds(tallies, given, workdir)
        finally:
            for tally in tallies:
                tally.receiver.kill()
        for tally in tallies:
            tally.check()
    return summary(tallies, given.database)


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
    print(f"machine: {machine}")
    print(f"{given.event}s, {given.database}, {given.rounds} rounds of {given.seconds} s:")
    print(table(rows))
    print("every event answered with 2xx was found on disk after SIGKILL")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
