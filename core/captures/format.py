"""Captures: requests from Identity as lines of JSON, to be kept, shared and played back. Pure.

Our captures are signed again with a public secret, so that a replay anywhere verifies them in full.
No server accepts that secret. docs/captures.md describes the format, docs/capture.schema.json
defines it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from usher.core.domain.documents import utc
from usher.core.domain.events import parse_time
from usher.core.domain.policy import Reason
from usher.core.domain.records import AuditEntry, Delivery, Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import CaptureError, SignatureError
from usher.core.jws import read_unverified, sign_event
from usher.core.strict_json import StrictJsonError, dumps, loads_object

VERSION: Final = 1
PUBLIC_SECRET: Final = b"usher captures are signed with this public secret"
SIGNATURE: Final = "X-Webhook-Signature"
EVENT_HEADER: Final = "X-Netlify-Event"


@dataclass(frozen=True, slots=True)
class Decided:
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


@dataclass(frozen=True, slots=True)
class Capture:
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
        path=delivery.path,
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
        origin="replay",
    )


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
    try:
        document = loads_object(line)
    except StrictJsonError as error:
        raise CaptureError(f"no JSON object: {error}") from None
    version = document.pop("usher_capture", None)
    if version != VERSION or version is True:
        said = "names no version" if version is None else f"is of version {str(version)[:20]!r}"
        raise CaptureError(f"{said}; this Usher reads version {VERSION}")
    headers = _object(document, "headers")
    if not all(isinstance(value, str) for value in headers.values()):
        raise CaptureError("headers: every value must be a string")
    return Capture(
        received_at=_time(document, "received_at"),
        method=_text(document, "method"),
        path=_text(document, "path"),
        headers=headers,
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
    return _read_act(line) if line.startswith(b'{"usher_act"') else read_line(line)


def _read_act(line: bytes) -> AuditEntry:
    try:
        document = loads_object(line)
    except StrictJsonError as error:
        raise CaptureError(f"no JSON object: {error}") from None
    if document["usher_act"] != VERSION:
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
