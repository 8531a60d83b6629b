"""Captures as lines: every kind comes back as it was written, and nothing else is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.forge import encode, seal
from tests.support import NOON
from usher.core.captures.format import (
    SIGNATURE,
    Capture,
    Decided,
    from_delivery,
    read_line,
    read_step,
    to_delivery,
    write_act,
    write_line,
)
from usher.core.captures.sources import read_document
from usher.core.domain.policy import Reason
from usher.core.domain.records import AuditEntry, Delivery, Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import CaptureError
from usher.core.jws import PUBLIC_SECRET, sign_event, verify_event

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
TIMES = st.datetimes(
    datetime(1990, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
DECIDED = st.builds(
    Decided, TEXT, TEXT, st.none() | st.uuids(), TEXT, TEXT,
    st.lists(st.builds(Reason, TEXT, TEXT), max_size=2).map(tuple), TEXT,
)  # fmt: skip
PATHS = TEXT.filter(str.isprintable).map("/{}".format)
NAMES = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,9}", fullmatch=True)
HEADERS = st.dictionaries(
    NAMES.filter(lambda name: name.lower() not in ("content-type",)),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
    max_size=2,
).filter(lambda headers: len({name.lower() for name in headers}) == len(headers))
CAPTURES = st.builds(
    Capture,
    TIMES,
    st.just("POST"),
    PATHS,
    HEADERS,
    st.none() | st.binary(max_size=50) | TEXT.map(str.encode),
    st.none() | st.builds(Reply, st.integers(100, 599), TEXT, TEXT),
    st.none() | DECIDED,
    st.dictionaries(st.sampled_from(["note", "x"]), TEXT),
)
ACT = AuditEntry("role.granted", "cli:x", UUID(int=0), UUID(int=1), NOON, {"a": 1}, {"a": 2}, "why")


@given(CAPTURES)
def test_a_capture_comes_back_as_it_was_written(capture: Capture) -> None:
    """Body bytes of any kind, unknown members, times to the microsecond."""
    line = write_line(capture).encode()
    assert b"\n" not in line
    assert read_line(line) == read_step(line) == capture


@pytest.mark.parametrize("before", [None, {"a": 1}])
def test_an_act_comes_back_as_it_was_written(before: Any) -> None:
    """Beside captures, told apart by its first member."""
    act = replace(ACT, before=before)
    assert read_step(write_act(act).encode()) == act


def test_the_public_secret_signs_for_the_same_instance_and_time() -> None:
    """So that a capture passes the whole verification, as of its own time."""
    token = sign_event(b"{}", UUID(int=5), 7, b"s" * 32)
    capture = Capture(NOON, "POST", "/", {SIGNATURE: token}, b"{}").signed_with(PUBLIC_SECRET)
    claims = verify_event([capture.headers[SIGNATURE]], b"{}", [PUBLIC_SECRET], 7)
    assert (claims.instance_id, claims.issued_at) == (UUID(int=5), 7)


HEAD = encode(b'{"alg":"HS256"}')


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b.c", seal(HEAD, encode(b"{}")), seal(HEAD, encode(b'{"sub":"x","iat":1}')),
     seal(HEAD, encode(b'{"sub":1,"iat":1}')),
     seal(HEAD, encode(b'{"sub":"00000000-0000-0000-0000-000000000000","iat":"1"}'))],
)  # fmt: skip
def test_what_cannot_be_signed_again_is_said(token: str) -> None:
    """No instance, no time, or no body."""
    capture = Capture(NOON, "POST", "/", {SIGNATURE: token}, b"{}")
    with pytest.raises(CaptureError, match="X-Webhook-Signature"):
        capture.signed_with(PUBLIC_SECRET)
    with pytest.raises(CaptureError, match="erased"):
        replace(capture, body=None).signed_with(PUBLIC_SECRET)
    with pytest.raises(CaptureError, match="replay it instead"):
        to_delivery(capture)


def test_a_decision_of_no_known_outcome_is_not_taken_for_one() -> None:
    """The capture can be read, but its delivery cannot join a ledger as it is."""
    capture = from_delivery(
        Delivery(
            "0", UUID(int=0), "", None, 1, NOON, "/", b"", "0", 0, Outcome.IGNORED, (), "p",
            Reply(204),
        )
    )  # fmt: skip
    assert capture.decided is not None
    odd = replace(capture, decided=replace(capture.decided, outcome="odd"))
    assert read_line(write_line(odd).encode()) == odd
    with pytest.raises(CaptureError, match="'odd' is no outcome"):
        to_delivery(odd)


GOOD: dict[str, Any] = {
    "usher_capture": 1, "received_at": "2026-11-23T12:00:00Z", "method": "POST", "path": "/",
    "headers": {}, "body": "",
    "answer": {"status": 204, "content_type": "", "body": ""},
    "decided": {"id": "", "event": "", "user_id": None, "body_digest": "", "outcome": "",
                "reasons": [], "policy": ""},
}  # fmt: skip
ABSENT = object()
WRONG: list[tuple[str, object, str]] = [
    ("usher_capture", 2, "is of version"), ("usher_capture", True, "is of version true;"),
    ("usher_capture", "1", 'is of version "1";'),
    ("usher_capture", ABSENT, "names no version"), ("received_at", "noon", "RFC 3339"),
    ("received_at", 5, "must be a string"), ("method", None, "method must be a string"),
    ("headers", [], "headers must be an object"), ("headers", {"a": 1}, "every value"),
    ("body", ABSENT, "exactly one"), ("body_base64", "", "exactly one"),
    ("body", 5, "body must be"),
    ("answer", [], "answer must be"), ("answer.status", 99, "number of HTTP"),
    ("answer.status", "204", "number of HTTP"), ("answer.body", None, "body must be"),
    ("decided", 1, "decided must be"), ("decided.reasons", {}, "list of objects"),
    ("decided.reasons", [1], "list of objects"), ("decided.reasons", [{}], "rule must be"),
    ("decided.user_id", "x", "UUID or null"), ("decided.id", 1, "id must be"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "said"), WRONG)
def test_a_wrong_member_is_named(where: str, value: object, said: str) -> None:
    """With what it must be."""
    document = json.loads(json.dumps(GOOD))
    place, _, key = where.rpartition(".")
    target = document[place] if place else document
    if value is ABSENT:
        del target[key]
    else:
        target[key] = value
    assert read_line(json.dumps(GOOD).encode())
    with pytest.raises(CaptureError, match=said):
        read_line(json.dumps(document).encode())


NO_BASE64 = (
    b'{"usher_capture":1,"body_base64":"?","headers":{},"received_at":"2026-01-01T00:00:00Z",'
    b'"method":"POST","path":"/"}'
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (NO_BASE64, "no base64"),
        (b"nonsense", "no JSON object"), (b'{"usher_act"', "no JSON object"),
        (b'{"usher_act":2}', "acts of version 1"), (b'{"usher_act":1}', "must be a string"),
        (write_act(ACT).replace("00000000-", "x").encode(), "must be UUIDs"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused(line: bytes, said: str) -> None:
    """Of either kind."""
    with pytest.raises(CaptureError, match=said):
        read_step(line)


def har(answer: dict[str, Any] | None = None, **request: Any) -> bytes:
    """A HAR file of one request."""
    headers = [{"name": "x-webhook-signature", "value": "t"}]
    usual = {
        "method": "POST",
        "url": "https://x.org/a?b",
        "headers": headers,
        "postData": {"text": "{}"},
    }
    entry = {"startedDateTime": "2026-11-23T12:00:00.000Z", "request": usual | request}
    entry |= {"response": answer} if answer else {}
    return json.dumps({"log": {"entries": [entry]}}).encode()


def test_a_har_entry_becomes_a_capture() -> None:
    """Path without query, the headers that matter, no answer where none came."""
    (capture,) = read_document(har(), NOON)
    assert capture == Capture(NOON, "POST", "/a", {SIGNATURE: "t"}, b"{}")


def test_a_har_entry_has_its_answer() -> None:
    """As the browser or the proxy saw it."""
    content = {"mimeType": "application/json", "text": '{"a":1}'}
    (capture,) = read_document(har({"status": 200, "content": content}), NOON)
    assert capture.answer == Reply(200, "application/json", '{"a":1}')


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither captures"), (b'{"a":1}', "no log"), (b'{"log":1}', "no log.entries"),
        (b'{"log":{"entries":[1]}}', r"entries\[0\]"), (har(headers=[]), "no request"),
        (har(url=5), r"entries\[0\]"),
        (har(postData={"text": "?", "encoding": "base64"}), "HAR 1.2"),
        (b'{"event":"signup"}', "instance_id"), (b'{"event":"x","instance_id":1}', "instance_id"),
    ],
)  # fmt: skip
def test_a_file_that_is_nothing_we_know_is_refused(data: bytes, said: str) -> None:
    """With what it would have to be."""
    with pytest.raises(CaptureError, match=said):
        read_document(data, NOON)


@pytest.mark.parametrize("body", [b"a\x00b", b"\xff", b""])
def test_a_body_that_json_cannot_hold_travels_as_base64(body: bytes) -> None:
    """Bytes are bytes; an event whose body could not be read names none."""
    delivery = Delivery(
        "0", UUID(int=0), "", None, 1, NOON, "/", body, "0", 0, Outcome.INVALID, (), "p",
        Reply(400, "", ""),
    )  # fmt: skip
    capture = from_delivery(delivery)
    assert read_line(write_line(capture).encode()) == capture
    assert "X-Netlify-Event" not in capture.headers
    assert to_delivery(capture) == replace(delivery, origin="replay")
