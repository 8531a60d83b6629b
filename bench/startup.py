"""Start-up: a new process until its first answer, against importing the fixed packages alone.

Functions first, each in a new interpreter; then servers, ours and the two plain receivers.

`python -m bench.startup [--rounds N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe
from bench.receivers import KINDS, ROOT, Receiver, databases, install_node_peer

SECRET = "0123456789abcdef0123456789abcdef"

IMPORTS = "import sqlmodel, jwt, structlog"
HANDLER = "from usher.functions.identity import handler"
FORGED = (
    HANDLER
    + """
answer = handler({"httpMethod": "POST", "path": "/x", "body": "{}",
    "headers": {"content-type": "application/json", "x-webhook-signature": "a.b.c"}}, None)
assert answer["statusCode"] == 401
"""
)
GOOD = (
    HANDLER
    + """
import sys, time
from uuid import UUID, uuid4
from usher.core.jws import sign_event
body = ('{"event":"signup","instance_id":"%s","user":{"id":"%s","email":"a@b.c"}}'
    % (UUID(int=0), uuid4())).encode()
signature = sign_event(body, UUID(int=0), int(time.time()), b"0123456789abcdef0123456789abcdef")
answer = handler({"httpMethod": "POST", "path": "/x", "body": body.decode(),
    "headers": {"content-type": "application/json", "x-webhook-signature": signature}}, None)
assert answer["statusCode"] == 200, answer
"""
)
CASES = {
    "python alone": "pass",
    "import sqlmodel, jwt, structlog": IMPORTS,
    "import a handler": HANDLER,
    "forged event answered": FORGED,
    "good event answered (SQLite)": GOOD,
}


def seconds(code: str, environment: dict[str, str]) -> float:
    """Wall time of one new interpreter running `code`."""
    started = time.perf_counter()
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_answers(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of each server to its first stored event, in turns, on SQLite."""
    install_node_peer()
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    with databases("sqlite", folder) as create:
        receivers = [
            Receiver(kind, folder / "homes" / name, SECRET, create(name))
            for name, kind in KINDS.items()
        ]
        for receiver in receivers:  # the tables are made, and everything is byte-compiled
            receiver.start()
            receiver.kill()
        for _ in range(rounds):
            for receiver in receivers:
                found[receiver.kind.name].append(receiver.first_answer())
                receiver.kill()
    return found


def main() -> None:
    """Run every case in turn, `--rounds` times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("USHER_")} | {
            "USHER_DATABASE_URL": f"sqlite:///{folder}/usher.db",
            "USHER_WEBHOOK_SECRETS": SECRET,
        }
        upgrade = [sys.executable, "-m", "usher.cli", "db", "upgrade"]
        subprocess.run(upgrade, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        times: dict[str, list[float]] = {name: [] for name in CASES}
        for code in CASES.values():
            seconds(code, environment)  # byte-compiled once
        for _ in range(options.rounds):
            for name, code in CASES.items():
                times[name].append(seconds(code, environment))
        servers = first_answers(Path(folder), options.rounds)
    bare = statistics.median(times["import sqlmodel, jwt, structlog"])
    print(f"machine: {describe(ROOT)}")
    print(f"{'case':<34}{'ms':>7}{'min..max':>14}{'x imports':>11}")
    rows = []
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values) * 1000:.0f}..{max(values) * 1000:.0f}"
        print(f"{name:<34}{median * 1000:>7.0f}{spread:>14}{median / bare:>11.2f}")
        rows.append({"case": name, "seconds": values, "ratio": median / bare})
    for name, values in servers.items():
        median = statistics.median(values)
        spread = f"{min(values) * 1000:.0f}..{max(values) * 1000:.0f}"
        print(f"{f'server, first event: {name}':<34}{median * 1000:>7.0f}{spread:>14}")
        rows.append({"case": f"server: {name}", "seconds": values, "ratio": median / bare})
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(ROOT), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
