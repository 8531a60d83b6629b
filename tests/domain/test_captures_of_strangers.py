"""Files of captures that somebody else made: nothing in them is believed that can be checked."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import NOON, SECRET, account
from usher.cli.replay_http import HttpReplayer
from usher.core.captures.files import Reader
from usher.core.captures.format import (
    MAX_TIME,
    SIGNATURE,
    Capture,
    from_delivery,
    read_line,
    read_step,
    require_fit,
    to_delivery,
    write_line,
)
from usher.core.captures.sources import read_document
from usher.core.domain.events import delivery_id
from usher.core.domain.records import Delivery, Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import CaptureError, SettingsError
from usher.core.jws import PUBLIC_SECRET, sign_event
from usher.core.settings import Settings
from usher.emulator.payload import ZERO_INSTANCE, event_body

GOOD: dict[str, Any] = {
    "usher_capture": 1, "received_at": "2026-11-23T12:00:00Z", "method": "POST", "path": "/a",
    "headers": {}, "body": "",
}  # fmt: skip


def line(**members: object) -> bytes:
    """A capture with other members."""
    return json.dumps(GOOD | members).encode()


@pytest.mark.parametrize(
    "path",
    ["", "@127.0.0.1:9/x", ":9/x", ".evil.example/x", "x", "\\x", "http://evil.example/", " /x",
     "/a\r\nHost: evil", "/a\x00", "/a\x7f", "/a\u2028b", "/" + "a" * 3000],
)  # fmt: skip
def test_g1_a_path_begins_with_a_slash(path: str) -> None:
    """After a host's name, anything else would name another host."""
    with pytest.raises(CaptureError, match=r"path must begin with /|U\+0000"):
        read_line(line(path=path))


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nX:", "PO ST", "POST\n", "ä", "A" * 300])
def test_g1_a_method_is_a_token(method: str) -> None:
    """Else it would be more than a method."""
    with pytest.raises(CaptureError, match="method must be a token"):
        read_line(line(method=method))


@pytest.mark.parametrize(
    "headers",
    [{"": "x"}, {"a b": "x"}, {"a:": "x"}, {"a\r\n": "x"}, {"ä": "x"}, {"a": "x\r\nHost: evil"},
     {"a": "\n"}, {"a": "\x7f"}, {"a": "€"}, {"Content-Type": "a", "content-type": "b"},
     {"x-webhook-signature": "a", "X-Webhook-Signature": "b"}],
)  # fmt: skip
def test_g1_headers_are_headers(headers: dict[str, str]) -> None:
    """Names are tokens, values have no line ends, none stands twice."""
    with pytest.raises(CaptureError, match="headers: "):
        read_line(line(headers=headers))


