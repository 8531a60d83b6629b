"""A strict envelope around opaque maps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from usher.core import bounds
from usher.core.domain.events import reduce_body
from usher.core.errors import BodyJsonError
from usher.core.opaque import only, only_of_start, read_envelope, read_list
from usher.core.strict_json import StrictJsonError, dumps, loads_object


def body(user_metadata: bytes = b"{}", app_metadata: bytes = b"{}", rest: bytes = b"") -> bytes:
    """A document with these two maps below ``user``."""
    return b'{"event":"x","user":{"id":"1","app_metadata":%s,"user_metadata":%s%s}}' % (
        app_metadata,
        user_metadata,
        rest,
    )


def read(data: bytes) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The two maps, and what was set aside."""
    document, notes = read_envelope(data, "user")
    user = document["user"]
    assert (document["event"], user["id"]) == ("x", "1")
    return user["app_metadata"], user["user_metadata"], [str(note) for note in notes]


REPLACED = "user_metadata: what cannot be stored was replaced"
TOO_LARGE = f"user_metadata: over {bounds.MAX_MAP_BYTES} bytes, set aside"
TOO_DEEP = f"user_metadata: over {bounds.MAX_MAP_DEPTH} levels, set aside"
MAPS: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "empty": (b"{}", {}, []),
    "ordinary": (b'{"a":[1,-2.5,null,true,"x"]}', {"a": [1, -2.5, None, True, "x"]}, []),
    "U+0000": (b'{"x":"a\\u0000b"}', {"x": "a\ufffdb"}, [REPLACED]),
    "U+0000 in a key": (b'{"a\\u0000":1}', {"a\ufffd": 1}, [REPLACED]),
    "U+0000, deeper": (b'{"a":[{"b":["\\u0000"]}]}', {"a": [{"b": ["\ufffd"]}]}, [REPLACED]),
    "half a pair": (b'{"a":"\\ud800x"}', {"a": "\ufffdx"}, [REPLACED]),
    "the other half": (b'{"a":"\\udc00"}', {"a": "\ufffd"}, [REPLACED]),
    "the wrong way round": (b'{"a":"\\udc00\\ud800"}', {"a": "\ufffd\ufffd"}, [REPLACED]),
    "a whole pair": (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}, []),
    "the text of an escape": (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}, []),
    "a key twice": (b'{"a":1,"a":2}', {"a": 2}, [REPLACED]),
    "1e400": (b'{"a":1e400}', {"a": None}, [REPLACED]),
    "1e and twenty digits": (b'{"a":1e99999999999999999999}', {"a": None}, [REPLACED]),
    "308 digits": (b'{"a":%s}' % (b"9" * 308), {"a": int("9" * 308)}, []),
    "401 digits": (b'{"a":%s}' % (b"9" * 401), {"a": None}, [REPLACED]),
    "-401 digits": (b'{"a":-%s}' % (b"9" * 401), {"a": None}, [REPLACED]),
    "5,000 digits": (b'{"a":%s}' % (b"9" * 5000), {"a": None}, [REPLACED]),
    "32 levels": (
        b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
        json.loads(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"),
        [],
    ),
    "33 levels": (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", {}, [TOO_DEEP]),
    "20,000 levels": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {}, [TOO_DEEP]),
    "100,000 levels": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, [TOO_LARGE]),
    "as large as it may be": (
        b'{"a":"%s"}' % (b"x" * (bounds.MAX_MAP_BYTES - 8)),
        {"a": "x" * (bounds.MAX_MAP_BYTES - 8)},
        [],
    ),
    "a byte more": (b'{"a":"%s"}' % (b"x" * (bounds.MAX_MAP_BYTES - 7)), {}, [TOO_LARGE]),
    "100,000 keys": (
        b"{" + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}",
        {},
        [TOO_LARGE],
    ),
    "quotes and brackets in texts": (
        b'{"a":"]}\\"{[","b":"%s\\\\"}' % (b"]}" * bounds.MAX_MAP_BYTES),
        {},
        [TOO_LARGE],
    ),
    "a name that the envelope has": (
        b'{"user":{"app_metadata":{"roles":["admin"]}},"user_metadata":{"x":"\\u0000"}}',
        {"user": {"app_metadata": {"roles": ["admin"]}}, "user_metadata": {"x": "\ufffd"}},
        [REPLACED],
    ),
}


