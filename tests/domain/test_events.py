"""Identity's JSON as typed events: what is read, what is refused and where, and how events sort."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.forge import claims, token
from tests.profiles import examples
from tests.support import NOON, SECRET, account
from usher.core.domain.events import Event, EventName, UnknownEvent, delivery_id, parse_event
from usher.core.errors import BodyError, BodyFieldError, BodyJsonError, InstanceMismatchError
from usher.core.jws import Claims, verify_event
from usher.emulator.payload import ZERO_INSTANCE, event_body

NOW = int(NOON.timestamp())
USER_ID = UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")
OTHER = UUID("11111111-2222-3333-4444-555555555555")
CLAIMS = Claims(ZERO_INSTANCE, NOW, "0" * 64, 0)
ABSENT = object()


def document(**user: Any) -> dict[str, Any]:
    """A signup as Identity sends it, with these fields of the user; ABSENT leaves one out."""
    found = json.loads(event_body("signup", account(user_id=USER_ID)))
    found["user"] = {k: v for k, v in (found["user"] | user).items() if v is not ABSENT}
    return found


def parse(content: dict[str, Any], signed: Claims = CLAIMS) -> Event:
    """Read a document that is a known event."""
    event = parse_event(json.dumps(content).encode(), signed)
    assert isinstance(event, Event)
    return event


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(EventName))
def test_each_event_is_read_by_the_name_in_its_body(name: EventName) -> None:
    """All fields come from the signed body and the claims."""
    ada = account(user_id=USER_ID, email="Ada@Example.com", aud="x", role="admin", roles=["a", "b"])
    event = parse_event(event_body(name, ada), CLAIMS)
    assert isinstance(event, Event)
    assert (event.name, event.instance_id, event.issued_at) == (name, ZERO_INSTANCE, NOW)
    assert event.delivery_id == delivery_id(ZERO_INSTANCE, name, NOW, "0" * 64)
    user = event.user
    assert (user.id, user.email, user.aud, user.role) == (USER_ID, ada.email, "x", "admin")
    assert user.app_metadata == {"provider": "email", "roles": ["a", "b"]}
    assert (user.provider, user.roles) == ("email", {"a", "b"})
    assert (user.created_at, user.updated_at, user.confirmation_sent_at) == (NOON, NOON, NOON)
    assert (user.confirmed_at, user.invited_at, user.recovery_sent_at) == (None, None, None)


def nested(levels: int) -> Any:
    """A map of so many levels."""
    return {"in": nested(levels - 1)} if levels else {}


BODIES: dict[str, dict[str, Any]] = {
    "as it is sent": {},
    "with all times": {
        "last_sign_in_at": "2026-03-02T12:00:00Z",
        "invited_at": "0001-01-01T00:00:00Z",
    },
    "made just now": {"created_at": "2026-03-02T13:00:00.123456789+01:00"},
    "no time": {"updated_at": "yesterday"},
    "two that are none": {"updated_at": "today", "created_at": "tomorrow"},
    "a time as a number": {"created_at": 5},
    "a time as null": {"confirmed_at": None},
    "no maps": {"app_metadata": None, "user_metadata": None},
    "a map as a text": {"app_metadata": "x"},
    "a long provider": {"app_metadata": {"provider": "x" * 300}},
    "odd roles": {"app_metadata": {"provider": "email", "roles": ["a", 1, {"b": 2}]}},
    "a long address": {"email": "x" * 2000 + "@example.com"},
    "another alphabet": {"email": "ü@bücher.example", "user_metadata": {"ß": "\u2028&<>"}},
    "no address": {"email": None},
    "an address as a number": {"email": 5},
    "numbers": {"user_metadata": {"age": 5, "x": 1.5, "yes": True, "no": None}},
    "a number that no double holds": {"user_metadata": {"n": 10**400}},
    "deep enough": {"user_metadata": nested(60)},
    "too deep": {"user_metadata": nested(400)},
    "too deep a list": {"app_metadata": {"roles": [[nested(400)]]}},
    "an id in capitals": {"id": str(USER_ID).upper()},
    "an id that is none": {"id": "5"},
    "a member of later": {"phone": "1"},
}


@pytest.mark.parametrize("user", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("event", ["signup", "userdeleted", "later"])
@pytest.mark.parametrize("signed", [CLAIMS, Claims(OTHER, NOW, "0" * 64, 0)], ids=["", "other"])
def test_the_spelling_of_a_body_means_nothing(
    user: dict[str, Any], event: str, signed: Claims
) -> None:
    """Identity's own is read at once, with spaces step by step: both find the same."""

    def found(body: str) -> Any:
        try:
            return parse_event(body.encode(), signed)
        except BodyError as error:
            return type(error), str(error)

    content = document(**user) | {"event": event}
    compact = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    assert found(compact) == found(json.dumps(content))


