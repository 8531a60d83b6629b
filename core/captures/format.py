"""Captures: requests from Identity as lines of JSON, to be kept, shared and played back. Pure.

Our captures are signed again with a public secret, so that a replay anywhere verifies them in full.
No server accepts that secret. docs/captures.md describes the format, docs/capture.schema.json
defines it.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.bounds import MAX_LINE_DEPTH
from usher.core.domain.documents import utc
from usher.core.domain.events import Event, delivery_id, parse_event, parse_time
from usher.core.domain.policy import Reason
from usher.core.domain.records import REPLAY, AuditEntry, Delivery, Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import BodyError, CaptureError, SignatureError
from usher.core.jws import PUBLIC_SECRET, Claims, read_unverified, sign_event
from usher.core.strict_json import StrictJsonError, dumps, loads_object

VERSION: Final = 1
ARRAY: Final = (
    "this is a JSON array; captures are one JSON object on each line, as jq -c '.[]' writes them"
)
SIGNATURE: Final = "X-Webhook-Signature"
EVENT_HEADER: Final = "X-Netlify-Event"
HEADERS: Final = {name.lower(): name for name in ("Content-Type", EVENT_HEADER, SIGNATURE)}
"""The headers that matter, by their names in lower case."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""
MAX_PATH: Final = 2_048
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", re.ASCII)
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class Decided(Struct, frozen=True):
    """The decision on a delivery when it was first received.

    Attributes:
        id: of the delivery.
        event, user_id: from its body, which may be erased since.
    """

    id: str
    event: str
    user_id: UUID | None
    body_digest: str
    outcome: str
    reasons: tuple[Reason, ...]
    policy: str


class Capture(Struct, frozen=True):
    """One request with its answer.

    Attributes:
        headers: those that matter, by their usual names.
        body: the exact bytes; None once erased.
        answer, decided: None where they are not known.
        extra: members of the line that this version does not know.
    """

    received_at: datetime
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    answer: Reply | None = None
    decided: Decided | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def signed_with(self, secret: bytes) -> Capture:
        """The same request, signed anew with another secret for the same time.

        Raises:
            CaptureError: it has no body, or no readable signature.
        """
        if self.body is None:
            raise CaptureError("the body was erased, so there is nothing to sign")
        instance_id, issued_at = self.signed_by()
        signature = sign_event(self.body, instance_id, issued_at, secret)
        return replace(self, headers={**self.headers, SIGNATURE: signature})

    def signed_by(self) -> tuple[UUID, int]:
        """The instance and the time (seconds since the epoch) in the signature, not verified.

        Raises:
            CaptureError: there is no readable signature.
        """
        try:
            claims = read_unverified(self.headers.get(SIGNATURE, ""))
            instance_id, issued_at = UUID(claims["sub"]), claims["iat"]
        except (SignatureError, KeyError, ValueError, TypeError, AttributeError):
            raise CaptureError(f"the header {SIGNATURE} is missing or cannot be read") from None
        if type(issued_at) is not int:
            raise CaptureError(f"the header {SIGNATURE} names no time")
        if not 0 <= issued_at <= MAX_TIME:
            raise CaptureError(f"the header {SIGNATURE} names a time (iat) out of range")
        return instance_id, issued_at


def from_delivery(delivery: Delivery) -> Capture:
    """A delivery of the ledger as a capture, signed with the public secret."""
    headers = {"Content-Type": "application/json"}
    if delivery.event:
        headers[EVENT_HEADER] = f"identity_{delivery.event}"
    body = delivery.body if delivery.body is not None else b""
    headers[SIGNATURE] = sign_event(body, delivery.instance_id, delivery.issued_at, PUBLIC_SECRET)
    return Capture(
        received_at=delivery.received_at,
        method="POST",
        path=delivery.path if _is_path(delivery.path) else "/",
        headers=headers,
        body=delivery.body,
        answer=delivery.reply,
        decided=Decided(
            delivery.id,
            delivery.event,
            delivery.user_id,
            delivery.body_digest,
            delivery.outcome.value,
            delivery.reasons,
            delivery.policy,
        ),
    )


