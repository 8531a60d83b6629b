"""Signatures of webhooks: those of the specification's example, and what its library verifies."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from usher.core.domain.standard_webhooks import secret_octets, secret_text, signed_headers

SECRETS = st.binary(min_size=24, max_size=64).map(secret_text)
# The example of the specification (standard-webhooks.md, "Signature scheme").
EXAMPLE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification_is_signed_as_there() -> None:
    """Id, time and body joined by dots, by HMAC-SHA256 with the decoded secret."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}', [EXAMPLE]
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(document=st.dictionaries(st.text(), st.text() | st.integers()), secret=SECRETS)
def test_the_library_of_receivers_verifies_ours(document: dict[str, object], secret: str) -> None:
    """Any document, any secret; and not after a change of the body."""
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = signed_headers("chg_1", int(time.time()), body, [secret])
    assert Webhook(secret).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)


@given(old=SECRETS, new=SECRETS, other=SECRETS)
def test_while_rotating_the_library_verifies_with_either_secret(
    old: str, new: str, other: str
) -> None:
    """The receiver may change over whenever it likes within the day."""
    headers = signed_headers("chg_1", int(time.time()), b"{}", [new, old])
    for secret in (old, new):
        assert Webhook(secret).verify(b"{}", headers) == {}
    if other not in (old, new):
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(b"{}", headers)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "begins with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_"),
        ("whsec_", "has 24 to 64 bytes; this one has 0"),
        ("whsec_****", "followed by base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "followed by base64"),
        ("whsec_MfKQ 9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "followed by base64"),
        ("whsec_ä", "followed by base64"),
        (secret_text(bytes(23)), "this one has 23"),
        (secret_text(bytes(65)), "this one has 65"),
    ],
)
def test_a_text_that_is_no_secret_is_refused(text: str, problem: str) -> None:
    """With the end of a sentence."""
    with pytest.raises(ValueError, match=problem):
        secret_octets(text)


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_is_its_octets_in_base64(octets: bytes) -> None:
    """And is read back."""
    text = secret_text(octets)
    assert text == f"whsec_{base64.b64encode(octets).decode()}"
    assert secret_octets(text) == octets
