"""The readers of single fields: times, addresses and role names."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.support import account
from usher.core.domain.events import (
    Event,
    email_key,
    parse_event,
    parse_time,
    split_address,
)
from usher.core.domain.held_roles import is_role
from usher.core.jws import Claims
from usher.emulator.payload import ZERO_INSTANCE, event_body


def utc(year: int, month: int, day: int, *time: int) -> datetime:
    """A time in UTC."""
    hour, minute, second, micro = (*time, 0, 0, 0, 0)[:4]
    return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)


# --- times ---------------------------------------------------------------------------------------

TIMES = {
    "2026-11-23T10:00:00Z": utc(2026, 11, 23, 10),
    "2026-11-23T10:00:00.5Z": utc(2026, 11, 23, 10, 0, 0, 500_000),
    "2026-11-23T10:00:00.123456Z": utc(2026, 11, 23, 10, 0, 0, 123_456),
    "2026-11-23T10:00:00.1234567Z": utc(2026, 11, 23, 10, 0, 0, 123_456),
    "2026-11-23T10:00:00.123456999Z": utc(2026, 11, 23, 10, 0, 0, 123_456),
    "2026-11-23T10:00:00+00:00": utc(2026, 11, 23, 10),
    "2026-11-23T10:00:00-00:00": utc(2026, 11, 23, 10),
    "2026-11-23T10:00:00+05:30": utc(2026, 11, 23, 4, 30),
    "2026-11-23T10:00:00-23:59": utc(2026, 11, 24, 9, 59),
    "2026-11-23T23:59:59.999999999+14:00": utc(2026, 11, 23, 9, 59, 59, 999_999),
    "2028-02-29T00:00:00Z": utc(2028, 2, 29),
    "0001-01-01T00:00:00Z": utc(1, 1, 1),
    "9999-12-31T23:59:59Z": utc(9999, 12, 31, 23, 59, 59),
}


@pytest.mark.parametrize(("text", "moment"), TIMES.items(), ids=TIMES.keys())
def test_an_rfc_3339_time_is_read_as_utc(text: str, moment: datetime) -> None:
    """Up to nine digits of a second (the last three are cut off) and any offset."""
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T10:00Z",
        "2026-11-23T10:00:00",
        "2026-11-23 10:00:00Z",
        "2026-11-23T10:00:00,5Z",
        "2026-11-23T10:00:00.Z",
        "2026-11-23T10:00:00.1234567890Z",
        "2026-11-23T10:00:00Z\n",
        "2026-11-23T10:00:00+0530",
        "2026-11-23T10:00:00+24:00",
        "2026-11-23T24:00:00Z",
        "2026-11-23T10:60:00Z",
        "2026-11-23T10:00:60Z",
        "2026-02-29T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "12026-11-23T10:00:00Z",
        "+2026-11-23T10:00:00Z",
        "2026-W48-1T10:00:00Z",
        "20261123T100000Z",
        "٢٠٢٦-11-23T10:00:00Z",
        "1795435200",
        "2026-11-23T10:00:00\0Z",
        "2026-11-23T10:00:00\0PZ",
    ],
    ids=repr,
)
def test_any_other_time_is_a_value_error(text: str) -> None:
    """Neither another format nor a moment that UTC cannot say."""
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00.000000001Z", None),
        ("1970-01-01T00:00:00Z", utc(1970, 1, 1)),
    ],
    ids=["null", "Go's zero time", "a nanosecond later", "the epoch"],
)
def test_gos_zero_time_means_not_set(sent: str | None, read: datetime | None) -> None:
    """Go writes a time that was never set as the first moment of year 1."""
    content = json.loads(event_body("login", account()))
    content["user"]["confirmed_at"] = sent
    event = parse_event(json.dumps(content).encode(), Claims(ZERO_INSTANCE, 0, "", 0))
    assert isinstance(event, Event)
    assert event.user.confirmed_at == read


OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 30), timezones=OFFSETS))  # noqa: DTZ001
def test_any_time_at_any_offset_is_read(moment: datetime) -> None:
    """What Python writes, we read as the same moment."""
    assert parse_time(moment.isoformat()) == moment


# --- addresses -----------------------------------------------------------------------------------

KEYS = {
    "ada@example.com": "ada@example.com",
    "Ada@EXAMPLE.com": "ada@example.com",
    "  ada@example.com\t": "ada@example.com",
    "ADA <Ada@Example.com>": "ada <ada@example.com>",
    "Ame\u0301lie@example.com": "am\u00e9lie@example.com",
    "AM\u00c9LIE@example.com": "am\u00e9lie@example.com",
    "A\u030aNGSTRO\u0308M@example.com": "\u00e5ngstr\u00f6m@example.com",
    "\u212bngstro\u0308m@example.com": "\u00e5ngstr\u00f6m@example.com",
    "\u0391\u0394\u0391@example.com": "\u03b1\u03b4\u03b1@example.com",
    "": "",
}


@pytest.mark.parametrize(("email", "key"), KEYS.items(), ids=[ascii(email) for email in KEYS])
def test_the_key_of_an_address_ignores_case_and_composition(email: str, key: str) -> None:
    """Composed, case-folded, and without white space around."""
    assert email_key(email) == key


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
def test_addresses_that_look_the_same_have_one_key(email: str, form: Any) -> None:
    """A key does not depend on how the text is composed, and is composed itself."""
    key = email_key(unicodedata.normalize(form, email))
    assert key == email_key(email)
    assert key == unicodedata.normalize("NFC", key)


ADDRESSES = {
    "ada@example.com": "ada@example.com",
    "ada+tag@example.com": "ada+tag@example.com",
    "ada@example.com.": "ada@example.com",
    "ada <ada@example.com>": "ada@example.com",
    "<ada@example.com>": "ada@example.com",
    '"lovelace, ada" <ada@example.com>': "ada@example.com",
    "ada <ada@example.com> (at home)": "ada@example.com",
    "ada@example.com (ada)": "ada@example.com",
    "ada@example.com ()": "ada@example.com",
    "ada%example.com@evil.com": "ada%example.com@evil.com",
    "ada@sub.example.com": "ada@sub.example.com",
    "am\u00e9lie@xn--bcher-kva.example": "am\u00e9lie@xn--bcher-kva.example",
}


@pytest.mark.parametrize(("key", "address"), ADDRESSES.items(), ids=[ascii(k) for k in ADDRESSES])
def test_the_one_address_is_found(key: str, address: str) -> None:
    """As Go's parser reads it: where mail would go, and its domain after the only @."""
    assert split_address(key) == (address, address.partition("@")[2])


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ada",
        "@",
        "@example.com",
        "ada@",
        "ada@.",
        "ada@..",
        "ada@@example.com",
        "ada@evil.com@example.com",
        "evil@x.com (y@example.com)",
        "evil@x.com (<y@example.com>)",
        "evil@x.com <y@example.com>",
        '"evil@x.com" <y@example.com>',
        "x <evil@x.com> <y@example.com>",
        "evil@x.com, y@example.com",
        "evil@x.com,y@example.com",
        "evil@x.com;y@example.com",
        "evil@x.com y@example.com",
        "evil@x.com\ny@example.com",
        "evil@x.com\0@example.com",
        "evil@x.com (a (b) c)",
        "(y) evil@x.com",
        "evil@x.com (a) (b)",
        "y@example.com <evil@x.com>",
        "<evil@x.com> y@example.com",
        "<<evil@x.com>>",
        "<evil@x.com",
        "evil@x.com>",
        '"evil@x.com"@example.com',
        '"a b"@example.com',
        "a\\@evil.com@example.com",
        "ada@[127.0.0.1]",
        "ada@example.com:25",
        "group: evil@x.com, y@example.com;",
        "@relay.example,@x:evil@x.com",
        "mailto:ada@example.com",
        "ada @example.com",
        "ada@ example.com",
        "ada@exa mple.com",
        "ada@b\u00fccher.example",
    ],
    ids=ascii,
)
def test_what_could_be_read_in_two_ways_is_not_read(key: str) -> None:
    """No rule about an address or a domain can be met by hiding another address in it."""
    assert split_address(key) == ("", "")