def to_delivery(capture: Capture) -> Delivery:
    """A capture as a delivery of the ledger, with its recorded decision.

    Raises:
        CaptureError: it has no decision, no answer, no known outcome, or no readable signature.
    """
    decided, answer = capture.decided, capture.answer
    if decided is None or answer is None:
        raise CaptureError("what was decided and answered is not told; replay it instead")
    try:
        outcome = Outcome(decided.outcome)
    except ValueError:
        raise CaptureError(f"decided: {decided.outcome[:40]!r} is no outcome") from None
    instance_id, issued_at = capture.signed_by()
    return Delivery(
        id=decided.id,
        instance_id=instance_id,
        event=decided.event,
        user_id=decided.user_id,
        issued_at=issued_at,
        received_at=capture.received_at,
        path=capture.path,
        body=capture.body,
        body_digest=decided.body_digest,
        key_index=0,
        outcome=outcome,
        reasons=decided.reasons,
        policy=decided.policy,
        reply=answer,
        origin=REPLAY,
    )


def require_fit(delivery: Delivery) -> None:
    """Insist on a decision about this very body, as of this instance and time.

    Id, digest, event and user are worked out anew; only of what was erased they are believed.

    Raises:
        CaptureError: what the file says contradicts itself.
    """
    body, instance_id, issued_at = delivery.body, delivery.instance_id, delivery.issued_at
    if body is None:
        if delivery.reply.status == 200:
            raise CaptureError("answer: of what was erased there is no answer with metadata")
        return
    digest = hashlib.sha256(body).hexdigest()
    if delivery.body_digest != digest:
        raise CaptureError("decided: body_digest is not the body's SHA-256")
    event, user_id = "", None
    unread = delivery.outcome is Outcome.FAILED and not delivery.event
    if delivery.outcome is not Outcome.INVALID and not unread:
        try:
            found = parse_event(body, Claims(instance_id, issued_at, digest, 0))
        except BodyError as error:
            raise CaptureError(f"decided: the body is no event that could be ({error})") from None
        event = found.name
        user_id = found.user.id if isinstance(found, Event) else None
        if (delivery.event, delivery.user_id) != (event, user_id):
            raise CaptureError("decided: event and user_id are not those of the body")
    if delivery.id != delivery_id(instance_id, event, issued_at, digest):
        raise CaptureError("decided: id does not fit the body and its signature")


def require_request(method: str, path: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Insist on what HTTP can carry, whoever made the file.

    Returns:
        The headers, those that matter by their usual names.

    Raises:
        CaptureError
    """
    if not _TOKEN.fullmatch(method):
        raise CaptureError("method must be a token, such as POST (RFC 9110, 5.6.2)")
    if not _is_path(path):
        raise CaptureError("path must begin with / and hold printable characters only")
    named: dict[str, str] = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise CaptureError(f"headers: {name[:40]!r} is no name of a header")
        if not _VALUE.fullmatch(value):
            raise CaptureError(f"headers: the value of {name[:40]} cannot stand in a header")
        usual = HEADERS.get(name.lower(), name)
        if usual in named:
            raise CaptureError(f"headers: {usual[:40]} stands twice")
        named[usual] = value
    return named


def _is_path(text: str) -> bool:
    return text.startswith("/") and len(text) <= MAX_PATH and text.isprintable()


def write_line(capture: Capture) -> str:
    """A capture as one line, without the line's end."""
    document: dict[str, Any] = {
        "usher_capture": VERSION,
        "received_at": utc(capture.received_at),
        "method": capture.method,
        "path": capture.path,
        "headers": dict(capture.headers),
        **_body_fields(capture.body),
    }
    if capture.answer is not None:
        document["answer"] = {
            "status": capture.answer.status,
            "content_type": capture.answer.content_type,
            "body": capture.answer.body,
        }
    if capture.decided is not None:
        decided = capture.decided
        document["decided"] = {
            "id": decided.id,
            "event": decided.event,
            "user_id": str(decided.user_id) if decided.user_id else None,
            "body_digest": decided.body_digest,
            "outcome": decided.outcome,
            "reasons": [{"rule": reason.rule, "text": reason.text} for reason in decided.reasons],
            "policy": decided.policy,
        }
    return dumps({**document, **capture.extra})


def read_line(line: bytes) -> Capture:
    """Read a capture from its line; unknown members are kept in ``extra``.

    Raises:
        CaptureError: the line is wrong; the error is without the line's number.
    """
    return _capture(_document(line))


def _document(line: bytes) -> dict[str, Any]:
    try:
        return loads_object(line, MAX_LINE_DEPTH)
    except StrictJsonError as error:
        if line.lstrip().startswith(b"["):
            raise CaptureError(ARRAY) from None
        raise CaptureError(f"no JSON object: {error}") from None


def _capture(document: dict[str, Any]) -> Capture:
    version = document.pop("usher_capture", None)
    if not _is_version(version):
        said = "names no version" if version is None else f"is of version {dumps(version)[:20]}"
        raise CaptureError(f"{said}; this Usher reads version {VERSION}")
    headers = _object(document, "headers")
    if not all(isinstance(value, str) for value in headers.values()):
        raise CaptureError("headers: every value must be a string")
    received_at = _time(document, "received_at")
    method, path = _text(document, "method"), _text(document, "path")
    return Capture(
        received_at=received_at,
        method=method,
        path=path,
        headers=require_request(method, path, headers),
        body=_body(document),
        answer=_answer(document),
        decided=_decided(document),
        extra=document,
    )


def write_act(entry: AuditEntry) -> str:
    """A person's act, as a line between captures."""
    return dumps(
        {
            "usher_act": VERSION,
            "at": utc(entry.at),
            "actor": entry.actor,
            "action": entry.action,
            "instance_id": str(entry.instance_id),
            "user_id": str(entry.user_id),
            "reason": entry.reason,
            "before": entry.before,
            "after": entry.after,
        }
    )


def read_step(line: bytes) -> Capture | AuditEntry:
    """Read a line of either kind.

    Raises:
        CaptureError: the line is wrong; the error is without the line's number.
    """
    document = _document(line)
    return _act(document) if "usher_act" in document else _capture(document)


def _is_version(value: Any) -> bool:
    return type(value) is int and value == VERSION  # JSON's true is 1 to Python, and 1.0 as well


def _act(document: dict[str, Any]) -> AuditEntry:
    if not _is_version(document["usher_act"]):
        raise CaptureError(f"this Usher reads acts of version {VERSION}")
    before = document.get("before")
    try:
        return AuditEntry(
            action=_text(document, "action"),
            actor=_text(document, "actor"),
            instance_id=UUID(_text(document, "instance_id")),
            user_id=UUID(_text(document, "user_id")),
            at=_time(document, "at"),
            before=None if before is None else _object(document, "before"),
            after=_object(document, "after"),
            reason=_text(document, "reason"),
        )
    except ValueError:
        raise CaptureError("instance_id and user_id must be UUIDs") from None


def _body_fields(body: bytes | None) -> dict[str, Any]:
    if body is None:
        return {"body": None}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}
    if "\x00" in text:  # an invalid body may have it, our JSON may not
        return {"body_base64": b64encode(body).decode()}
    return {"body": text}


