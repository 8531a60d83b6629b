"""The process whose instructions are counted: events made beforehand go through the pipeline.

`python -P counted.py PREFIX EVENTS BATCH [VGDB]`, with the tree to measure as PYTHONPATH:

    PREFIX  before the names of its modules: "usher.", or "" where they stand at the top level;
            "fastapi": no tree's pipeline, but what that peer does from a body to its commit
    EVENTS  a JSON file of events to store `before`, for `warm_up`, and `counted`
    BATCH   how many of the last two share a transaction
    VGDB    the path of valgrind's vgdb, under `valgrind --tool=callgrind --instr-atstart=no`

It prints the file of a module, and the ids of two processes whose totals are those of this one
before and after the events that count.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BEFORE_BATCH = 256
PATH = "/hooks/identity"


def mark() -> int:
    """Have callgrind write the total so far: it does when a process ends, and a fork has ours."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def begin_counting(vgdb: str) -> None:
    """Have callgrind count from now on; until then this process runs several times as fast."""
    command = [vgdb, f"--pid={os.getpid()}", "instrumentation", "on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as asking:
        while asking.poll() is None:
            pass  # callgrind listens while we run, not while we wait
    if asking.returncode:
        sys.exit(f"{vgdb} did not reach callgrind")


Row = tuple[str, str, str]
"""Body, signature and time of receipt of an event."""
Pipeline = tuple[Callable[[Row], Any], Callable[[Sequence[Any]], list[int]], str]
"""A row made ready, before it counts; a batch answered, as statuses; the file of a module."""


def usher(prefix: str) -> Pipeline:
    """The pipeline of a tree of ours."""
    app: Any = import_module(f"{prefix}core.app")
    received = import_module(f"{prefix}core.webhooks").Received
    webhooks = app.current().webhooks

    def ready(row: Row) -> Any:
        body, signature, at = row
        return received((signature,), body.encode(), PATH, None, datetime.fromisoformat(at))

    def answer(batch: Sequence[Any]) -> list[int]:
        answers = webhooks.process([webhooks.verify(one) for one in batch])
        return [getattr(one, "status", 500) for one in answers]

    return ready, answer, app.__file__


def fastapi() -> Pipeline:
    """The same of the FastAPI peer, which stores each event by itself."""
    sys.path.append(str(Path(__file__).parent / "peers"))
    peer: Any = import_module("fastapi_receiver")
    engine = peer.make_engine(os.environ["USHER_DATABASE_URL"].removeprefix("sqlite:///") + "-peer")
    peer.make_tables(engine)
    secret, clock = os.environ["USHER_WEBHOOK_SECRETS"], SimpleNamespace()
    peer.time = clock  # events are of another day

    def ready(row: Row) -> Any:
        body, signature, at = row
        moment = datetime.fromisoformat(at).timestamp()
        return body.encode(), signature, lambda: moment

    def answer(batch: Sequence[Any]) -> list[int]:
        for body, signature, clock.time in batch:
            peer.answer(engine, secret, body, signature)  # or it raises
        return [200] * len(batch)

    return ready, answer, peer.__file__


def main(prefix: str, events: str, batch: str, vgdb: str = "") -> None:
    ready, answer, file = fastapi() if prefix == "fastapi" else usher(prefix)

    def send(deliveries: Sequence[Any], size: int) -> list[int]:
        answers = []
        for start in range(0, len(deliveries), size):
            answers += answer(deliveries[start : start + size])
        return answers

    made = {
        part: [ready(row) for row in rows]
        for part, rows in json.loads(Path(events).read_text()).items()
    }
    answers = send(made["before"], BEFORE_BATCH) + send(made["warm_up"], int(batch))
    if vgdb:
        begin_counting(vgdb)
    first = mark()
    answers += send(made["counted"], int(batch))
    second = mark()
    refused = [status for status in answers if status != 200]
    if refused or len(answers) != sum(len(part) for part in made.values()):
        sys.exit(f"{len(refused)} of {len(answers)} events were not answered 200: {refused[:1]}")
    print(file, first, second, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
