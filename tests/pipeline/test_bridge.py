"""The transport by way of the bridge, when what answers is not well."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.forge import encode
from tests.stub import HANG, Answer, answering
from tests.support import SECRET, free_port
from usher.core.errors import (
    BridgeError,
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
)
from usher.core.identity.bridge import BridgeTransport
from usher.core.identity.client import IdentityClient, first_id

NOW = 1_795_000_000.7
PAGE = {"status": 200, "headers": {"x-total-count": "0"}, "body": '{"users":[]}'}


def transport(url: str) -> BridgeTransport:
    """A way to a bridge."""
    return BridgeTransport(url, SECRET, lambda: NOW)


def told(document: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


def refused(code: str, status: int) -> Answer:
    """The bridge's own refusal."""
    body = json.dumps({"code": code})
    return told({"status": status, "headers": {}, "body": body}, status)


def test_the_request_is_signed_over_its_bytes() -> None:
    """HS256 by hand: issuer, audience, second and digest, and nothing else."""
    with answering(told(PAGE)) as stub:
        answer = transport(stub.url).request("PUT", "/admin/users/7", {"app_metadata": {"é": 1}})
        ((_, headers, body),) = stub.requests
    assert (answer.status, answer.headers, answer.document) == (
        200,
        {"x-total-count": "0"},
        {"users": []},
    )
    assert json.loads(body) == {
        "method": "PUT",
        "path": "/admin/users/7",
        "body": '{"app_metadata":{"é":1}}',
    }
    digest = hashlib.sha256(body).hexdigest()
    claims = f'{{"iss":"usher","aud":"usher-bridge","iat":1795000000,"sha256":"{digest}"}}'
    text = encode(b'{"alg":"HS256","typ":"JWT"}') + "." + encode(claims.encode())
    made = encode(hmac.digest(SECRET, text.encode(), "sha256"))
    assert headers["x-usher-signature"] == f"{text}.{made}"
    assert SECRET.decode() not in str(headers)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refused("signature_invalid", 401), "compare USHER_BRIDGE_SECRET on both sides, and the"),
        (refused("bridge_closed", 503), "its function's log on Netlify says why"),
        (refused("operation_unknown", 400), "refused the request: operation_unknown"),
        (
            told({"status": 400, "headers": {}, "body": "nonsense"}, 400),
            "refused the request: None",
        ),
        ((404, {}, b"<h1>not found</h1>"), "answered 404, .* is the function deployed there"),
        ((200, {}, b"<h1>a page</h1>"), "At USHER_BRIDGE_URL: .* no JSON object"),
        (told({}), "answered 200, and not as the bridge does"),
        (told(PAGE | {"status": True}), "not as the bridge does"),
        (told(PAGE | {"headers": []}), "not as the bridge does"),
        (told(PAGE | {"body": None}), "not as the bridge does"),
        ((302, {"Location": "https://elsewhere.example/"}, b""), "answered 302"),
    ],
)
def test_what_is_not_the_bridges_answer_is_told_so(answer: Answer, says: str) -> None:
    """With what to look at; nothing is taken for Identity's word."""
    with answering(answer) as stub, pytest.raises(BridgeError, match=says):
        transport(stub.url).request("GET", "/admin/users?page=1", None)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_platforms_own_trouble_is_worth_a_repeat(status: int) -> None:
    """A function that was slow or too new answers the next time."""
    with answering((status, {}, b"error"), told(PAGE)) as stub:
        client = IdentityClient(None, transport(stub.url), sleep=lambda _: None)
        assert client.users().users == ()
        assert len(stub.requests) == 2


def test_identitys_nonsense_is_identitys() -> None:
    """A page that is no JSON, and an error that is none either."""
    with answering(told(PAGE | {"body": "nonsense"})) as stub:
        with pytest.raises(IdentityUnavailableError, match="no JSON object") as caught:
            transport(stub.url).request("GET", "/admin/users?page=1", None)
        assert not isinstance(caught.value, BridgeError)
    with answering(told({"status": 504, "headers": {}, "body": ""})) as stub:
        assert transport(stub.url).request("GET", "/admin/users/7", None).status == 504


def test_a4_an_answer_larger_than_the_bridge_carries() -> None:
    """By the bridge's own word, and by our bound; neither is asked for again."""
    with answering(refused("answer_too_large", 413)) as stub:
        client = IdentityClient(None, transport(stub.url), sleep=lambda _: None)
        with pytest.raises(IdentityAnswerTooLargeError, match="larger than the bridge carries"):
            client.users()
        assert len(stub.requests) == 1


def test_a4_the_first_id_of_what_is_too_large_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the text within the bridge's document."""
    monkeypatch.setattr("usher.core.identity.bridge.MAX_ADMIN_ANSWER_BYTES", 2_000)
    user_id = "00000000-0000-0000-0000-000000000007"
    body = f'{{"aud":"","users":[{{"id":"{user_id}","x":"{"x" * 3_000}"}}]}}'
    with answering(told(PAGE | {"body": body})) as stub:
        with pytest.raises(IdentityAnswerTooLargeError) as caught:
            transport(stub.url).request("GET", "/admin/users?page=1", None)
        assert first_id(caught.value.start) == user_id


def test_a4_what_the_bridge_left_out_is_set_aside() -> None:
    """And the keys of such an ``app_metadata`` count as unknown."""
    user = {
        "id": "00000000-0000-0000-0000-000000000007",
        "app_metadata": {"provider": "email", "roles": ["a"]},
        "user_metadata": {},
        "usher_left_out": ["app_metadata", "user_metadata"],
    }
    for left in (user, user | {"usher_left_out": 7}):
        body = json.dumps({"users": [left]})
        with answering(told(PAGE | {"body": body})) as stub:
            client = IdentityClient(None, transport(stub.url), sleep=lambda _: None)
            (found,) = client.users().users
        assert found.roles == {"a"}
        assert found.shows_keys is (left is not user)
        assert len(found.set_aside) == (2 if left is user else 0)


def test_a_bridge_that_is_away_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is not told."""
    monkeypatch.setattr("usher.core.identity.bridge.ADMIN_READ_SECONDS", 0.1)
    with answering(HANG) as stub:
        for url in (stub.url, f"http://127.0.0.1:{free_port()}"):
            with pytest.raises(BridgeError, match="could not be reached") as caught:
                transport(url).request("GET", "/admin/users/7", None)
            assert "127.0.0.1" not in str(caught.value)