@pytest.mark.parametrize(("text", "kept", "notes"), MAPS.values(), ids=MAPS.keys())
def test_a_map_is_kept_sanitised_or_set_aside(
    text: bytes, kept: dict[str, Any], notes: list[str]
) -> None:
    """Never refused; and the other map is as it was."""
    app_metadata, user_metadata, found = read(body(text, b'{"roles":["editor"]}'))
    assert (user_metadata, found) == (kept, notes)
    assert app_metadata == {"roles": ["editor"]}


def test_roles_and_provider_are_read_where_the_rest_is_set_aside() -> None:
    """They decide; a name that cannot be stored stays as it is, and is none."""
    large = b'{"x":"%s","roles":["editor","a\\u0000"],"provider":"google","deep":%s%s}' % (
        b"x" * bounds.MAX_MAP_BYTES,
        b"[" * 1000,
        b"]" * 1000,
    )
    app_metadata, user_metadata, notes = read(body(b'{"a":1}', large))
    assert app_metadata == {"roles": ["editor", "a\x00"], "provider": "google"}
    assert user_metadata == {"a": 1}
    assert notes == [f"app_metadata: over {bounds.MAX_MAP_BYTES} bytes, set aside"]


LARGE = b'"x":"' + b"a" * bounds.MAX_MAP_BYTES + b'"'
MOST = bounds.MAX_ROLES_BYTES
# roles as they stand in an app_metadata that is not kept as it came -> what is read
ROLES: dict[str, tuple[bytes, Any]] = {
    "null": (b"null", None),
    "a text": (b'"editor"', "editor"),
    "a text that cannot be stored": (b'"a\\u0000"', "a\x00"),
    "a number that no double holds": (b"1e400", {}),
    "half a pair": (b'"\\ud800"', {}),
    "an object with half a pair": (b'{"\\ud800":1}', {}),
    "elements with half a pair": (b'["a",["\\ud800"],{"b":"c"}]', ["a", None, {"b": "c"}]),
    "31 levels": (b"[" * 31 + b"]" * 31, json.loads("[" * 31 + "]" * 31)),
    "32 levels": (b"[" * 32 + b"]" * 32, {}),
    "the largest": (b'["%s"]' % (b"a" * (MOST - 4)), ["a" * (MOST - 4)]),
    "one byte more": (b'["%s"]' % (b"a" * (MOST - 3)), {}),
}


@pytest.mark.parametrize("large", [False, True], ids=["sanitised", "set aside"])
@pytest.mark.parametrize("name", ROLES)
def test_c1_roles_are_never_read_as_others(name: str, large: bool) -> None:
    """What cannot be taken as it is stands as an object, which is nobody's role."""
    written, read_as = ROLES[name]
    more = LARGE if large else b'"x":"\\u0000"'
    app_metadata, _, notes = read(body(app_metadata=b'{%s,"roles":%s}' % (more, written)))
    assert (app_metadata["roles"], len(notes)) == (read_as, 1)


def test_a_provider_too_large_to_be_read_is_left_out() -> None:
    """Nothing below a map makes an event unreadable."""
    found, _, notes = read(body(app_metadata=b'{"provider":"%s"}' % (b"p" * 70_000)))
    assert (found, len(notes)) == ({}, 1)