def test_only_the_users_id_is_needed() -> None:
    """Whatever else is left out reads as empty."""
    content = {"event": "login", "instance_id": str(ZERO_INSTANCE), "user": {"id": str(USER_ID)}}
    user = parse(content).user
    assert (user.email, user.aud, user.role, user.provider, user.roles) == ("", "", "", "", set())
    assert (user.app_metadata, user.user_metadata, user.created_at) == (None, None, None)


def test_unknown_fields_are_tolerated() -> None:
    """A sender that grows new fields is still understood."""
    content = document(phone="+1", factors=[{"id": 1}]) | {"sent_by": {"version": 2}, "user_id": 1}
    assert parse(content).user == parse(document()).user


def test_null_metadata_stays_null() -> None:
    """Identity sends null where a map was never set; it is not the same as an empty map."""
    user = parse(document(app_metadata=None, user_metadata=None)).user
    assert (user.app_metadata, user.user_metadata) == (None, None)
    assert (user.provider, user.roles) == ("", frozenset())


@pytest.mark.parametrize("name", ["passwordchanged", "Signup", "signup ", "é" * 200], ids=repr)
def test_an_unknown_event_is_kept_by_its_name(name: str) -> None:
    """It is no error, whatever its user looks like: a newer Identity may send it."""
    body = json.dumps(document() | {"event": name, "user": 7}).encode()
    identity = delivery_id(ZERO_INSTANCE, name, NOW, "0" * 64)
    assert parse_event(body, CLAIMS) == UnknownEvent(name, ZERO_INSTANCE, identity, NOW)


ROLES = {
    "absent": (ABSENT, set()),
    "null": (None, set()),
    "empty": ([], set()),
    "a text": ("admin", {"admin"}),
    "a padded text": (" admin\n", {"admin"}),
    "an empty text": ("", set()),
    "an object": ({"admin": True}, set()),
    "a number": (1, set()),
    "mixed": (["a", 1, None, True, ["b"], {"c": 1}, "d"], {"a", "d"}),
    "repeated": (["a", "a"], {"a"}),
    "not role names": (["", " ", "a\tb", "a\x7f", "a" * 101, "ok"], {"ok"}),
    "padded": ([" a", "b ", "\u3000c\n"], {"a", "b", "c"}),
    "the longest": (["a" * 100], {"a" * 100}),
    "letter case": (["Admin", "admin"], {"Admin", "admin"}),
    "other scripts": (["größe", "管理"], {"größe", "管理"}),
}


@pytest.mark.parametrize(("sent", "read"), ROLES.values(), ids=ROLES.keys())
def test_only_role_names_are_roles(sent: object, read: set[str]) -> None:
    """What is malformed counts as no role; the event itself stays good."""
    metadata = {} if sent is ABSENT else {"roles": sent}
    user = parse(document(app_metadata=metadata)).user
    assert user.roles == read
    assert user.app_metadata == metadata


@pytest.mark.parametrize(
    "fields",
    [{"aud": "admin"}, {"role": "admin"}, {"user_metadata": {"roles": ["admin"]}}],
    ids=str,
)
def test_roles_come_from_app_metadata_only(fields: dict[str, Any]) -> None:
    """``aud`` and ``user_metadata`` are chosen by whoever signs up."""
    assert parse(document(**fields)).user.roles == frozenset()


@pytest.mark.parametrize("sent", [None, 1, True, ["email"], {"a": 1}], ids=repr)
def test_a_malformed_provider_is_no_provider(sent: object) -> None:
    """It is never taken for one that vouches for the address."""
    assert parse(document(app_metadata={"provider": sent})).user.provider == ""


# --- what is refused, and where ------------------------------------------------------------------

