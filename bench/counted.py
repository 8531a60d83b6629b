"""The process whose instructions are counted: events made beforehand go through the pipeline.

`python -P counted.py PREFIX EVENTS COUNT BATCH`, with the tree to measure as PYTHONPATH:

    PREFIX  before the names of its modules: "usher.", or "" where they stand at the top level
    EVENTS  a JSON file of `before`, which is stored first, and `counted`; see bench.instructions
    COUNT   how many of `counted` are sent, BATCH of them in one transaction

The process does the same whatever COUNT is, but for the events themselves.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

BEFORE_BATCH = 256
PATH = "/hooks/identity"


def main(prefix: str, events: str, count: str, batch: str) -> None:
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

    made = json.loads(Path(events).read_text())
    before, counted = read(made["before"]), read(made["counted"])
    answers = send(before, BEFORE_BATCH)
    answers += send(counted[: int(count)], int(batch))
    refused = [answer for answer in answers if getattr(answer, "status", None) != 200]
    if refused or len(answers) != len(before) + int(count):
        sys.exit(f"{len(refused)} of {len(answers)} events were not answered 200: {refused[:1]}")
    print(app.__file__)


if __name__ == "__main__":
    main(*sys.argv[1:])
