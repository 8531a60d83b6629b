"""Forged signatures, and well-signed bodies that are no event, sent to a real server."""

from __future__ import annotations

import json

import pytest

from tests.door import GENERIC_401, JSON, Door, Line, now
from tests.forge import good
from tests.forgeries import FORGERIES, Forgery
from tests.support import account
from usher.core.domain.events import EventName
from usher.core.errors import Check
from usher.emulator.payload import ZERO_INSTANCE, event_body

# Longer than all headers together may be: the server below us answers 431.
TOO_LONG = ("100,000 segments", "header 100,000 deep")
SENDABLE = {name: forgery for name, forgery in FORGERIES.items() if name not in TOO_LONG}


def signup() -> bytes:
    """The body of a signup of somebody new."""
    return event_body("signup", account())


# --- 401 -----------------------------------------------------------------------------------------


def refuse(door: Door, body: bytes, check: Check, *lines: Line) -> None:
    """The request is refused as every other, leaves nothing, and the log has the reason."""
    before = door.count("users"), door.count("deliveries"), door.count("audit")
    answer = door.send(body, *JSON, *lines)
    assert (answer.status, answer.body) == (401, GENERIC_401)
    assert (door.count("users"), door.count("deliveries"), door.count("audit")) == before
    written = door.log()
    assert [(line["event"], line.get("reason")) for line in written] == [
        ("signature.rejected", check.value)
    ]
    for line in lines:
        text = line.decode("latin-1") if isinstance(line, bytes) else line
        value = text.partition(": ")[2]
        assert len(value) < 20 or value not in json.dumps(written), "the token is in the log"


@pytest.mark.parametrize("forgery", SENDABLE.values(), ids=SENDABLE.keys())
def test_a_forged_signature_is_refused(door: Door, forgery: Forgery) -> None:
    """401, the same for each; only the log knows why."""
    body = signup()
    refuse(door, body, forgery.check, f"X-Webhook-Signature: {forgery.make(body, now())}")


HEADERS: dict[str, tuple[list[bytes], Check]] = {
    "missing": ([], Check.SIGNATURE_MISSING),
    "empty": ([b"X-Webhook-Signature:"], Check.SIGNATURE_MISSING),
    "blank": ([b"X-Webhook-Signature:    "], Check.SIGNATURE_MISSING),
    "under another name": ([b"X-Nf-Sign: GOOD"], Check.SIGNATURE_MISSING),
    "as a bearer token": ([b"Authorization: Bearer GOOD"], Check.SIGNATURE_MISSING),
    "with underscores": ([b"X_Webhook_Signature: GOOD"], Check.SIGNATURE_MISSING),
    "twice": ([b"X-Webhook-Signature: GOOD"] * 2, Check.SIGNATURE_REPEATED),
    "good, then bad": (
        [b"X-Webhook-Signature: GOOD", b"x-webhook-signature: bad"],
        Check.SIGNATURE_REPEATED,
    ),
    "bad, then good": (
        [b"X-Webhook-Signature: bad", b"X-WEBHOOK-SIGNATURE: GOOD"],
        Check.SIGNATURE_REPEATED,
    ),
    "good, then empty": (
        [b"X-Webhook-Signature: GOOD", b"X-Webhook-Signature:"],
        Check.SIGNATURE_REPEATED,
    ),
    "joined by a comma": ([b"X-Webhook-Signature: GOOD, GOOD"], Check.SIGNATURE_REPEATED),
}


@pytest.mark.parametrize(("lines", "check"), HEADERS.values(), ids=HEADERS.keys())
def test_only_exactly_one_signature_header_is_looked_at(
    door: Door, lines: list[bytes], check: Check
) -> None:
    """None, an empty one and several are refused alike."""
    body = signup()
    signature = good(body, now()).encode()
    refuse(door, body, check, *(line.replace(b"GOOD", signature) for line in lines))


@pytest.mark.parametrize("octets", [b"\xff\xfe", "é.é.é".encode(), b"a.b.\x80"], ids=repr)
def test_octets_that_are_no_text_are_refused(door: Door, octets: bytes) -> None:
    """A header may hold any octet above 0x7f (RFC 9110, 5.5); no signature does."""
    before = door.count("users"), door.count("deliveries")
    answer = door.send(signup(), *JSON, b"X-Webhook-Signature: " + octets)
    assert (answer.status, answer.body) == (401, GENERIC_401)
    assert (door.count("users"), door.count("deliveries")) == before


def test_an_altered_body_is_refused(door: Door) -> None:
    """A good signature of other bytes is none: changed, cut, or written again."""
    body = signup()
    written_again = json.dumps(json.loads(body)).encode()
    for altered in (body.replace(b"ada@", b"eve@"), body[:-1], body + b"\n", written_again, b""):
        refuse(
            door,
            altered,
            FORGERIES["sha256 of another body"].check,
            f"X-Webhook-Signature: {good(body, now())}",
        )


def test_all_refusals_look_the_same(door: Door) -> None:
    """Not one header tells a wrong key from a stale token or a missing header."""
    body, seen = signup(), set()
    for name in (
        "wrong key",
        "iat 301 s back",
        "alg none",
        "sub missing",
        "1 segment",
        "4097 characters",
    ):
        line = f"X-Webhook-Signature: {FORGERIES[name].make(body, now())}"
        answer = door.send(body, *JSON, line)
        seen.add((answer.status, answer.body, *(h for h in answer.headers if h[0] != "date")))
    answer = door.send(body, *JSON)
    seen.add((answer.status, answer.body, *(h for h in answer.headers if h[0] != "date")))
    assert len(seen) == 1


