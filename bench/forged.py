"""Forged events: what they cost, and what a flood of them costs good ones. `python -m bench.forged`

Three questions, in turns in one run: how many forged events a second each receiver refuses; what
good events keep of a steady rate while ten times as many forged ones arrive; and what they keep
when both kinds come as fast as they can.
"""

import argparse
import json
import secrets
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import load
from bench.events_http import ratios, say
from bench.machine import describe
from bench.receivers import KINDS, Receiver, databases, install_node_peer

CONNECTIONS = 16
FLOOD = 10
SHARE = 0.5
"""So much of what Usher could do of both kinds together is asked of it in the steady load."""
MAX_PER_SECOND = 30_000
"""So many requests are made ready for each second."""


def send(
    receiver: Receiver, seconds: int, workdir: Path, *, forged: bool, per_second: float = 0
) -> load.Result:
    """A run of good or forged events, as fast as they are answered or at about a given rate."""
    pause_ms = round(CONNECTIONS / per_second * 1000) if per_second else 0
    return load.run(
        receiver.target,
        secrets.token_hex(32) if forged else receiver.secret,
        seconds=seconds,
        connections=CONNECTIONS,
        count=int((per_second * 2 or MAX_PER_SECOND) * seconds) + CONNECTIONS,
        workdir=workdir,
        pause_ms=pause_ms,
    )


def refused(result: load.Result) -> float:
    """Forged events a second; every one of them was refused."""
    if result.accepted:
        raise load.LoadError(f"{result.accepted} forged events were accepted")
    return result.answered_per_second


def together(*runs: Callable[[], load.Result]) -> list[load.Result]:
    """Several runs at once."""
    with ThreadPoolExecutor(len(runs)) as threads:
        return [run.result() for run in [threads.submit(run) for run in runs]]


def costs(receivers: list[Receiver], rounds: int, seconds: int, folder: Path) -> dict[str, Any]:
    """Good and forged events a second of each receiver, taken in turns."""
    good: dict[str, list[float]] = {}
    forged: dict[str, list[float]] = {}
    for _ in range(rounds):
        for receiver in receivers:
            name = receiver.kind.name
            accepted = send(receiver, seconds, folder, forged=False).per_second
            good.setdefault(name, []).append(accepted)
            turned_away = refused(send(receiver, seconds, folder, forged=True))
            forged.setdefault(name, []).append(turned_away)
            say(f"{name:8} good {accepted:6.0f}/s  forged {turned_away:6.0f}/s")
    return {
        name: {
            "good_per_second": statistics.median(good[name]),
            "forged_per_second": statistics.median(forged[name]),
            "ratio": ratios(forged[name], good[name]),
        }
        for name in good
    }


def flood(
    usher: Receiver, rate: float, rounds: int, seconds: int, folder: Path
) -> list[dict[str, float]]:
    """Good events alone and in a flood, round by round.

    Args:
        rate: good events a second; 0: as fast as they are answered, both kinds.
    """
    found = []
    for _ in range(rounds):
        alone = send(usher, seconds, folder, forged=False, per_second=rate)
        within, forged = together(
            lambda: send(usher, seconds, folder, forged=False, per_second=rate),
            lambda: send(usher, seconds, folder, forged=True, per_second=rate * FLOOD),
        )
        found.append(
            {
                "alone_per_second": alone.per_second,
                "within_per_second": within.per_second,
                "forged_per_second": refused(forged),
                "kept": within.per_second / alone.per_second,
                "alone_p99_ms": alone.p99_ms,
                "within_p99_ms": within.p99_ms,
                "errors": within.errors,
            }
        )
        say(f"flood: {found[-1]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    options = parser.parse_args()
    install_node_peer()
    receivers = []
    with tempfile.TemporaryDirectory(prefix="usher-bench-") as temporary:
        folder = Path(temporary)
        print(f"machine: {describe(folder)}")
        with databases("sqlite", folder) as create:
            try:
                for name, kind in KINDS.items():
                    home = folder / "homes" / name
                    receiver = Receiver(kind, home, secrets.token_hex(32), create(name))
                    receiver.start()
                    receivers.append(receiver)
                    receiver.probe()
                    send(receiver, 2, folder, forged=False)
                each = costs(receivers, options.rounds, options.seconds, folder)
                usher = each["usher"]
                one_and_its_flood = (
                    1 / usher["good_per_second"] + FLOOD / usher["forged_per_second"]
                )
                rate = SHARE / one_and_its_flood
                steady = flood(receivers[0], rate, options.rounds, options.seconds, folder)
                full = flood(receivers[0], 0, options.rounds, options.seconds, folder)
            finally:
                for receiver in receivers:
                    receiver.kill()
    print(f"{'':9}{'good/s':>8}{'forged/s':>10}  forged by good")
    for name, row in each.items():
        print(
            f"{name:9}{row['good_per_second']:8.0f}{row['forged_per_second']:10.0f}  "
            "{:.2f} ({:.2f} to {:.2f})".format(*row["ratio"])
        )
    for words, rows in (("steady", steady), ("as fast as they can", full)):
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"{words}: good {middle['alone_per_second']:.0f}/s alone, "
            f"{middle['within_per_second']:.0f}/s with {middle['forged_per_second']:.0f}/s forged: "
            f"{middle['kept']:.0%} kept ({min(row['kept'] for row in rows):.0%} to "
            f"{max(row['kept'] for row in rows):.0%}); p99 {middle['alone_p99_ms']:.0f} and "
            f"{middle['within_p99_ms']:.0f} ms; {sum(row['errors'] for row in rows):.0f} errors"
        )
    if options.json:
        report = {"receivers": each, "steady": steady, "full": full}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