ENVELOPES = {
    "nothing": (b"", "Expecting value"),
    "a list": (b"[" + body() + b"]", "not an object"),
    "cut": (body()[:-1], "Expecting"),
    "cut within a large map": (body(b'{"a":"%s"' % (b"x" * 300_000)), "over 262144 bytes"),
    "two documents": (body(b'{"x":"\\u0000"}') * 2, "Extra data"),
    "a key twice": (b'{"event":1,' + body(b'{"x":"\\u0000"}')[1:], "'event' stands twice"),
    "a user twice": (b'{"user":{},' + body(b'{"x":"\\u0000"}')[1:], "'user' stands twice"),
    "a map twice": (body(b'{"x":"\\u0000"}', rest=b',"app_metadata":{}'), "stands twice"),
    "a map twice, one escaped": (
        body(b'{"x":"\\u0000"}', rest=b',"\\u0061pp_metadata":{}'),
        "'app_metadata' stands twice",
    ),
    "U+0000 beside the maps": (body(rest=b',"role":"\\u0000"'), "U+0000"),
    "65 levels beside the maps": (
        body(rest=b',"x":%s%s' % (b"[" * 63, b"]" * 63)),
        "nested deeper than 64 levels",
    ),
    "large beside the maps": (body(rest=b',"x":"%s"' % (b"x" * 300_000)), "over 262144 bytes"),
    "no JSON in a map": (body(b"{'a':1}"), "Expecting property name"),
    "NaN in a map": (body(b'{"a":NaN}'), "NaN is not JSON"),
    "brackets that do not match": (body(b'{"a":[}'), "Expecting value"),
    "not UTF-8 in a map": (body(b'{"a":"\xff"}'), "not UTF-8"),
}


@pytest.mark.parametrize(("text", "said"), ENVELOPES.values(), ids=ENVELOPES.keys())
def test_the_envelope_stays_strict(text: bytes, said: str) -> None:
    """As does the JSON of a map of ordinary size."""
    with pytest.raises(StrictJsonError) as refused:
        read_envelope(text, "user")
    assert said in str(refused.value)


def test_an_envelope_of_64_levels_is_read() -> None:
    """The maps have a bound of their own; nothing else became stricter."""
    data = body(b'{"x":"\\u0000"}', rest=b',"x":%s%s' % (b"[" * 62, b"]" * 62))
    assert read(data)[1] == {"x": "\ufffd"}
    assert read(body(rest=b',"x":%s%s' % (b"[" * 62, b"]" * 62)))[2] == []


def test_a_long_address_is_set_aside_unread() -> None:
    """Nothing is computed on it."""
    data = b'{"user":{"email":"%s","aud":"%s","id":"1"}}' % (b"x" * 300_000, b"y" * 300_000)
    document, notes = read_envelope(data, "user")
    assert document == {"user": {"email": None, "aud": None, "id": "1"}}
    assert [note.field for note in notes] == ["email", "aud"]


def test_the_maps_of_a_token_stand_at_its_top() -> None:
    """Its other claims are as strict as ever."""
    document, notes = read_envelope(b'{"sub":"1","user_metadata":{"a":"\\u0000"}}')
    assert document == {"sub": "1", "user_metadata": {"a": "\ufffd"}}
    assert [note.field for note in notes] == ["user_metadata"]
    with pytest.raises(StrictJsonError):
        read_envelope(b'{"sub":"\\u0000","user_metadata":{"a":"\\u0000"}}')


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
)
CONTENTS = st.dictionaries(ANY_TEXT, ANYTHING, max_size=3)


def as_go(value: Any) -> bytes:
    """JSON as Go escapes it."""
    return json.dumps(value).replace("<", "\\u003c").encode()


