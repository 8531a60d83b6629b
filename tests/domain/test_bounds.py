"""Whatever is accepted can travel on, and be read again wherever it arrives."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.forge import token
from tests.profiles import examples
from tests.support import NOON, account
from usher.core import bounds
from usher.core.captures.format import read_step, write_act
from usher.core.domain.administration import edit_app_metadata, edit_profile, grant_role
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, parse_event
from usher.core.domain.policy import check_app_metadata
from usher.core.domain.records import AuditEntry, User, audit
from usher.core.errors import MetadataInvalidError, PolicyError, RoleInvalidError
from usher.core.jws import Claims, open_compact
from usher.core.opaque import read_envelope
from usher.core.policy_file import parse_policy
from usher.core.strict_json import StrictJsonError, dumps, loads_object, written_bytes
from usher.emulator.payload import ZERO_INSTANCE, event_body, go_json

USER = User(ZERO_INSTANCE, UUID(int=1), created_at=NOON, updated_at=NOON, confirmed_at=NOON)
SECRET = b"0123456789abcdef0123456789abcdef"
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=9)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=9)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NUMBERS |= st.integers(300, 420).map(lambda digits: 10**digits)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
PADDING = st.sampled_from(["", "<" * 2_500, "<" * 2_800, "x" * 16_000, "\u2028" * 2_700])
DEPTH = st.sampled_from([0, 20, 28, 30, 31, 32, 61, 62])


def nested(value: Any, depth: int) -> Any:
    """The value inside so many lists."""
    for _ in range(depth):
        value = [value]
    return value


def by_go(value: Any) -> bytes:
    """As Identity writes what it has read: every number is a double."""
    if isinstance(value, dict):
        return b"{%s}" % b",".join(by_go(key) + b":" + by_go(item) for key, item in value.items())
    if isinstance(value, list):
        return b"[%s]" % b",".join(map(by_go, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        text = repr(number)
        if number == 0 or 1e-6 <= abs(number) < 1e21:
            text = format(Decimal(text), "f")
        return text.removesuffix(".0").encode()
    return go_json(value)


def doubles(value: Any) -> Any:
    """The same with every number as a double."""
    if isinstance(value, dict):
        return {key: doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [doubles(item) for item in value]
    return value if isinstance(value, bool) or not isinstance(value, int) else float(value)


def event_with(app_metadata: dict[str, Any]) -> Event:
    """A login whose account holds this."""
    body = event_body("login", account(user_id=USER.id, app_metadata={}, proven=False))
    body = body.replace(b'"app_metadata":{}', b'"app_metadata":' + by_go(app_metadata))
    event = parse_event(body, Claims(ZERO_INSTANCE, int(NOON.timestamp()), "0" * 64, 0))
    assert isinstance(event, Event)
    return event


def token_with(app_metadata: dict[str, Any], email: str) -> str:
    """An access token that carries it."""
    claims = {"exp": 2**40, "aud": "a" * 100, "sub": str(USER.id), "email": email}
    claims |= {"app_metadata": app_metadata, "user_metadata": {}}
    return token(by_go(claims), b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}', SECRET)


def travels(user: User, policy: dict[str, Any]) -> None:
    """A record goes to Identity, comes back, stands in a token and in a capture."""
    told = decide(
        event_with({"provider": "email"}), user, parse_policy(toml(policy)), NOON
    ).reply.app_metadata
    if told is not None:
        back = event_with(told)
        assert back.user.set_aside == ()
        assert doubles(back.user.app_metadata) == doubles(told)
        email = "<" * bounds.MAX_EMAIL_CHARACTERS
        text = token_with(told, email)
        assert len(text) <= bounds.MAX_ACCESS_TOKEN_BYTES
        claims, _ = open_compact(
            text, (SECRET,), bounds.MAX_ACCESS_TOKEN_BYTES, lambda data: read_envelope(data)[0]
        )
        assert doubles(claims["app_metadata"]) == doubles(told)
    entry = audit("user.changed", "test", None, user, NOON)
    assert entry is not None
    line = read_step(write_act(entry).encode())
    assert isinstance(line, AuditEntry)
    assert line.after == json.loads(json.dumps(entry.after))


def toml(constants: dict[str, Any]) -> str:
    """A policy with these constants, which are texts."""
    pairs = "".join(f"{json.dumps(key)} = {json.dumps(text)}\n" for key, text in constants.items())
    return f"[app_metadata]\n{pairs}"


@settings(max_examples=examples(200))
@given(VALUES, VALUES, PADDING, DEPTH)
@example({}, {}, "<" * 2_700, 31)
def test_a5_what_people_write_can_come_back(
    value: Any, profile: Any, padding: str, depth: int
) -> None:
    """It is refused, or read again in an event, a token and a capture."""
    try:
        user = edit_app_metadata(USER, {"x": nested(value, depth), "p": padding})
        user = edit_profile(user, {"x": nested(profile, depth)})
    except MetadataInvalidError:
        return
    travels(user, {})


def test_a5_all_at_their_most_fit_into_a_token() -> None:
    """An administrator's metadata, the policy's, and the roles, each as large as it may be."""
    most = (bounds.MAX_WRITTEN_BYTES - 20) // 6
    user = edit_app_metadata(USER, {"a": "<" * most})
    for number in range(20):
        user = grant_role(user, f"{number:02}" + "<" * 98, actor="test", now=NOON)
    with pytest.raises(RoleInvalidError, match="12288 is the most"):
        grant_role(user, "x" + "<" * 99, actor="test", now=NOON)
    travels(user, {"b": ">" * most})


WRONG: dict[str, tuple[Any, str]] = {
    "33 levels": (nested(1, 32), "deeper than 32"),
    "62 levels": (nested(1, 61), "deeper than 32"),
    "401 digits": (10**400, "out of range"),
    "no double": (2 * 10**308, "out of range"),
    "16 KiB": ("x" * 16_384, "16384 is the most"),
    "16 KiB as Go writes it": ("<" * 2_731, "16384 is the most"),
}


@pytest.mark.parametrize(("value", "said"), WRONG.values(), ids=WRONG.keys())
def test_a5_what_could_not_come_back_is_refused(value: Any, said: str) -> None:
    """In further app_metadata, in a profile, and in a policy alike."""
    with pytest.raises(MetadataInvalidError, match=said):
        edit_app_metadata(USER, {"x": value})
    with pytest.raises(MetadataInvalidError, match=said):
        edit_profile(USER, {"x": value})
    with pytest.raises(PolicyError, match=said):
        check_app_metadata({"x": value}, "policy.toml")


def test_a5_32_levels_are_taken() -> None:
    """The bound is exact."""
    user = edit_app_metadata(USER, {"x": nested(1, 31)})
    assert user.extra_app_metadata == {"x": nested(1, 31)}
    check_app_metadata({"x": nested(1, 31)}, "policy.toml")


def test_a5_a_policy_gives_no_more_roles_than_a_token_holds() -> None:
    """All of them could be one person's."""
    rules = "".join(f'[[role]]\ngrant = "{number:03}{"x" * 97}"\n' for number in range(130))
    with pytest.raises(PolicyError, match="12288 is the most"):
        parse_policy(rules)
    parse_policy(rules[: len(rules) // 2].rpartition("[[role]]")[0])


def test_a5_records_of_older_versions_still_travel_in_captures() -> None:
    """A profile of 64 levels stands three deeper in a line."""
    user = replace(USER, profile={"x": nested(1, 62)})
    entry = audit("user.changed", "test", None, user, NOON)
    assert entry is not None
    assert isinstance(read_step(write_act(entry).encode()), AuditEntry)


@settings(max_examples=examples(200))
@given(VALUES)
def test_the_size_is_never_less_than_what_identity_writes(value: Any) -> None:
    """Go escapes more than we do, and spells numbers out."""
    try:
        loads_object(dumps({"x": value}).encode(), doubles=True)
    except StrictJsonError:
        assume(False)
    assert len(by_go({"x": value})) <= written_bytes(dumps({"x": value}))


def test_every_bound_is_a_number() -> None:
    """The module holds nothing else."""
    found = {name: value for name, value in vars(bounds).items() if name.isupper()}
    assert found
    assert all(type(value) is int and value > 0 for value in found.values())