def test_g1_headers_that_matter_have_their_usual_names() -> None:
    """Whatever letter case a proxy wrote."""
    found = read_line(line(headers={"x-WEBHOOK-signature": "t", "CONTENT-type": "a", "X-Own": "b"}))
    assert found.headers == {SIGNATURE: "t", "Content-Type": "a", "X-Own": "b"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_g1_no_path_leads_to_another_host(path: str) -> None:
    """Whatever is read leads to the host of ``--to``, at that path."""
    try:
        capture = read_line(line(path=path))
    except CaptureError:
        return
    made = HttpReplayer("http://target.example:81", SECRET)._address(capture.path)
    parts = urlsplit(made)
    assert (parts.scheme, parts.netloc) == ("http", "target.example:81")
    assert (unquote(parts.path), parts.query, parts.fragment) == (path, "", "")


@pytest.mark.parametrize(
    ("url", "path"),
    [("https://x.org/a?b", "/a"), ("https://x.org?b=/c", "/"), ("http://u@h:1/@e/x#f", "/@e/x"),
     ("HTTPS://x.org", "/")],
)  # fmt: skip
def test_g1_a_har_files_urls_give_their_paths(url: str, path: str) -> None:
    """And nothing of their hosts."""
    [found] = read_document(har(url), NOON)
    assert found.path == path


@pytest.mark.parametrize("url", ["@evil", "x.org/a", "file:///etc/passwd", "http://x.org/a\n"])
def test_g1_a_har_files_urls_are_checked_as_well(url: str) -> None:
    """The entry is named."""
    with pytest.raises(CaptureError, match=r"log\.entries\[0\]"):
        read_document(har(url), NOON)


def har(url: str) -> bytes:
    """A HAR file of one request."""
    request = {"method": "POST", "url": url, "headers": [{"name": SIGNATURE, "value": "t"}]}
    entry = {"startedDateTime": "2026-11-23T12:00:00Z", "request": request}
    return json.dumps({"log": {"entries": [entry]}}).encode()


def test_g2_a_byte_order_mark_is_skipped() -> None:
    """Editors on Windows write one."""
    file = b"\xef\xbb\xbf" + line() + b"\n" + line(path="/b") + b"\n"
    assert [(n, step.path) for n, step in steps(file)] == [(1, "/a"), (2, "/b")]
    assert [step.path for _, step in steps(b"\xef\xbb\xbf" + har("http://x/y"))] == ["/y"]
    with pytest.raises(CaptureError, match="UTF-16"):
        steps((line() + b"\n").decode().encode("utf-16"))


def steps(data: bytes) -> list[tuple[int, Any]]:
    """What a file is read as."""
    return list(Reader(io.BytesIO(data)).steps())


@pytest.mark.parametrize("data", [b"[]", b"[" + line() + b"]", b"\n [\n" + line() + b"\n]\n"])
def test_g2_an_array_is_named(data: bytes) -> None:
    """With what to do about it."""
    with pytest.raises(CaptureError, match="JSON array"):
        steps(data)


def test_g2_lines_are_counted_from_the_first() -> None:
    """Empty ones before it, other orders of members and blanks are no matter."""
    spaced = json.dumps({"path": "/s"} | {k: v for k, v in GOOD.items() if k != "path"})
    file = b"\n\n" + spaced.encode() + b"\n{x}\n"
    reader = Reader(io.BytesIO(file)).steps()
    assert next(reader)[0] == 3
    with pytest.raises(CaptureError, match=r"^line 4: no JSON object"):
        next(reader)
    with pytest.raises(CaptureError, match="several lines"):
        steps(json.dumps(GOOD, indent=1).encode())


@pytest.mark.parametrize("issued_at", [-1, MAX_TIME + 1, 10**30, -(10**30)])
def test_g2_a_time_out_of_range_is_named(issued_at: int) -> None:
    """No database could keep it."""
    signature = sign_event(b"{}", ZERO_INSTANCE, issued_at, PUBLIC_SECRET)
    capture = Capture(NOON, "POST", "/", {SIGNATURE: signature}, b"{}")
    with pytest.raises(CaptureError, match="out of range"):
        capture.signed_by()


BODY = event_body("signup", account(), ZERO_INSTANCE)
DIGEST = hashlib.sha256(BODY).hexdigest()
SIGNED_AT = int(NOON.timestamp())


def delivery(**changes: Any) -> Delivery:
    """A delivery as the ledger keeps it."""
    kept = Delivery(
        delivery_id(ZERO_INSTANCE, "signup", SIGNED_AT, DIGEST), ZERO_INSTANCE, "signup",
        UUID(json.loads(BODY)["user"]["id"]), SIGNED_AT, NOON, "/", BODY, DIGEST, 0,
        Outcome.APPLIED, (), "p", Reply(204, "", ""),
    )  # fmt: skip
    return replace(kept, **changes)


def test_g2_what_we_export_fits() -> None:
    """An event, a body that was no event, one that was erased."""
    invalid = delivery_id(ZERO_INSTANCE, "", SIGNED_AT, hashlib.sha256(b"x").hexdigest())
    for kept in (
        delivery(),
        delivery(body=None),
        delivery(id=invalid, event="", user_id=None, body=b"x", outcome=Outcome.INVALID,
                 body_digest=hashlib.sha256(b"x").hexdigest()),
    ):  # fmt: skip
        require_fit(to_delivery(read_line(write_line(from_delivery(kept)).encode())))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "0" * 72}, "id does not fit"),
        ({"id": delivery_id(ZERO_INSTANCE, "login", SIGNED_AT, DIGEST)}, "id does not fit"),
        ({"id": delivery_id(ZERO_INSTANCE, "signup", SIGNED_AT + 1, DIGEST)}, "id does not fit"),
        ({"body_digest": "0" * 64}, "body_digest is not"),
        ({"body": b"{}"}, "body_digest is not"),
        ({"event": "login"}, "event and user_id"),
        ({"user_id": uuid4()}, "event and user_id"),
        ({"user_id": None}, "event and user_id"),
        ({"outcome": Outcome.INVALID}, "id does not fit"),
        ({"body": b"x", "body_digest": hashlib.sha256(b"x").hexdigest()}, "no event that could"),
        ({"body": None, "reply": Reply(200, "application/json", "{}")}, "erased"),
    ],
)
def test_g2_a_decision_about_something_else_is_refused(changes: dict[str, Any], said: str) -> None:
    """Everything that follows from the body is worked out anew."""
    with pytest.raises(CaptureError, match=said):
        require_fit(to_delivery(from_delivery(delivery(**changes))))


@pytest.mark.parametrize("version", [True, 1.0, "1", None, [], 2, 0])
@pytest.mark.parametrize("kind", ["usher_capture", "usher_act"])
def test_h7_a_version_is_the_number(kind: str, version: object) -> None:
    """JSON's ``true`` is no 1, though Python has it so."""
    act: dict[str, Any] = {
        "at": "2026-11-23T12:00:00Z", "actor": "a", "action": "b", "reason": "", "before": None,
        "after": {}, "instance_id": str(ZERO_INSTANCE), "user_id": str(ZERO_INSTANCE),
    }  # fmt: skip
    document = GOOD if kind == "usher_capture" else act
    assert read_step(
        json.dumps({kind: 1} | {k: document[k] for k in document if k != kind}).encode()
    )
    with pytest.raises(CaptureError, match="version"):
        read_step(json.dumps(document | {kind: version}).encode())


@pytest.mark.parametrize(
    "name",
    ["WEBHOOK_SECRETS", "JWT_SECRET", "BRIDGE_SECRET", "PROXY_SECRET", "METRICS_TOKEN"],
)
def test_g3_the_public_secret_is_nobodys(name: str) -> None:
    """Alone or beside good ones, padded or not: everybody could sign."""
    public = PUBLIC_SECRET.decode()
    good = "g" * 32
    several = [public, f" {public} "]
    if name.endswith("SECRETS") or name in ("BRIDGE_SECRET", "PROXY_SECRET"):
        several += [f"{good},{public}", f"{public}, {good}"]
    for value in several:
        given = {
            "USHER_WEBHOOK_SECRETS": good, "USHER_BRIDGE_URL": "https://x.example",
            "USHER_BRIDGE_SECRET": good, f"USHER_{name}": value,
        }  # fmt: skip
        with pytest.raises(SettingsError, match=f"USHER_{name} "):
            Settings.from_env(given)