WRONG_USER_FIELDS: dict[str, list[object]] = {
    "/user/id": [ABSENT, None, 0, "", "ada", USER_ID.hex, f"{{{USER_ID}}}", f"urn:uuid:{USER_ID}",
                 f"{USER_ID}\n", f" {USER_ID}", [str(USER_ID)], str(USER_ID)[:-1] + "\u0661"],
    "/user/email": [1, False, [], {}, ["ada@example.com"]],
    "/user/aud": [1, ["x"]],
    "/user/role": [1, ["admin"]],
    "/user/app_metadata": [[], "x", 1, False],
    "/user/user_metadata": [[], "x", 1, False],
    "/user/created_at": [1, "", "now", [], True],
    "/user/updated_at": [1795435200, "2026-11-23"],
    "/user/confirmed_at": ["2026-11-23T10:00:00", "2026-11-23 10:00:00Z"],
    "/user/invited_at": ["2026-11-23T10:00:00z", "2026-11-23t10:00:00Z"],
    "/user/confirmation_sent_at": ["2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z"],
    "/user/recovery_sent_at": ["2026-11-23T10:00:00.1234567890Z", {"seconds": 1}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value"),
    [(pointer, value) for pointer, values in WRONG_USER_FIELDS.items() for value in values],
    ids=lambda value: "absent" if value is ABSENT else repr(value),
)
def test_a_wrong_field_of_the_user_is_named(pointer: str, value: object) -> None:
    """The error points at the field (RFC 6901), and its code is stable."""
    content = document(**{pointer.rpartition("/")[2]: value})
    with pytest.raises(BodyFieldError) as refused:
        parse(content)
    assert refused.value.pointer == pointer
    assert (refused.value.code, refused.value.status) == ("body_field", 400)


WRONG_FIELDS = {
    "event absent": ({"event": ABSENT}, BodyFieldError, "/event"),
    "event null": ({"event": None}, BodyFieldError, "/event"),
    "event empty": ({"event": ""}, BodyFieldError, "/event"),
    "event a number": ({"event": 1}, BodyFieldError, "/event"),
    "event a list": ({"event": ["signup"]}, BodyFieldError, "/event"),
    "instance absent": ({"instance_id": ABSENT}, BodyFieldError, "/instance_id"),
    "instance null": ({"instance_id": None}, BodyFieldError, "/instance_id"),
    "instance empty": ({"instance_id": ""}, BodyFieldError, "/instance_id"),
    "instance a number": ({"instance_id": 0}, BodyFieldError, "/instance_id"),
    "another instance": ({"instance_id": str(OTHER)}, InstanceMismatchError, "/instance_id"),
    "both unknown": (
        {"instance_id": str(OTHER), "event": "x"},
        InstanceMismatchError,
        "/instance_id",
    ),
    "user absent": ({"user": ABSENT}, BodyFieldError, "/user"),
    "user null": ({"user": None}, BodyFieldError, "/user"),
    "user a list": ({"user": [{"id": str(USER_ID)}]}, BodyFieldError, "/user"),
    "user a text": ({"user": str(USER_ID)}, BodyFieldError, "/user"),
}


@pytest.mark.parametrize(
    ("fields", "error", "pointer"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys()
)
def test_a_wrong_field_of_the_event_is_named(
    fields: dict[str, Any], error: type[BodyError], pointer: str
) -> None:
    """Event, instance and user are needed, and the instance is the one that signed."""
    content = {k: v for k, v in (document() | fields).items() if v is not ABSENT}
    with pytest.raises(BodyError) as refused:
        parse(content)
    assert (type(refused.value), refused.value.pointer) == (error, pointer)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b'{"event":"x","event":"y"}'])
def test_what_is_no_strict_object_is_refused(body: bytes) -> None:
    """The strict parser's refusal becomes a body error without a pointer."""
    with pytest.raises(BodyJsonError) as refused:
        parse_event(body, CLAIMS)
    assert refused.value.pointer == ""


# --- the delivery's id ---------------------------------------------------------------------------


def test_the_id_does_not_depend_on_the_headers_spelling() -> None:
    """The same claims in another order, with other header fields and another key: one delivery."""
    body = json.dumps(document()).encode()
    spelled = claims(body, NOW)
    reordered = json.dumps(dict(reversed(json.loads(spelled).items())), indent=1).encode()
    signatures = [
        token(spelled),
        token(reordered),
        token(spelled, b'{"typ":"JWT",\r\n "alg":"HS256","kid":"7"}'),
        token(spelled, secret=SECRET[::-1]),
        token(claims(body, NOW, sub=f'"{str(ZERO_INSTANCE).upper()}"', aud='"x"')),
    ]
    found = [verify_event([s], body, [SECRET, SECRET[::-1]], NOW) for s in signatures]
    assert len(set(signatures)) == 5
    assert len({parse_event(body, each).delivery_id for each in found}) == 1