@settings(max_examples=examples(300))
@given(CONTENTS, CONTENTS, st.sampled_from([0, 0, 3_000, 20_000, 60_000]))
@example({"a": "\udc00"}, {"user": {}}, 60_000)
def test_no_content_of_the_maps_is_ever_refused(
    theirs: dict[str, Any], ours: dict[str, Any], pad: int
) -> None:
    """Whatever stands there, the envelope is read, and what is kept can be stored and sent."""
    theirs = {**theirs, "pad": "<" * pad}
    ours = {key: value for key, value in ours.items() if key not in ("roles", "provider")}
    app_metadata, user_metadata, notes = read(body(as_go(theirs), as_go(ours)))
    for kept in (app_metadata, user_metadata):
        assert loads_object(dumps(kept).encode(), doubles=True) == kept
    if not notes:
        assert (app_metadata, user_metadata) == (ours, theirs)


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "no value": (b'{"event":}', "Expecting value"),
    "a string without an end": (b'{"event":"x' + b"\\", "Unterminated string"),
    "a large app_metadata that is no JSON": (body(app_metadata=b"{%s,1:2}" % LARGE), "is no JSON"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_broken_grammar_is_a_refusal(name: str) -> None:
    """No encoder makes these: brackets, strings and members are told apart to the end."""
    data, words = UNREADABLE[name]
    with pytest.raises(StrictJsonError, match=words):
        read_envelope(data, "user")


def test_a_large_body_that_is_no_json_is_told_as_such() -> None:
    """Its bytes are not kept, but it is an invalid event like any other."""
    with pytest.raises(BodyJsonError):
        reduce_body(b'{"event":')


LISTS: list[tuple[bytes, tuple[bytes, ...]]] = [
    (b'{"users":[]}', ()),
    (b' {"users" : [ {"a":[1,{"b":"]}"}]} , 7,"x" ] } ', (b'{"a":[1,{"b":"]}"}]}', b"7", b'"x"')),
    (rb'{"users":[{"a":"\u0000","a":1},{"b":1e400}]}', (rb'{"a":"\u0000","a":1}', b'{"b":1e400}')),
    (b'{"users":[{"a":nonsense}]}', (b'{"a":nonsense}',)),
    (b'{"users":[{"a":"\xff"}],"x":{"users":[1]}}', (b'{"a":"\xff"}',)),
]  # fmt: skip


@pytest.mark.parametrize(("data", "elements"), LISTS)
def test_the_elements_of_a_list_are_found_and_not_read(
    data: bytes, elements: tuple[bytes, ...]
) -> None:
    """Each is read by itself, so that one cannot spoil the others."""
    rest, found = read_list(data, "users")
    assert found == elements
    assert rest["users"] == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"{}", b'{"users":{}}', b'{"users":[}', b'{"users":[1,]}',
        b'{"users":[,]}', b'{"users":[1 2]}', b'{"users":[1]', b'{"users":[],"users":[]}',
        b'{"users":[]}x',
        b'{"users":[],"aud":x}', b'{"users":[],"a":1,"a":2}', b'{"users":["]}', b'{"users":[{]}',
    ],
)  # fmt: skip
def test_what_holds_no_such_list_is_refused(data: bytes) -> None:
    """Whatever is around the elements is strict."""
    with pytest.raises(StrictJsonError):
        read_list(data, "users")


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text()))))
def test_every_list_of_documents_is_taken_apart(documents: list[dict[str, Any]]) -> None:
    """Whatever they hold; what is ordinary is then read as it was written."""
    data = json.dumps({"aud": "", "users": documents}).encode()
    rest, found = read_list(data, "users")
    assert rest == {"aud": "", "users": []}
    assert [json.loads(each) for each in found] == documents


def test_some_members_alone_are_kept() -> None:
    """As they stand, twice where they stand twice; nothing else needs to be readable."""
    data = rb' { "x":1e999, "id":"7","y":nonsense,"app_metadata":{"a":"\u0000"},"id":8 } '
    assert only(data, ("id", "app_metadata")) == rb'{"id":"7","app_metadata":{"a":"\u0000"},"id":8}'
    assert only(data, ()) == b"{}"
    for bad in (b"", b"7", b'{"id":', b'{"id":1}}', b"[]"):
        with pytest.raises(StrictJsonError):
            only(bad, ("id",))


def test_the_members_of_a_beginning_are_those_that_are_whole() -> None:
    """Wherever an answer is cut off, no value is read that has not come whole."""
    whole = b'{"id":"a\\"b","x":[1,{"app_metadata":7}],"app_metadata":{"r":["}"]},"y":12345}'
    needed = b'{"id":"a\\"b","app_metadata":{"r":["}"]}}'
    enough = whole.index(b',"y"')
    for end in range(len(whole) + 1):
        if end < enough:
            with pytest.raises(StrictJsonError, match="cut off"):
                only_of_start(whole[:end], ("id", "app_metadata"))
        else:
            assert only_of_start(whole[:end], ("id", "app_metadata")) == needed
