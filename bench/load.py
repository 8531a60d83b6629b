"""Distinct, freshly signed events, and wrk to send them.

A request is built once, in Python, before the clock starts; wrk then only reads it from a file.
All requests of a file have the same size, so that wrk need not look for their ends.
"""

import base64
import hashlib
import hmac
import json
import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("load.lua")
ZERO_UUID = str(uuid.UUID(int=0))
REQUEST_TIMEOUT_SECONDS = 10
EARLIER_SECONDS = 240


class LoadError(RuntimeError):
    """The load could not be made, or its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a receiver listens for events."""

    port: int
    path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Result:
    """One run of wrk. `accepted` answers were 2xx, as are those of `per_second`; times in ms."""

    accepted: int
    per_second: float
    answered_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    bad_status: int
    connection_errors: int
    timeouts: int

    @property
    def errors(self) -> int:
        return self.bad_status + self.connection_errors + self.timeouts


def _segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_HEADER = _segment(b'{"alg":"HS256","typ":"JWT"}')


def sign(body: bytes, secret: str, iat: int) -> bytes:
    """The compact JWS that Identity sends in X-Webhook-Signature."""
    digest = hashlib.sha256(body).hexdigest()
    claims = {"iss": "gotrue", "sub": ZERO_UUID, "iat": iat, "sha256": digest}
    signing = _HEADER + b"." + _segment(json.dumps(claims, separators=(",", ":")).encode())
    return signing + b"." + _segment(hmac.digest(secret.encode(), signing, "sha256"))


Signed = tuple[str, bytes, int]
"""An event's name, its body, and when it is signed."""


def event(name: str, user_id: uuid.UUID, at: int, app_metadata: dict[str, Any]) -> bytes:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    user = {
        "id": str(user_id),
        "aud": "",
        "role": "",
        "email": f"user-{user_id.hex[:16]}@example.com",
        "confirmation_sent_at": moment,
        "app_metadata": {"provider": "email"} | app_metadata,
        "user_metadata": {"full_name": f"User {user_id.hex[:8]}"},
        "created_at": moment,
        "updated_at": moment,
    }
    event = {"event": name, "instance_id": ZERO_UUID, "user": user}
    return json.dumps(event, separators=(",", ":")).encode()


def signup(now: int) -> bytes:
    """The body of one signup by somebody new, as Identity writes it."""
    return event("signup", uuid.uuid4(), now, {})


def signups(people: Iterable[uuid.UUID], now: int) -> Iterator[Signed]:
    """Of these people, signed at this time."""
    for person in people:
        yield "signup", event("signup", person, now, {}), now


def logins(people: Sequence[uuid.UUID], count: int, now: int) -> Iterator[Signed]:
    """Of these people in turns, in any order; each time a second later, hence another event."""
    passes = -(-count // len(people))
    if passes >= EARLIER_SECONDS:
        raise LoadError(f"{len(people)} people are too few for {count} different logins")
    order = random.sample(people, len(people))
    for n in range(count):
        at = now - passes + n // len(order)
        yield "login", event("login", order[n % len(order)], now, {"roles": ["member"]}), at


def _requests(target: Target, secret: str, events: Iterable[Signed]) -> Iterator[bytes]:
    for name, body, at in events:
        yield (
            f"POST {target.path} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{target.port}\r\n"
            "Content-Type: application/json\r\n"
            f"X-Netlify-Event: identity_{name}\r\n"
            f"X-Webhook-Signature: {sign(body, secret, at).decode()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def build(file: Path, target: Target, secret: str, events: Iterable[Signed]) -> int:
    """Write the requests, and return the size of each in bytes."""
    size = 0
    with file.open("wb") as out:
        for request in _requests(target, secret, events):
            size = size or len(request)
            if len(request) != size:
                raise LoadError(f"request of {len(request)} bytes among requests of {size}")
            out.write(request)
    return size


def find_wrk() -> str:
    """The path of wrk, or a sentence that says how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise LoadError("wrk is not installed (Debian: apt-get update && apt-get install wrk)")
    return found


def run(
    target: Target,
    secret: str,
    *,
    seconds: int,
    connections: int,
    count: int,
    workdir: Path,
    events: Iterable[Signed] = (),
    pause_ms: int = 0,
) -> Result:
    """Send up to `count` events for `seconds` and report what came back.

    Args:
        events: as many, sent in this order; without any, signups of new people.
        pause_ms: how long each connection rests before it sends the next.
    """
    pool = workdir / f"requests-{uuid.uuid4().hex}.bin"
    new_people = (uuid.uuid4() for _ in range(count))
    size = build(pool, target, secret, events or signups(new_people, int(time.time())))
    command = [find_wrk(), "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{REQUEST_TIMEOUT_SECONDS}s"]
    command += ["--script", str(SCRIPT), target.url, "--"]
    command += [str(pool), str(size), str(count), str(pause_ms)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    pool.unlink()
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise LoadError(f"wrk failed ({done.returncode}): {done.stdout}{done.stderr}".strip())
    raw: dict[str, int] = json.loads(line.removeprefix("RESULT "))
    if raw["exhausted"]:
        raise LoadError(f"{count} requests were too few for {seconds} s")
    accepted = raw["requests"] - raw["bad_status"]
    return Result(
        accepted=accepted,
        per_second=accepted / (raw["duration_us"] / 1e6),
        answered_per_second=raw["requests"] / (raw["duration_us"] / 1e6),
        p50_ms=raw["p50_us"] / 1000,
        p99_ms=raw["p99_us"] / 1000,
        max_ms=raw["max_us"] / 1000,
        bad_status=raw["bad_status"],
        connection_errors=raw["connection_errors"],
        timeouts=raw["timeouts"],
    )