def test_the_id_covers_instance_event_time_and_body() -> None:
    """Deliveries that differ in any of them are different deliveries."""
    parts: tuple[Any, ...] = (ZERO_INSTANCE, "signup", NOW, "a")
    others: tuple[Any, ...] = (OTHER, "login", NOW + 1, "b")
    changed = [(*parts[:i], others[i], *parts[i + 1 :]) for i in range(4)]
    ids = {delivery_id(*each) for each in [parts, *changed]}
    assert len(ids) == 5
    assert {len(each) for each in ids} == {72}


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.text(), st.text())
def test_ids_sort_by_time(first: int, second: int, one: str, other: str) -> None:
    """An index of ids grows at its end."""
    ids = [delivery_id(ZERO_INSTANCE, "x", at, "") for at in (first, second)]
    assert (ids[0] < ids[1]) == (first < second)


# --- the order of events -------------------------------------------------------------------------


def event(name: str, second: int = 0, **user: Any) -> Event:
    """An event signed that many seconds after noon."""
    return parse(document(**user) | {"event": name}, Claims(ZERO_INSTANCE, NOW + second, "0", 0))


def at(**after: float) -> str:
    """A time after noon as Identity writes it."""
    return (NOON + timedelta(**after)).isoformat()


OLDER_FIRST = {
    "validate before all else": [event("validate", 500), event("signup"), event("userdeleted", 1)],
    "by iat": [event("login", -3600), event("usermodified"), event("signup", 1)],
    "in one second, as things happen": [
        event(name) for name in ("validate", "signup", "login", "usermodified", "userdeleted")
    ],
    "in one second, by updated_at": [
        event("login", updated_at=None),
        event("login", updated_at=at(days=-1)),
        event("login", updated_at=at()),
        event("login", updated_at=at(microseconds=1)),
        event("login", updated_at=at(milliseconds=500)),
        event("login", updated_at=at(seconds=1)),
        event("login", updated_at="2026-11-23T11:00:02-01:00"),
    ],
    "iat over updated_at": [event("login", updated_at=at(days=9)), event("login", 1)],
    "rank over updated_at": [event("signup", updated_at=at(days=9)), event("login")],
}


@pytest.mark.parametrize("events", OLDER_FIRST.values(), ids=OLDER_FIRST.keys())
def test_events_sort_by_era_then_time_then_rank_then_updated_at(events: list[Event]) -> None:
    """The order is text, so that a database can compare it."""
    orders = [each.order for each in events]
    assert orders == sorted(set(orders))


TIMES = st.none() | st.datetimes(datetime(2, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EventName), st.integers(0, 10**11), TIMES), max_size=4))
def test_the_order_as_text_is_the_order_as_values(
    parts: list[tuple[EventName, int, datetime | None]],
) -> None:
    """Padding makes the text of every number and time compare as its value does."""
    rows = []
    for name, second, moment in parts:
        text = moment.isoformat() if moment else None
        made = event(name, second, updated_at=text)
        era, rank = name is not EventName.VALIDATE, list(EventName).index(name)
        rows.append(((era, second, rank, moment or datetime.min.replace(tzinfo=UTC)), made.order))
    for values, order in rows:
        for other_values, other_order in rows:
            assert (values < other_values) == (order < other_order) or values == other_values


# --- properties ----------------------------------------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NEARLY_TIMES = st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-9]{2})\Z"
)
USERS = st.fixed_dictionaries(
    {},
    optional={"id": st.uuids().map(str) | JSON, "email": st.emails() | JSON, "aud": JSON}
    | {"role": JSON, "app_metadata": st.fixed_dictionaries({}, optional={"roles": JSON}) | JSON}
    | {"user_metadata": JSON, "created_at": NEARLY_TIMES | JSON, "updated_at": NEARLY_TIMES},
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(EventName) | JSON,
        "instance_id": st.just(str(ZERO_INSTANCE)) | JSON,
        "user": USERS | JSON,
    },
)


@settings(max_examples=examples(100))
@given(DOCUMENTS | st.dictionaries(st.text(max_size=8), JSON))
def test_any_object_is_an_event_or_a_body_error(content: dict[str, Any]) -> None:
    """No document raises anything else, and an event that is read can be used."""
    try:
        found = parse_event(json.dumps(content).encode(), CLAIMS)
    except BodyError:
        return
    if isinstance(found, Event):
        assert found.order
        assert isinstance(found.user.provider, str)
        assert all(isinstance(role, str) for role in found.user.roles)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_body_error(body: bytes) -> None:
    """What is signed may still be noise."""
    with pytest.raises(BodyError):
        parse_event(body, CLAIMS)
