"""Large tokens, and bodies that could not come back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.api_support import JWT_SECRET, People, ask
from tests.forge import encode, seal
from usher.core.bounds import MAX_ACCESS_TOKEN_BYTES

HEADER = encode(b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}')


def bearer_of(people: People, user_metadata: bytes, characters: int = 0) -> str:
    """The user's access token with this JSON text as their metadata; of this length."""
    payload = b'{"exp":%d,"sub":"%s","app_metadata":{},"user_metadata":%s%s}'
    until = int(people.app.clock().timestamp()) + 600
    who = str(people.ids["user"]).encode()

    def made(pad: bytes) -> str:
        return seal(HEADER, encode(payload % (until, who, user_metadata, pad)), JWT_SECRET)

    text = made(b"")
    while characters and len(text) < characters:
        text = made(b',"x":"%s"' % (b"x" * ((characters - len(made(b',"x":""'))) * 3 // 4)))
        break
    return f"Bearer {text}"


METADATA = {
    "U+0000": b'{"a\\u0000":"\\u0000"}',
    "half a pair": b'{"a":"\\udc00"}',
    "40 levels": b'{"a":' * 40 + b"1" + b"}" * 40,
    "401 digits": b'{"a":%s}' % (b"9" * 401),
    "a key twice": b'{"a":1,"a":2}',
    "30 KB": b'{"a":"%s"}' % (b"x" * 30_000),
}


@pytest.mark.parametrize("user_metadata", METADATA.values(), ids=METADATA.keys())
def test_a5_nobody_is_shut_out_by_their_own_metadata(people: People, user_metadata: bytes) -> None:
    """A token with it is as good as another."""
    answer = ask("GET", "/me", bearer_of(people, user_metadata))
    assert answer.status == 200
    assert answer.json["id"] == str(people.ids["user"])


def test_a5_the_claims_of_a_token_are_as_strict_as_ever(people: People) -> None:
    """Only what stands in the maps is opaque."""
    good = bearer_of(people, b"{}")
    assert ask("GET", "/me", good).status == 200
    twice = bearer_of(people, b'{},"sub":"x","user_metadata":{}')
    assert ask("GET", "/me", twice).status == 401


def test_a5_a_token_too_large_says_so(people: People) -> None:
    """With both numbers, for whoever looks after the site."""
    large = bearer_of(people, b"{}", MAX_ACCESS_TOKEN_BYTES)
    assert ask("GET", "/me", large).status == 200
    answer = ask("GET", "/me", bearer_of(people, b"{}", MAX_ACCESS_TOKEN_BYTES + 400))
    assert answer.status == 401
    assert f"{MAX_ACCESS_TOKEN_BYTES} is the most" in answer.json["detail"]


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [nested(32), nested(60), 10**400, "<" * 2_800], ids=["33", "61", "401 digits", "<"]
)
def test_a5_what_could_not_come_back_is_refused(people: People, value: Any) -> None:
    """In a profile, and in further app_metadata; nothing is changed."""
    patch = {"profile": {"x": value}}
    assert people.ask("user", "PATCH", "/me", patch).code == "metadata_invalid"
    patch = {"app_metadata": {"x": value}}
    answer = people.ask("administrator", "PATCH", "/users/{user}", patch)
    assert answer.code == "metadata_invalid"
    assert people.app.store.users.get(people.ids["user"]).version == 1
