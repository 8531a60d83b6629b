"""Large events: what 64 of them at once cost everybody else. `python -m bench.large`

So many signed events of 15 MiB arrive at one time, each by a sender that tries three times as
Identity does, their metadata of every kind that is hard to read. Meanwhile /healthz is asked, 20 ms
after each answer; so is a bare Granian process beside it, which shows what the machine alone costs.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psutil

from bench import load
from bench.machine import describe
from bench.receivers import KINDS, ROOT, Receiver, ReceiverError, databases, free_port

ATTEMPTS = 3
ATTEMPT_SECONDS = 5
PAUSE_SECONDS = 0.02
LEVELS = 100
"""Identity's own limit of what it reads of a person is far below that of its JSON."""
CONTENTS = {
    "letters": (b'"', b"x", b'"'),
    "escapes": (b'"', b"\\u0000\\ud800", b'"'),
    "quotes": (b'"', b'\\"', b'"'),
    "digits": (b"", b"9", b""),
    "lists": (b"[", b"[],", b"1]"),
    "strings": (b"[", b'"",', b"1]"),
    "keys": (b"{", b'"k":"v",', b'"k":1}'),
    "levels": (b"[", b"[" * LEVELS + b"]" * LEVELS + b",", b"1]"),
    "objects": (b"[", b'{"a":' * LEVELS + b"1" + b"}" * LEVELS + b",", b"1]"),
}
"""What stands around and within a metadata map, repeated until it is large."""


def body(content: str, size: int) -> bytes:
    """A login of somebody new, with metadata of this content and size."""
    before, again, after = CONTENTS[content]
    value = b"".join((before, again * (size // len(again)), after))
    user = {"id": str(uuid.uuid4()), "email": "ada@example.com", "app_metadata": {}}
    event = {"event": "login", "instance_id": load.ZERO_UUID, "user": user}
    start = json.dumps(event, separators=(",", ":")).encode()[:-2]
    return b"".join((start, b',"user_metadata":{"x":', value, b"}}}"))


def post(port: int, path: str, sent: bytes, signature: bytes) -> str:
    """The answer of one attempt: a status, or the name of what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ATTEMPT_SECONDS)
    headers = {"Content-Type": "application/json", "X-Webhook-Signature": signature.decode()}
    try:
        connection.request("POST", path, sent, headers)
        return str(connection.getresponse().status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def deliver(receiver: Receiver, sent: bytes, number: int) -> list[str]:
    """Send one event as Identity does; the answer to each attempt."""
    signature = load.sign(sent, receiver.secret, int(time.time()) - number)
    answers: list[str] = []
    while len(answers) < ATTEMPTS and not (answers and answers[-1] in ("200", "204")):
        answers.append(post(receiver.target.port, receiver.target.path, sent, signature))
    return answers


def probe(port: int, begun: Event, done: Event, found: Any) -> None:
    """Ask /healthz, and again 20 ms after each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    begun.wait()
    while not done.is_set():
        sent = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append((time.perf_counter() - sent) * 1000)
        time.sleep(PAUSE_SECONDS)
    found.put(sorted(took))


def summary(took: list[float]) -> dict[str, float]:
    """The times of one process, in ms."""
    return {
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "max_ms": took[-1],
        "requests": len(took),
    }


@contextmanager
def bare() -> Iterator[int]:
    """The port of a bare process."""
    port = free_port()
    command = [sys.executable, "bare.py", str(port)]
    process = subprocess.Popen(command, cwd=ROOT / "bench" / "peers", start_new_session=True)
    try:
        while post(port, "/", b"", b"") != "200":
            if process.poll() is not None:
                raise ReceiverError("the bare process did not start")
            time.sleep(0.05)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def peak_mib(receiver: Receiver) -> float:
    """The most memory that any of its processes has had."""
    first = psutil.Process(receiver.process.pid)
    most = 0
    for one in [first, *first.children(recursive=True)]:
        for line in Path(f"/proc/{one.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                most = max(most, int(line.split()[1]))
    return most / 1024


def storm(receiver: Receiver, other: int, bodies: list[bytes], at_once: int) -> dict[str, Any]:
    """One round: all at once, with both processes asked meanwhile."""
    context = multiprocessing.get_context("spawn")
    begun, done = context.Event(), context.Event()
    queues = [context.Queue(), context.Queue()]
    ports = (receiver.target.port, other)
    probers = [
        context.Process(target=probe, args=(port, begun, done, queue))
        for port, queue in zip(ports, queues, strict=True)
    ]
    for prober in probers:
        prober.start()
    time.sleep(1)
    started = time.perf_counter()
    begun.set()
    with ThreadPoolExecutor(at_once) as threads:
        sent = [
            threads.submit(deliver, receiver, bodies[number % len(bodies)], number)
            for number in range(at_once)
        ]
        answers = [one.result() for one in sent]
    done.set()
    usher, alone = (queue.get() for queue in queues)
    for prober in probers:
        prober.join()
    return {
        "seconds": time.perf_counter() - started,
        "load": os.getloadavg()[0],
        "attempts": Counter(status for each in answers for status in each),
        "accepted": sum(each[-1] in ("200", "204") for each in answers),
        "usher": summary(usher),
        "bare": summary(alone),
        "all": (usher, alone),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=15)
    parser.add_argument("--content", action="append", choices=[*CONTENTS], help="only these")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    given = parser.parse_args()
    bodies = [body(content, given.mib * 2**20) for content in given.content or CONTENTS]
    rows = []
    with tempfile.TemporaryDirectory(prefix="usher-bench-") as temporary:
        folder = Path(temporary)
        machine = describe(folder)
        print(f"machine: {machine}")
        with databases("sqlite", folder) as create, bare() as other:
            receiver = Receiver(
                KINDS["usher"], folder / "home", secrets.token_hex(32), create("large")
            )
            receiver.start()
            try:
                for _ in range(given.rounds):
                    row = storm(receiver, other, bodies, given.at_once)
                    rows.append(row)
                    print(
                        f"{row['accepted']} of {given.at_once} taken in {row['seconds']:.1f} s, "
                        f"load {row['load']:.1f}, attempts {dict(row['attempts'])}, "
                        f"usher {times(row['usher'])}, bare {times(row['bare'])}",
                        flush=True,
                    )
                receiver.ensure_alive()
                peak = peak_mib(receiver)
            finally:
                receiver.kill()
    whole = [
        summary(sorted(took for row in rows for took in row["all"][which])) for which in (0, 1)
    ]
    print(f"/healthz p50 / p99 / max ms: usher {times(whole[0])}, bare process {times(whole[1])}")
    print(f"p99 by the bare process's: {whole[0]['p99_ms'] / whole[1]['p99_ms']:.1f}")
    print(f"peak memory of a process: {peak:.0f} MiB")
    if given.json:
        for row in rows:
            del row["all"]
        report = {"machine": machine, "rows": rows, "healthz": whole, "peak_mib": peak}
        given.json.write_text(json.dumps(report, indent=2) + "\n")


def times(row: dict[str, float]) -> str:
    """A row's times, for people."""
    return f"{row['p50_ms']:.1f} / {row['p99_ms']:.0f} / {row['max_ms']:.0f}"


if __name__ == "__main__":
    main()