HUGE = {name: FORGERIES[name].make(b"", 0) for name in TOO_LONG} | {"1 MB": "a" * 1_000_000}


@pytest.mark.parametrize("token", HUGE.values(), ids=HUGE.keys())
def test_a_huge_token_is_refused_unread(door: Door, token: str) -> None:
    """The server below us ends the request before it is one of ours."""
    head = "POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: "
    try:
        status = door.exchange(f"{head}{token}\r\nContent-Length: 0\r\n\r\n".encode()).status
    except ConnectionError:  # it closed the connection while we were still sending
        status = 431
    assert status == 431


# --- 400 after a good signature ------------------------------------------------------------------


def user(**fields: object) -> bytes:
    """A signup with these fields of the user; None leaves one out."""
    content = json.loads(signup())
    content["user"] = {k: v for k, v in (content["user"] | fields).items() if v is not None}
    return json.dumps(content).encode()


def top(**fields: object) -> bytes:
    """A signup with these fields around the user; None leaves one out."""
    content = json.loads(signup()) | fields
    return json.dumps({k: v for k, v in content.items() if v is not None}).encode()


def with_user_metadata(text: str) -> bytes:
    """A signup with this JSON text as user_metadata."""
    return signup().replace(b'"user_metadata":null', b'"user_metadata":' + text.encode())


BODIES = {
    "empty": (b"", "body_json"),
    "not UTF-8": (with_user_metadata('{"a":"?"}').replace(b"?", b"\xff"), "body_json"),
    "half a pair as UTF-8": (
        with_user_metadata('{"a":"?"}').replace(b"?", b"\xed\xa0\x80"),
        "body_json",
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + signup(), "body_json"),
    "UTF-16": (signup().decode().encode("utf-16"), "body_json"),
    "UTF-16 without a mark": (signup().decode().encode("utf-16-be"), "body_json"),
    "a list": (b"[" + signup() + b"]", "body_json"),
    "null": (b"null", "body_json"),
    "cut": (signup()[:-1], "body_json"),
    "two documents": (signup() * 2, "body_json"),
    "a key twice": (b'{"event":"login",' + signup()[1:], "body_json"),
    "NaN": (with_user_metadata('{"a":NaN}'), "body_json"),
    "U+0000 as it is": (with_user_metadata('{"a":"\0"}'), "body_json"),
    "no event": (top(event=None), "body_field"),
    "event a number": (top(event=1), "body_field"),
    "no instance": (top(instance_id=None), "body_field"),
    "instance no UUID": (top(instance_id="0"), "body_field"),
    "another instance": (top(instance_id=str(ZERO_INSTANCE)[:-1] + "1"), "instance_mismatch"),
    "no user": (top(user=None), "body_field"),
    "user a list": (top(user=[]), "body_field"),
    "user a text": (top(user="ada"), "body_field"),
    "no user id": (user(id=None), "body_field"),
    "user id a number": (user(id=7), "body_field"),
    "user id no UUID": (user(id="../../etc/passwd"), "body_field"),
    "user id without hyphens": (user(id="5a6c2a0e7a594a709d1b7c8e2e2f0a51"), "body_field"),
    "email a list": (user(email=["ada@example.com"]), "body_field"),
    "role a list": (user(role=["admin"]), "body_field"),
    "app_metadata a list": (user(app_metadata=[]), "body_field"),
    "user_metadata a text": (user(user_metadata="x"), "body_field"),
    "a time a number": (user(created_at=1_700_000_000), "body_field"),
    "a time out of range": (user(updated_at="9999-12-31T23:59:59-05:00"), "body_field"),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES.keys())
def test_a_well_signed_body_that_is_no_event_is_kept_as_invalid(
    door: Door, body: bytes, code: str
) -> None:
    """400 with its code; the ledger has it, nobody is created, and a retry gets the same answer."""
    before, second = (door.count("users"), door.count("audit")), now()
    answer = door.deliver(body, at=second)
    assert (answer.status, answer.code) == (400, code)
    assert door.deliver(body, at=second).body == answer.body
    assert door.ledger(body) == [("", "invalid", 400, body)]
    assert (door.count("users"), door.count("audit")) == before


@pytest.mark.parametrize("expected", list(EventName))
def test_a_single_event_url_takes_no_other_event(door: Door, expected: EventName) -> None:
    """Another known event, and one we do not know, are body trouble there."""
    others = [name for name in EventName if name is not expected]
    for name in (*others, "passwordchanged"):
        body = top(event=str(name))
        before = door.count("users")
        answer = door.deliver(body, f"identity-{expected}")
        assert (answer.status, answer.code) == (400, "event_mismatch")
        assert door.ledger(body) == [("", "invalid", 400, body)]
        assert door.count("users") == before


@pytest.mark.parametrize("name", ["passwordchanged", "Signup", "x" * 10_000], ids=lambda n: n[:20])
def test_an_unknown_event_is_kept_without_effect(door: Door, name: str) -> None:
    """204: a newer Identity must not be blocked by us."""
    body, before = top(event=name), door.count("users")
    answer = door.deliver(body)
    assert (answer.status, answer.body) == (204, b"")
    assert door.ledger(body) == [(name, "ignored", 204, body)]
    assert door.count("users") == before
