"""Platforms' events in, answers out, and the one shape of every error."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from usher.core import errors
from usher.core.domain.problem import as_problem
from usher.core.errors import UsherError
from usher.functions._shared.headers import SECURITY_HEADERS
from usher.functions._shared.http import Request, Response, problem_response


def test_headers_are_found_whatever_their_case_and_form() -> None:
    """The multi-value form wins, because only it shows a repetition."""
    request = Request.from_event(
        {
            "httpMethod": "POST",
            "path": "/x",
            "headers": {"X-One": "1", "X-Two": "b"},
            "multiValueHeaders": {"x-two": ["a", "b"]},
            "body": None,
        }
    )
    assert request.headers == {"x-two": ("a", "b"), "x-one": ("1",)}
    assert request.body == b""


@pytest.mark.parametrize(
    ("body", "is_base64", "read"),
    [
        ("é", False, "é".encode()),
        (base64.b64encode(b"\xff\x00").decode(), True, b"\xff\x00"),
        ("", True, b""),
    ],
)
def test_a_body_is_the_exact_bytes(body: str, is_base64: bool, read: bytes) -> None:
    """Text as UTF-8, anything else by base64."""
    event = {"httpMethod": "POST", "path": "/", "body": body, "isBase64Encoded": is_base64}
    assert Request.from_event(event).body == read


def test_base64_that_is_none_is_a_bad_request() -> None:
    """The platform's fault, said so."""
    with pytest.raises(errors.RequestError, match="base64"):
        Request.from_event({"body": "***", "isBase64Encoded": True})


def event(method: str, *types: str, size: int = 1) -> dict[str, Any]:
    """A request of this method, with these types and a body of this size."""
    return {
        "httpMethod": method,
        "path": "/",
        "multiValueHeaders": {"Content-Type": list(types)},
        "body": "x" * size,
    }


def test_size_method_and_type_are_insisted_on_by_themselves() -> None:
    """A function has them checked in the order of a server, which sees the size first."""
    request = Request.from_event(event("PUT", "application/json", size=11))
    request.require_size(11)
    with pytest.raises(errors.BodyTooLargeError):
        request.require_size(10)
    request.require_method("PUT")
    with pytest.raises(errors.MethodNotAllowedError):
        request.require_method("POST")


@pytest.mark.parametrize(
    "types", [["text/plain"], [], ["application/json", "application/json"], ["application/jsonp"]]
)
def test_a_type_that_is_not_one_json_is_refused(types: list[str]) -> None:
    """However many types are said."""
    with pytest.raises(errors.UnsupportedMediaTypeError):
        Request.from_event(event("POST", *types)).require_json()


def test_json_may_be_said_in_other_letters_and_with_parameters() -> None:
    """Media types are compared without regard to letter case."""
    Request.from_event(event("POST", "Application/JSON; charset=utf-8")).require_json()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_of_get_and_head_is_not_read(method: str) -> None:
    """It has no meaning, and the server never reads one."""
    assert Request.from_event(event(method)).body == b""


def test_every_answer_has_the_security_headers() -> None:
    """Added where it is rendered, so none can be forgotten."""
    answer = Response(200, "{}", "application/json", {"ETag": '"1"'}).to_dict()
    assert SECURITY_HEADERS.items() <= answer["headers"].items()
    assert answer["headers"]["ETag"] == '"1"'


def test_the_shape_of_an_error_is_pinned() -> None:
    """RFC 9457 with our code."""
    answer = problem_response(errors.MethodNotAllowedError("GET", ("POST",))).to_dict()
    assert answer["statusCode"] == 405
    assert answer["headers"]["Allow"] == "POST"
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert answer["body"] == (
        '{"type":"urn:usher:error:method_not_allowed",'
        '"title":"This address does not take that method","status":405,'
        '"code":"method_not_allowed","detail":"GET is not offered here; use POST."}'
    )


def everything(root: type[UsherError]) -> list[type[UsherError]]:
    """The tree of errors, flat."""
    return [root, *(found for child in root.__subclasses__() for found in everything(child))]


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "SettingsError": (("problem",),),
    "PolicyError": ("policy.toml", "problem"),
    "ExtraMissingError": ("The driver of PostgreSQL is", "postgres"),
    "MethodNotAllowedError": ("GET", ("POST",)),
    "BodyTooLargeError": (10,),
    "TooManyRequestsError": (1.5,),
    "UnsupportedMediaTypeError": ("text/plain",),
    "InvalidInputError": ((("/x", "is wrong"), ("limit", "is no number")),),
    "HandlersCircleError": (30, ("site.one", "site.other")),
    "CursorGoneError": (),
    "CursorInvalidError": (),
    "AccountWaitingError": (),
    "UserWaitingError": (),
    "PreconditionFailedError": (3,),
    "SignatureError": (errors.Check.STALE, "412 s old"),
    "BodyError": ("problem", "/x"),
    "BodyJsonError": ("problem",),
    "BodyFieldError": ("problem", "/x"),
    "InstanceMismatchError": (),
    "InstanceUnknownError": (),
    "SeveralInstancesError": (("00000000-0000-0000-0000-000000000001",),),
    "EventMismatchError": ("login",),
}


@pytest.mark.parametrize("kind", everything(UsherError), ids=lambda kind: kind.__name__)
def test_every_error_knows_its_status_and_code(kind: type[UsherError]) -> None:
    """And tells callers nothing of what is wrong on our side."""
    error = kind(*ARGUMENTS.get(kind.__name__, ("a detail",)))
    document = as_problem(error)
    assert document["status"] == error.status
    assert 400 <= error.status < 600
    assert document["code"] == error.code
    assert str(error)
    if error.status >= 500 or isinstance(error, errors.SignatureError):
        assert "detail" not in document
