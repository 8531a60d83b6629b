"""Event bodies, pinned byte for byte against docs/identity.md and GoTrue's models/user.go."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from usher.core.domain.events import Event, parse_event
from usher.core.jws import Claims
from usher.emulator.payload import ZERO_INSTANCE, Account, event_body, go_json

TEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ADA = Account(
    id=UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51"),
    email="ada@example.com",
    confirmation_sent_at=TEN,
    user_metadata={"full_name": "Ada"},
    created_at=TEN,
    updated_at=TEN,
)
EXAMPLE = (
    b'{"event":"signup","instance_id":"00000000-0000-0000-0000-000000000000","user":{'
    b'"id":"5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51","aud":"","role":"","email":"ada@example.com",'
    b'"confirmation_sent_at":"2026-11-23T10:00:00Z",'
    b'"app_metadata":{"provider":"email"},"user_metadata":{"full_name":"Ada"},'
    b'"created_at":"2026-11-23T10:00:00Z","updated_at":"2026-11-23T10:00:00Z"}}'
)


def test_the_documented_example_is_made_byte_for_byte() -> None:
    """The example body of the wire contract."""
    assert event_body("signup", ADA) == EXAMPLE


def test_every_field_stands_where_gos_struct_has_it() -> None:
    """The order of models/user.go, optional fields included."""
    full = replace(
        ADA,
        aud="site",
        role="admin",
        confirmed_at=TEN + timedelta(seconds=1),
        invited_at=TEN + timedelta(seconds=2),
        recovery_sent_at=TEN + timedelta(seconds=3),
        new_email="new@example.com",
        email_change_sent_at=TEN + timedelta(seconds=4),
        last_sign_in_at=TEN + timedelta(seconds=5),
        app_metadata=None,
        user_metadata=None,
    )
    assert event_body("login", full, UUID(int=1)) == (
        b'{"event":"login","instance_id":"00000000-0000-0000-0000-000000000001","user":{'
        b'"id":"5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51","aud":"site","role":"admin",'
        b'"email":"ada@example.com","confirmed_at":"2026-11-23T10:00:01Z",'
        b'"invited_at":"2026-11-23T10:00:02Z","confirmation_sent_at":"2026-11-23T10:00:00Z",'
        b'"recovery_sent_at":"2026-11-23T10:00:03Z","new_email":"new@example.com",'
        b'"email_change_sent_at":"2026-11-23T10:00:04Z","last_sign_in_at":"2026-11-23T10:00:05Z",'
        b'"app_metadata":null,"user_metadata":null,'
        b'"created_at":"2026-11-23T10:00:00Z","updated_at":"2026-11-23T10:00:00Z"}}'
    )


@pytest.mark.parametrize(
    "name",
    [
        "confirmed_at",
        "invited_at",
        "confirmation_sent_at",
        "recovery_sent_at",
        "new_email",
        "email_change_sent_at",
        "last_sign_in_at",
    ],
)
def test_an_unset_optional_field_is_left_out(name: str) -> None:
    """Go's omitempty: no null and no empty text."""
    bare = replace(ADA, confirmation_sent_at=None)
    assert f'"{name}"'.encode() not in event_body("signup", bare)


@pytest.mark.parametrize("name", ["aud", "role", "email"])
def test_an_empty_text_without_omitempty_stays(name: str) -> None:
    """These three are always there."""
    body = event_body("signup", replace(ADA, **dict[str, Any]({name: ""})))
    assert f'"{name}":""'.encode() in body


METADATA: list[tuple[Any, str]] = [
    (None, "null"),
    ({}, "{}"),
    ({"b": 1, "a": 2, "B": 3}, '{"B":3,"a":2,"b":1}'),
    ({"é": 1, "z": 2}, '{"z":2,"é":1}'),
    ({"x": {"d": [{"b": 1, "a": 2}], "c": None}}, '{"x":{"c":null,"d":[{"a":2,"b":1}]}}'),
    ({"x": [True, False, None, -1, 1.5, "é😀"]}, '{"x":[true,false,null,-1,1.5,"é😀"]}'),
    ({"x": "<b>&</b>"}, '{"x":"\\u003cb\\u003e\\u0026\\u003c/b\\u003e"}'),
    ({"<&>": 1}, '{"\\u003c\\u0026\\u003e":1}'),
    ({"x": "a\u2028b\u2029c"}, '{"x":"a\\u2028b\\u2029c"}'),
    ({"x": 'q"\\/\n\r\t'}, '{"x":"q\\"\\\\/\\n\\r\\t"}'),
    ({"x": "\x1b\x01"}, '{"x":"\\u001b\\u0001"}'),
    ({"x": "\x7f\x9b"}, '{"x":"\x7f\x9b"}'),
]


@pytest.mark.parametrize(("value", "text"), METADATA)
def test_metadata_is_written_as_gos_encoder_writes_a_map(value: Any, text: str) -> None:
    """Keys sorted at every level; HTML characters and line separators escaped, the rest UTF-8."""
    body = event_body("signup", replace(ADA, user_metadata=value))
    assert f'"user_metadata":{text},"created_at"'.encode() in body
    body = event_body("signup", replace(ADA, app_metadata=value))
    assert f'"app_metadata":{text},"user_metadata"'.encode() in body


TIMES: list[tuple[datetime, str]] = [
    (TEN, "2026-11-23T10:00:00Z"),
    (TEN.replace(microsecond=123456), "2026-11-23T10:00:00.123456Z"),
    (TEN.replace(microsecond=120000), "2026-11-23T10:00:00.12Z"),
    (TEN.replace(microsecond=100), "2026-11-23T10:00:00.0001Z"),
    (TEN.astimezone(timezone(timedelta(hours=-5))), "2026-11-23T10:00:00Z"),
]


@pytest.mark.parametrize(("moment", "text"), TIMES)
def test_times_are_utc_without_trailing_zeros(moment: datetime, text: str) -> None:
    """RFC3339Nano, as Go's time.Time marshals itself."""
    assert go_json({"at": moment}) == f'{{"at":"{text}"}}'.encode()


def test_what_is_no_json_is_refused() -> None:
    """A mistake in the emulator must not become an odd payload."""
    with pytest.raises(TypeError, match="set is not JSON"):
        go_json({"x": {1}})


@given(
    st.sampled_from(["validate", "signup", "login", "usermodified", "userdeleted"]),
    st.emails(),
    st.none()
    | st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
        st.none() | st.booleans() | st.integers(-9, 9),
        max_size=4,
    ),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_we_make_we_can_read(
    name: str, email: str, metadata: dict[str, Any] | None, at: datetime
) -> None:
    """Our parser takes every body of our emulator and finds in it what was put there."""
    account = replace(ADA, email=email, user_metadata=metadata, updated_at=at)
    body = event_body(name, account)
    assert json.loads(body)["event"] == name
    event = parse_event(body, Claims(ZERO_INSTANCE, 0, "", 0))
    assert isinstance(event, Event)
    assert (event.user.email, event.user.user_metadata, event.user.updated_at) == (
        email,
        metadata,
        at,
    )