def _body(document: dict[str, Any]) -> bytes | None:
    if ("body" in document) == ("body_base64" in document):
        raise CaptureError("exactly one of body and body_base64 is needed")
    if "body_base64" in document:
        try:
            return b64decode(_text(document, "body_base64"), validate=True)
        except ValueError:  # binascii.Error is one
            raise CaptureError("body_base64 is no base64") from None
    if document["body"] is None:
        del document["body"]
        return None
    return _text(document, "body").encode()


def _answer(document: dict[str, Any]) -> Reply | None:
    if "answer" not in document:
        return None
    found = _object(document, "answer")
    status = found.get("status")
    if type(status) is not int or not 100 <= status <= 599:
        raise CaptureError("answer: status must be a number of HTTP")
    return Reply(status, _text(found, "content_type"), _text(found, "body"))


def _decided(document: dict[str, Any]) -> Decided | None:
    if "decided" not in document:
        return None
    found = _object(document, "decided")
    reasons = found.get("reasons")
    if not isinstance(reasons, list) or not all(isinstance(each, dict) for each in reasons):
        raise CaptureError("decided: reasons must be a list of objects")
    user_id = found.get("user_id")
    try:
        user = UUID(user_id) if user_id is not None else None
    except (ValueError, TypeError, AttributeError):
        raise CaptureError("decided: user_id must be a UUID or null") from None
    return Decided(
        _text(found, "id"),
        _text(found, "event"),
        user,
        _text(found, "body_digest"),
        _text(found, "outcome"),
        tuple(Reason(_text(each, "rule"), _text(each, "text")) for each in reasons),
        _text(found, "policy"),
    )


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.pop(key, None)
    if not isinstance(value, dict):
        raise CaptureError(f"{key} must be an object")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.pop(key, None)
    if not isinstance(value, str):
        raise CaptureError(f"{key} must be a string")
    return value


def _time(document: dict[str, Any], key: str) -> datetime:
    text = _text(document, key)
    try:
        return parse_time(text)
    except ValueError:
        raise CaptureError(f"{key} must be an RFC 3339 time") from None