@settings(max_examples=examples(100))
@given(
    st.text()
    | st.lists(st.sampled_from([*'<>()@",;: \\', "a@b.c", "evil@x.com", "x"])).map("".join)
)
def test_an_address_is_plain_and_comes_from_the_text(text: str) -> None:
    """Exactly one @, no brackets, quotes or white space, and found as it is in the key."""
    address, domain = split_address(email_key(text))
    assert bool(address) == bool(domain)
    if address:
        assert address in email_key(text)
        assert address.count("@") == 1
        assert address.endswith("@" + domain)
        assert not set(address) & set('<>()",;:\\ \t\r\n')


# --- role names ----------------------------------------------------------------------------------

ROLE_NAMES = {
    "admin": True,
    "a": True,
    "a b": True,
    "a:b/c.d-e_f": True,
    "管理": True,
    "a" * 100: True,
    "a" * 101: False,
    "": False,
    " ": False,
    " a": False,
    "a ": False,
    "a\u00a0": False,
    "a\n": False,
    "a\tb": False,
    "a\0b": False,
    "a\x7f": False,
    "a\x9f": False,
}


@pytest.mark.parametrize(
    ("name", "good"),
    ROLE_NAMES.items(),
    ids=[ascii(name)[:12] + str(len(name)) for name in ROLE_NAMES],
)
def test_a_role_name_is_a_short_line_of_text(name: str, good: bool) -> None:
    """1 to 100 characters, no control character, no white space at either end."""
    assert is_role(name) is good
