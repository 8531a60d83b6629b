"""Requests from elsewhere as captures: a browser's or proxy's HAR file, or a bare body. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import datetime
from typing import Any
from uuid import UUID

from usher.core.captures.format import ARRAY, HEADERS, SIGNATURE, Capture, require_request
from usher.core.domain.events import parse_time
from usher.core.domain.reply import Reply
from usher.core.errors import CaptureError
from usher.core.jws import PUBLIC_SECRET, sign_event
from usher.core.opaque import read_envelope
from usher.core.strict_json import StrictJsonError, loads_object

_URL = re.compile(r"https?://[^/?#]*([^?#]*)", re.IGNORECASE)


def read_document(data: bytes, now: datetime) -> list[Capture]:
    """Read a whole file of another kind: HAR, or one event's body.

    Args:
        now: the time of receipt for a bare body, which has none.

    Raises:
        CaptureError: neither a HAR file nor an event's body.
    """
    try:
        document = _read(data)
    except StrictJsonError as error:
        if data.lstrip().startswith(b"["):
            raise CaptureError(ARRAY) from None
        raise CaptureError(
            f"neither captures (a JSON object on each line), nor HAR, nor an event's body: {error}"
        ) from None
    if "log" in document:
        return _har(document["log"])
    if "event" in document:
        return [_bare(data, document, now)]
    if "usher_capture" in document or "usher_act" in document:
        raise CaptureError("this capture is spread over several lines; it must be on one")
    raise CaptureError("neither captures, nor HAR (no log), nor an event's body (no event)")


def _read(data: bytes) -> dict[str, Any]:
    """A HAR file of any size, or an event's body with whatever metadata."""
    try:
        return loads_object(data)
    except StrictJsonError:
        return read_envelope(data, "user")[0]


def _bare(data: bytes, document: dict[str, Any], now: datetime) -> Capture:
    try:
        instance_id = UUID(document["instance_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CaptureError("the event's instance_id is missing or no UUID") from None
    signature = sign_event(data, instance_id, int(now.timestamp()), PUBLIC_SECRET)
    headers = {"Content-Type": "application/json", SIGNATURE: signature}
    return Capture(now, "POST", "/.netlify/functions/identity", headers, data)


def _har(log: Any) -> list[Capture]:
    """Every request with a signature (HAR 1.2: log.entries[].request, .response)."""
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise CaptureError("the HAR file has no log.entries")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            capture = _har_entry(entry)
        except CaptureError as error:
            raise CaptureError(f"log.entries[{number - 1}]: {error.problem}") from None
        except (KeyError, TypeError, ValueError, AttributeError):  # binascii.Error is one
            raise CaptureError(f"log.entries[{number - 1}] is not as HAR 1.2 wants it") from None
        if capture is not None:
            found.append(capture)
    if not found:
        raise CaptureError(f"no request in the HAR file has the header {SIGNATURE}")
    return found


def _har_entry(entry: dict[str, Any]) -> Capture | None:
    request, response = entry["request"], entry.get("response") or {}
    headers = {
        HEADERS[header["name"].lower()]: str(header["value"])
        for header in request["headers"]
        if header["name"].lower() in HEADERS
    }
    if SIGNATURE not in headers:
        return None
    posted = request.get("postData") or {}
    text = posted.get("text", "")
    encoded = posted.get("encoding") == "base64"
    content = response.get("content") or {}
    answer = None
    if response.get("status"):
        answer = Reply(
            int(response["status"]), str(content.get("mimeType", "")), str(content.get("text", ""))
        )
    method, path = str(request["method"]), _path(request["url"])
    return Capture(
        received_at=parse_time(entry["startedDateTime"]),
        method=method,
        path=path,
        headers=require_request(method, path, headers),
        body=b64decode(text, validate=True) if encoded else text.encode(),
        answer=answer,
    )


def _path(url: str) -> str:
    """The path of an absolute URL, without query and fragment."""
    found = _URL.match(url)
    if found is None:
        raise ValueError(url)
    return found[1] or "/"
