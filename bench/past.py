"""What a replay costs, against the same events over HTTP: ``python -m bench.past [--events N]``."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from msgspec.structs import replace

from bench import load
from bench.machine import describe
from bench.receivers import KINDS, Receiver
from usher.core.captures.format import Capture, write_line
from usher.core.jws import PUBLIC_SECRET, sign_event
from usher.emulator.payload import ZERO_INSTANCE, Account, event_body

START = datetime(2026, 3, 2, tzinfo=UTC)
EACH = ("validate", "signup", "login", "login", "login")
POLICY = """
[admission]
default = "allow"
deny_email_domains = ["mailinator.com"]
[[role]]
grant = "member"
[[role]]
grant = "staff"
email_domains = ["example.com"]
"""
SECRET = "b" * 40


def history(events: int) -> Iterator[tuple[str, UUID, int, datetime, bytes]]:
    """So many events of a fifth as many people: each signs up and logs in three times."""
    people = events // len(EACH)
    for step, event in enumerate(EACH):
        for number in range(people):
            created = START + timedelta(seconds=number)
            at = created + timedelta(days=step)
            domain = ("example.com", "b.example", "c.example")[number % 3]
            who = Account(
                id=uuid5(NAMESPACE_DNS, str(number)),
                email=f"person{number}@{domain}",
                user_metadata={"full_name": f"Person {number}"},
                confirmation_sent_at=created,
                confirmed_at=created if step > 1 else None,
                last_sign_in_at=at if step > 2 else None,
                created_at=created,
                updated_at=at,
            )
            if step > 1:
                roles = ["member", "staff"] if domain == "example.com" else ["member"]
                who = replace(who, app_metadata={"provider": "email", "roles": roles})
            body = event_body(event, who, ZERO_INSTANCE)
            yield event, who.id, int(at.timestamp()), at, body


def write_captures(path: Path, events: int) -> None:
    """The same as captures."""
    with path.open("w", encoding="utf-8") as file:
        for event, _, issued, at, body in history(events):
            headers = {
                "Content-Type": "application/json",
                "X-Netlify-Event": f"identity_{event}",
                "X-Webhook-Signature": sign_event(body, ZERO_INSTANCE, issued, PUBLIC_SECRET),
            }
            capture = Capture(at, "POST", "/.netlify/functions/identity", headers, body)
            file.write(write_line(capture) + "\n")


def usher(folder: Path, url: str, *arguments: str) -> tuple[float, int, dict[str, Any]]:
    """Run a command; seconds, peak memory in MiB of its largest process, what it printed."""
    environment = {
        **os.environ,
        "USHER_DATABASE_URL": url,
        "USHER_WEBHOOK_SECRETS": SECRET,
        "USHER_POLICY": str(folder / "policy.toml"),
    }
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "usher.cli", *arguments, "--json"],
        env=environment,
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode())
    return seconds, peak, json.loads(done.stdout)


def over_http(folder: Path, events: int) -> dict[str, float]:
    """Events a second that the server takes, in files of their own: ours in order, and wrk's."""
    database = f"sqlite:///{folder / 'http.db'}"
    receiver = Receiver(KINDS["usher"], folder / "http", SECRET, database)
    receiver.start()
    try:
        some = folder / "some.jsonl"
        write_captures(some, events // 40)
        address = f"http://127.0.0.1:{receiver.target.port}"
        seconds, _, said = usher(
            folder, f"sqlite:///{folder / 'unused.db'}", "replay", str(some), "--to", address
        )
        result = load.run(
            receiver.target,
            SECRET,
            seconds=10,
            connections=16,
            count=60_000,
            workdir=folder,
        )
        receiver.ensure_alive()
    finally:
        receiver.kill()
    return {
        "one connection (usher replay --to)": said["played"] / seconds,
        "16 connections (wrk, signups)": result.per_second,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="replayed from a file")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    asked = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(describe(folder))
        (folder / "policy.toml").write_text(POLICY)
        write_captures(folder / "a.jsonl", asked.events)
        url = f"sqlite:///{folder / 'replayed.db'}"
        seconds, peak, said = usher(folder, url, "replay", str(folder / "a.jsonl"))
        assert said["played"] == asked.events // 5 * 5, said
        inside = said["played"] / seconds
        figures |= {"replay_per_second": inside, "replay_peak_mib": peak}
        print(f"replay of {said['played']:,} events: {seconds:.1f} s, "
              f"{inside:,.0f}/s, peak {peak} MiB")  # fmt: skip
        for how, rate in over_http(folder, asked.events).items():
            figures[how] = rate
            print(f"over HTTP, {how}: {rate:,.0f}/s; in process {inside / rate:.1f} times")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
