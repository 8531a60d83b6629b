"""A refused event is told by what it looks like, in the log and by count; nothing is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.store.store_support import LogLines
from tests.support import SECRET, Clock, account, call, signed
from usher.core.app import App, use
from usher.core.domain.refused_events import Mark
from usher.core.jws import sign_compact
from usher.core.settings import Settings

TOKENS = b"signs access tokens at Identity, too"
SIGNATURE = "X-Webhook-Signature"


@pytest.fixture
def usher(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Any:
    """The App on each database, which knows the secret of access tokens."""
    with use(App(make_settings(database_url=database_url, jwt_secret=TOKENS), clock)) as app:
        yield app


def of(secret: bytes, **claims: Any) -> str:
    """A token with these claims, signed."""
    return sign_compact(b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode(), secret)


@pytest.mark.parametrize(
    ("secret", "changed", "mark"),
    [
        (TOKENS, {}, Mark.FUNCTION_HOOK),
        (b"f" * 32, {}, Mark.OTHER_SECRET),
        (SECRET, {SIGNATURE: ""}, Mark.UNSIGNED),
        (SECRET, {SIGNATURE: "", "X-Netlify-Event": None}, ""),
        (SECRET, {SIGNATURE: of(TOKENS, sub="x", exp=1, app_metadata={})}, ""),
        (SECRET, {SIGNATURE: of(TOKENS, iss="gotrue", sub="x")}, ""),
        (SECRET, {SIGNATURE: "not.a.token"}, ""),
    ],
    ids=["function hook", "another secret", "unsigned", "a stranger", "an access token",
         "without a digest", "nonsense"],
)  # fmt: skip
def test_a_refused_event_is_told_by_its_mark(
    usher: App, secret: bytes, changed: dict[str, str | None], mark: str
) -> None:
    """The answer is the same for all; the doctor learns how many there were."""
    made = signed("signup", account(), secret=secret, at=usher.clock())
    for name, value in changed.items():
        made.headers.pop(name, None)
        if value is not None:
            made.headers[name] = value
    lines = LogLines()
    answer = call(made)
    assert answer["statusCode"] == 401
    assert json.loads(answer["body"])["code"] == "signature_invalid"
    (line,) = lines("signature.rejected")
    assert line["mark"] == mark
    usher.flush_oversized()
    counts = usher.oversized.since(usher.clock() - timedelta(days=1))
    assert {name: found.count for name, found in counts.items()} == ({mark: 1} if mark else {})


def test_a_good_secret_among_the_webhooks_is_no_function_hook(usher: App) -> None:
    """What fails after the signature bears no mark: an old event is not by another secret."""
    made = signed("signup", account(), at=usher.clock() - timedelta(hours=2))
    lines = LogLines()
    assert call(made)["statusCode"] == 401
    (line,) = lines("signature.rejected")
    assert (line["reason"], line["mark"]) == ("stale", "")


def test_without_the_secret_of_tokens_a_function_hook_is_another_secret(
    usher: App, make_settings: Callable[..., Settings]
) -> None:
    """On Netlify nobody is shown it."""
    settings = make_settings(database_url=usher.settings.database_url)
    with use(App(settings, usher.clock)):
        lines = LogLines()
        assert call(signed("signup", account(), secret=TOKENS))["statusCode"] == 401
    assert [line["mark"] for line in lines("signature.rejected")] == [Mark.OTHER_SECRET]
