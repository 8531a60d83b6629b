"""Whatever is asked: an answer in a known form, and an account that adds up."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World, world
from tests.profiles import examples
from usher.core.domain.events import Event, parse_event
from usher.core.jws import Claims
from usher.emulator.accounts import merged
from usher.emulator.identity import API, DEV
from usher.emulator.payload import ZERO_INSTANCE
from usher.functions._shared.http import Request

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "email", "password", "data", "type", "token", "role", "confirm", "app_metadata",
        "user_metadata", "aud", "email_change_token", "rules",
    ]
)  # fmt: skip
BODIES = st.one_of(
    st.dictionaries(FIELDS, JSON, max_size=4).map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
)
PATHS = st.one_of(
    st.sampled_from([MOUNT + path for path in API] + list(DEV)),
    TEXT.map(lambda text: f"{MOUNT}/admin/users/{text}"),
    TEXT.map(lambda text: MOUNT + text),
)
QUERIES = st.one_of(
    st.just(""),
    st.sampled_from(
        ["grant_type=password&username=a&password=b", "provider=google", "state=x.y.z"]
    ),
    st.text("abc=&%+0123456789", max_size=30),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["authorization", "content-type", "x-jwt-aud", "x-use-cookie", "referer", "host", "accept"]
    ),
    st.lists(
        TEXT | st.sampled_from([f"Bearer {OPERATOR}", "application/x-www-form-urlencoded", "1"]),
        max_size=2,
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def asked() -> Iterator[World]:
    """One emulator for all questions."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as made:
        yield made


@settings(max_examples=examples(150))
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", ""]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=BODIES,
)
def test_anything_gets_an_answer_that_is_no_fault_of_ours(
    asked: World, method: str, path: str, query: str, headers: dict[str, list[str]], body: bytes
) -> None:
    """Below 500, with a body of the type announced."""
    sent = {name: tuple(values) for name, values in headers.items()}
    answer = asked.emulator.handle(Request(method, path, sent, body, query))
    assert answer.status < 500 or answer.status == 501
    if answer.content_type == "application/json":
        json.loads(answer.body)
    assert JWT_SECRET.decode() not in answer.body


MAPS = st.none() | st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(), max_size=3)


@given(MAPS, MAPS)
def test_a_merge_keeps_what_it_does_not_name(
    stored: dict[str, Any] | None, updates: dict[str, Any] | None
) -> None:
    """Each named key is set or, by null, gone; the arguments are left alone."""
    before = None if stored is None else dict(stored)
    result = merged(stored, updates)
    assert stored == before
    if stored is None:
        assert result == updates
        return
    assert result is not None
    for key in {*stored, *(updates or {})}:
        if key not in (updates or {}):
            assert result[key] == stored[key]
        elif (updates or {})[key] is None:
            assert key not in result
        else:
            assert result[key] == (updates or {})[key]


@settings(max_examples=examples(15))
@given(
    data=st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
        st.booleans() | st.integers(-9, 9) | st.text('a<>&\u2028é😀"\\', max_size=5),
        max_size=4,
    )
)
def test_whatever_somebody_says_of_themselves_reaches_the_receiver(data: dict[str, Any]) -> None:
    """Stored, sent, and read by our own parser as it was given."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), lambda *_: 204) as made:
        body = {"email": "ada@example.com", "password": "x", "data": data or None}
        assert made.call("POST", "/signup", body).status == 200
        made.confirm()
        event = parse_event(made.bodies[-1], Claims(ZERO_INSTANCE, 0, "", 0))
    assert isinstance(event, Event)
    assert event.user.user_metadata == data
