"""The process whose instructions are counted: events made beforehand go through the pipeline.

`python -P counted.py PREFIX EVENTS BATCH [VGDB]`, with the tree to measure as PYTHONPATH:

    PREFIX  before the names of its modules: "usher.", or "" where they stand at the top level
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
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
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


def main(prefix: str, events: str, batch: str, vgdb: str = "") -> None:
    app = import_module(f"{prefix}core.app")
    received = import_module(f"{prefix}core.webhooks").Received
    usher = app.current()

    def read(rows: Sequence[tuple[str, str, str]]) -> list[Any]:
        return [
            received((signature,), body.encode(), PATH, None, datetime.fromisoformat(at))
            for body, signature, at in rows
        ]

    def send(deliveries: Sequence[Any], size: int) -> list[Any]:
        webhooks, answers = usher.webhooks, []
        for start in range(0, len(deliveries), size):
            verified = [webhooks.verify(one) for one in deliveries[start : start + size]]
            answers += webhooks.process(verified)
        return answers

    made = {part: read(rows) for part, rows in json.loads(Path(events).read_text()).items()}
    answers = send(made["before"], BEFORE_BATCH) + send(made["warm_up"], int(batch))
    if vgdb:
        begin_counting(vgdb)
    first = mark()
    answers += send(made["counted"], int(batch))
    second = mark()
    refused = [answer for answer in answers if getattr(answer, "status", None) != 200]
    if refused or len(answers) != sum(len(part) for part in made.values()):
        sys.exit(f"{len(refused)} of {len(answers)} events were not answered 200: {refused[:1]}")
    print(app.__file__, first, second, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
