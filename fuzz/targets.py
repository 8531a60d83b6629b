"""What is fuzzed: functions that take any octets and may raise nothing but what they promise.

A target returns where the input was refused as documented; whatever else it raises is a find. The
test suite runs the kept corpus through them, without the fuzzer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Final
from uuid import UUID

from usher.core.captures.files import Reader
from usher.core.captures.format import Capture, read_line, write_line
from usher.core.captures.redact import Redactor
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, UnknownEvent, parse_event
from usher.core.domain.records import Status
from usher.core.domain.rules import FilePolicy
from usher.core.errors import BodyError, CaptureError, PolicyError, SignatureError
from usher.core.jws import Claims, verify_event
from usher.core.policy_file import parse_policy
from usher.core.strict_json import dumps, loads_object

SECRET: Final = b"the fuzzer's own secret, 32 bytes"
NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECONDS: Final = int(NOW.timestamp())
INSTANCE: Final = UUID(int=0)
BODY: Final = b'{"event":"login"}'
HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
PAYLOAD: Final = json.dumps(
    {
        "iat": SECONDS,
        "iss": "gotrue",
        "sub": str(INSTANCE),
        "sha256": hashlib.sha256(BODY).hexdigest(),
    }
).encode()
POLICY: Final = parse_policy(
    """
[admission]
deny_email_domains = ["mailinator.com"]
[[role]]
grant = "member"
[[role]]
grant = "staff"
email_domains = ["example.com"]
"""
)


def verifier(data: bytes) -> None:
    """The first octet chooses: a whole token, or the header or the payload of a signed one."""
    kind, rest = data[:1], data[1:]
    if kind == b"h":
        signatures = [_seal(rest, PAYLOAD)]
    elif kind == b"p":
        signatures = [_seal(HEADER, rest)]
    else:
        signatures = rest.decode("latin-1").split("\n")
    try:
        claims = verify_event(signatures, BODY, [SECRET], SECONDS)
    except SignatureError:
        return
    if kind not in (b"h", b"p"):
        raise AssertionError("a forged token was accepted")
    if claims.body_digest != hashlib.sha256(BODY).hexdigest():
        raise AssertionError("a digest that is not the body's was accepted")


def body(data: bytes) -> None:
    """A signed body: read, decided for a stranger and for who is known, and answered."""
    claims = Claims(INSTANCE, SECONDS, hashlib.sha256(data).hexdigest(), 0)
    try:
        event = parse_event(data, claims)
    except BodyError:
        return
    if isinstance(event, UnknownEvent):
        return
    first = decide(event, None, POLICY, NOW)
    if first.reply.app_metadata is not None:
        loads_object(dumps(first.reply.app_metadata).encode())
    if first.user is not None:
        again = decide(event, first.user, POLICY, NOW)
        if first.user.status is Status.DELETED and again.user not in (None, first.user):
            raise AssertionError("a tombstone was changed")


def policy(data: bytes) -> None:
    """A policy file: refused with its place, or asked, explained, and granting what are roles."""
    try:
        found = parse_policy(data.decode("utf-8", "replace"))
    except PolicyError as error:
        if not error.where.startswith("policy.toml"):
            raise AssertionError("the place is not named") from error
        return
    _ask(found)


def captures(data: bytes) -> None:
    """A file of captures, or a document: read, redacted, and written so that it reads the same."""
    redactor = Redactor(b"fuzz")
    try:
        for _, step in Reader(BytesIO(data)).steps():
            if isinstance(step, Capture):
                written = write_line(step).encode()
                if write_line(read_line(written)).encode() != written:
                    raise AssertionError("a capture is not read as it was written")
                read_line(write_line(redactor.capture(step)).encode())
    except CaptureError:
        return


def _ask(policy: FilePolicy) -> None:
    policy.describe()
    for email in ("ada@example.com", "Ada <ada@example.com>", "", "no address"):
        event = _signup(email)
        outcome = decide(event, None, policy, NOW)
        dumps(outcome.reply.app_metadata)


def _signup(email: str) -> Event:
    text = json.dumps(
        {
            "event": "signup",
            "instance_id": str(INSTANCE),
            "user": {"id": str(UUID(int=1)), "email": email, "app_metadata": {}},
        }
    ).encode()
    event = parse_event(text, Claims(INSTANCE, SECONDS, "0" * 64, 0))
    if not isinstance(event, Event):
        raise AssertionError("unreachable")
    return event


def _seal(header: bytes, payload: bytes) -> str:
    text = f"{_encode(header)}.{_encode(payload)}"
    return f"{text}.{_encode(hmac.digest(SECRET, text.encode(), 'sha256'))}"


def _encode(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "verifier": verifier,
    "body": body,
    "policy": policy,
    "captures": captures,
}
