"""Sinks: their URLs, their secrets, and what they are sent."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import NOON
from usher.core.bounds import MAX_SINK_SECRETS, MAX_SINK_URL_CHARACTERS
from usher.core.domain.outbox import Change, Kind, Person
from usher.core.domain.sink_urls import Target, target_of
from usher.core.domain.sinks import (
    Secret,
    Sink,
    Trial,
    check_secret,
    check_sink,
    sink_document,
    trial_document,
    trial_webhook,
    webhook,
)
from usher.core.domain.standard_webhooks import secret_text
from usher.core.errors import SinkInvalidError

HOUR = timedelta(hours=1)
SINK = Sink(
    id=UUID(int=7),
    url="https://crm.example/hook",
    kinds=("user.*",),
    full=False,
    secrets=(Secret("first"),),
    created_at=NOON,
    created_by="cli:ada",
)
CHANGE = Change(
    id="chg_1",
    kind=Kind.ROLE_GRANTED,
    at=NOON,
    instance_id=UUID(int=1),
    user=Person(
        id=UUID(int=2),
        email="ada@example.com",
        status="active",
        roles=("editor",),
        user_metadata={"name": "Ada"},
        app_metadata={"plan": "pro"},
        profile={"city": "Köln"},
        written={"customer": "c_1"},
    ),
    role="editor",
    before={"roles": {}},
    after={"roles": {"editor": {}}},
    actor="cli:ada",
    reason="asked for it",
    delivery_id="d1",
    sequence=9,
)

URLS: list[tuple[str, Target, str]] = [
    ("https://crm.example", Target(True, "crm.example", 443, "/"), "crm.example"),
    ("https://CRM.Example/Hook?a=B", Target(True, "crm.example", 443, "/Hook?a=B"), "crm.example"),
    ("https://crm.example?a", Target(True, "crm.example", 443, "/?a"), "crm.example"),
    ("https://crm.example:8443/", Target(True, "crm.example", 8443, "/"), "crm.example:8443"),
    ("https://crm.example:443/", Target(True, "crm.example", 443, "/"), "crm.example"),
    ("http://billing:8000/x", Target(False, "billing", 8000, "/x"), "billing:8000"),
    ("http://billing:443/x", Target(False, "billing", 443, "/x"), "billing:443"),
    ("https://1.1.1.1/", Target(True, "1.1.1.1", 443, "/"), "1.1.1.1"),
    ("https://[2606:4700:0::1111]/", Target(True, "2606:4700::1111", 443, "/"),
     "[2606:4700::1111]"),
    ("https://[::1]:8443", Target(True, "::1", 8443, "/"), "[::1]:8443"),
    ("https://xn--mnchen-3ya.example/", Target(True, "xn--mnchen-3ya.example", 443, "/"),
     "xn--mnchen-3ya.example"),
    ("https://a-1.b2.example/~x/%7e!$&'()*+,;=:@-._",
     Target(True, "a-1.b2.example", 443, "/~x/%7e!$&'()*+,;=:@-._"), "a-1.b2.example"),
]  # fmt: skip

REFUSED = {
    "another scheme": """ftp://crm.example/ HTTPS://crm.example/ //crm.example crm.example
        javascript:alert(1) file:///etc/passwd gopher://crm.example/ https:/crm.example/
        https:crm.example https:///crm.example/ https:///hook https://""",
    "userinfo": """https://ada@crm.example/ https://ada:@crm.example/ https://@crm.example/
        https://crm.example:@10.0.0.1/ https://crm.example%40@10.0.0.1/
        https://crm.example\\@10.0.0.1/""",
    "odd ports": """https://crm.example:0/ https://crm.example:/ https://crm.example:22/
        https://crm.example:25/ https://crm.example:1023/ https://crm.example:65536/
        https://crm.example:0443/ https://crm.example:+443/ https://crm.example:-1/
        https://crm.example:99999999999/ https://crm.example:443:443/
        https://crm.example:\uff14\uff14\uff13/""",
    "trailing dots": """https://crm.example./ https://crm.example.:443/ https://crm.example../
        https://127.0.0.1./ https://localhost./""",
    "hosts": f"""https://.example/ https://a..example/ https://-a.example/ https://a-.example/
        https://a_b.example/ https://{"a" * 64}.example/ https://{"a." * 126}example/
        https://a%2eexample/ https://a\0.evil.example/ https://a,b.example/ https://*.example/""",
    "decimal, octal and hex": """https://2130706433/ https://127.1/ https://127.0.1/
        https://0177.0.0.1/ https://017700000001/ https://0x7f000001/ https://0x7f.0.0.1/
        https://0x7f.1/ https://0X7F.1/ https://127.0.0.0x1/ https://127.0.0.01/
        https://127.0.0.256/ https://127.0.0.1.1/ https://0/ https://0x/ https://1/
        https://4294967297/ https://a.0x7f/ https://a.1/""",
    "brackets": """https://[::1/ https://::1/ https://[::1]x/ https://[]/ https://[1]/
        https://[fe80::1%25eth0]/ https://[fe80::1%eth0]/ https://[127.0.0.1]/
        https://[::ffff:127.0.0.0x1]/ https://[v1.a]/""",
    "international names": """https://m\xfcnchen.example/ https://\u2460.\u24ea.\u24ea.\u2460/
        https://crm\u3002example/ https://\uff4cocalhost/ https://crm.ex\u0430mple/
        https://crm.example\xad/""",
    "other characters": """https://crm.example/#a https://crm.example#a https://crm.example/\\
        https://crm.example/" https://crm.example/< https://crm.example/\xe4
        https://crm.example/{} https://crm.example/[] https://crm.example/`""",
    "length": f"https://crm.example/{'a' * MAX_SINK_URL_CHARACTERS}",
}
BLANKS = (
    "", " https://crm.example/", "https://crm.example/a b", "https://crm.example/\n",
    "https://crm.example/\r\nX: 1", "https://crm.example/\t", "https://crm.example:4 43/",
    "https://crm .example/",
)  # fmt: skip


@pytest.mark.parametrize(("url", "target", "authority"), URLS)
def test_a_url_is_taken_apart(url: str, target: Target, authority: str) -> None:
    """Into one spelling; ``Host`` has the port where it is not the usual one."""
    assert target_of(url) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        *(
            pytest.param(url, id=f"{what} {at}")
            for what, urls in REFUSED.items()
            for at, url in enumerate(urls.split(), 1)
        ),
        *(pytest.param(url, id=f"blanks {at}") for at, url in enumerate(BLANKS, 1)),
    ],
)
def test_ssrf_urls_that_two_readers_might_read_differently_are_refused(url: str) -> None:
    """Userinfo, odd ports, trailing dots, IDN, and addresses in any other than the usual form."""
    with pytest.raises(SinkInvalidError):
        target_of(url)


@given(st.text(alphabet="htps:/[]@.:%\\#?x0127f é\n-", max_size=30).map("https://".__add__))
def test_any_url_that_is_taken_means_the_same_to_the_standard_library(url: str) -> None:
    """Its host, its port and its path, or it is refused."""
    try:
        target = target_of(url)
    except SinkInvalidError:
        return
    parts = urlsplit(url)
    assert (parts.username, parts.fragment) == (None, "")
    assert (parts.port or 443) == target.port
    assert target.address is not None or parts.hostname == target.host
    assert target.path.removeprefix("/").startswith(parts.path.removeprefix("/"))


@pytest.mark.parametrize(
    ("url", "networks", "problem"),
    [
        ("https://crm.example/", (), ""),
        ("https://1.1.1.1/", (), ""),
        ("http://billing/", ("10.0.0.0/8",), ""),
        ("http://10.0.0.1/", ("10.0.0.0/8",), ""),
        ("https://10.0.0.1/", ("10.0.0.0/8",), ""),
        ("https://[fd00::1]/", ("fd00::/8",), ""),
        ("http://crm.example/", (), "begins with https://"),
        ("http://1.1.1.1/", ("10.0.0.0/8",), "not public"),
        ("https://10.0.0.1/", (), "not public"),
        ("https://127.0.0.1/", ("10.0.0.0/8",), "not public"),
        ("https://[::1]/", (), "not public"),
        ("https://[::ffff:1.1.1.1]/", (), "not public"),
        ("https://[64:ff9b::a9fe:a9fe]/", (), "not public"),
        ("https://169.254.169.254/latest/meta-data/", (), "not public"),
    ],
)
def test_an_address_in_the_url_is_checked_at_once(
    url: str, networks: tuple[str, ...], problem: str
) -> None:
    """A name is only at each attempt; http is for networks of one's own."""
    allowed = tuple(map(ip_network, networks))
    if problem:
        with pytest.raises(SinkInvalidError, match=problem):
            check_sink(url, ["*"], allowed)
    else:
        check_sink(url, ["*"], allowed)


@pytest.mark.parametrize("kinds", [["*"], ["user.*", "role.granted"], [*Kind]])
def test_kinds_that_exist_are_taken(kinds: list[str]) -> None:
    """One, a family, all."""
    check_sink(SINK.url, kinds, ())


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ([], "needs a kind"),
        (["user.*", "user.eaten"], "no kind of change 'user.eaten', but: user.cr"),
    ],
)
def test_kinds_that_do_not_exist_are_told(kinds: list[str], problem: str) -> None:
    """With those that do."""
    with pytest.raises(SinkInvalidError, match=problem):
        check_sink(SINK.url, kinds, ())


def test_a_secret_is_checked_in_words() -> None:
    """For people who bring their own."""
    check_secret(secret_text(bytes(24)))
    with pytest.raises(SinkInvalidError, match="A secret begins with whsec_"):
        check_secret("hunter2")


def test_after_a_rotation_the_old_secret_signs_for_a_day() -> None:
    """Then the new one alone; the newest signs first."""
    rotated = replace(SINK, secrets=SINK.rotated("second", NOON, at_once=False))
    assert rotated.signing(NOON) == ("second", "first")
    assert rotated.signing(NOON + 24 * HOUR - HOUR / 60) == ("second", "first")
    assert rotated.signing(NOON + 24 * HOUR) == ("second",)
    assert sink_document(rotated, NOON)["old_secret_until"] == NOON + 24 * HOUR
    assert sink_document(rotated, NOON + 24 * HOUR)["old_secret_until"] is None
    assert replace(SINK, secrets=rotated.rotated("third", NOON, at_once=True)).signing(NOON) == (
        "third",
    )


def test_a_second_rotation_ends_no_secret_earlier() -> None:
    """A lost answer, and a second click: the receiver's secret still signs."""
    once = replace(SINK, secrets=SINK.rotated("second", NOON, at_once=False))
    twice = replace(once, secrets=once.rotated("third", NOON + HOUR, at_once=False))
    assert twice.signing(NOON + HOUR) == ("third", "second", "first")
    assert twice.signing(NOON + 24 * HOUR) == ("third", "second")
    assert twice.signing(NOON + 25 * HOUR) == ("third",)
    thrice = replace(twice, secrets=twice.rotated("fourth", NOON + 24 * HOUR, at_once=False))
    assert [each.text for each in thrice.secrets] == ["fourth", "third", "second"]


def test_a_rotation_that_would_end_a_secret_is_refused() -> None:
    """As is one to a secret that signs already."""
    sink = SINK
    for number in range(MAX_SINK_SECRETS - 1):
        sink = replace(sink, secrets=sink.rotated(f"s{number}", NOON, at_once=False))
    with pytest.raises(SinkInvalidError, match="Wait for that, or end them all now"):
        sink.rotated("more", NOON, at_once=False)
    assert sink.rotated("more", NOON, at_once=True) == (Secret("more"),)
    with pytest.raises(SinkInvalidError, match="in use already"):
        SINK.rotated("first", NOON, at_once=True)


def test_a_thin_webhook_has_ids_and_the_kind_alone() -> None:
    """Nothing of the person but the id."""
    document = json.loads(webhook(CHANGE, full=False))
    assert document == {
        "type": "role.granted",
        "timestamp": "2026-11-23T12:00:00Z",
        "data": {
            "id": "chg_1",
            "instance_id": str(UUID(int=1)),
            "user_id": str(UUID(int=2)),
            "sequence": 9,
            "delivery_id": "d1",
            "role": "editor",
        },
    }
    assert json.loads(webhook(replace(CHANGE, role=""), full=False))["data"]["role"] is None


def test_a_full_webhook_has_the_person_and_what_differs() -> None:
    """And who did it, with the reason."""
    thin = json.loads(webhook(CHANGE, full=False))["data"]
    data: dict[str, Any] = json.loads(webhook(CHANGE, full=True))["data"]
    more = {name: value for name, value in data.items() if name not in thin}
    assert {name: data[name] for name in thin} == thin
    assert more == {
        "user": {
            "id": str(UUID(int=2)),
            "email": "ada@example.com",
            "status": "active",
            "roles": ["editor"],
            "user_metadata": {"name": "Ada"},
            "app_metadata": {"plan": "pro"},
            "profile": {"city": "Köln"},
            "written": {"customer": "c_1"},
        },
        "before": {"roles": {}},
        "after": {"roles": {"editor": {}}},
        "actor": "cli:ada",
        "reason": "asked for it",
    }


def test_a_trial_names_the_sink() -> None:
    """Its type is none of a change."""
    document = json.loads(trial_webhook(SINK, NOON))
    assert document["type"] == "sink.test"
    assert document["data"] == {"sink_id": str(SINK.id)}
    assert SINK.consumer == f"sink:{SINK.id}"


@pytest.mark.parametrize(
    ("trial", "delivered", "problem"),
    [(Trial(204, "", 7), True, None), (Trial(None, "nobody answers", 7), False, "nobody answers")],
)
def test_a_trial_tells_its_outcome(trial: Trial, delivered: bool, problem: str | None) -> None:
    """Delivered is what has no problem."""
    assert trial_document(trial) == {
        "delivered": delivered,
        "status": trial.status,
        "problem": problem,
        "elapsed_ms": 7,
    }


def test_nothing_shows_a_secret() -> None:
    """Neither its document nor a traceback."""
    secret = secret_text(bytes(range(24)))
    sink = replace(SINK, secrets=(Secret(secret), Secret(secret, NOON + HOUR)))
    assert secret not in repr(sink)
    assert secret not in str(sink_document(sink, NOON))
    assert sink_document(sink, NOON)["state"] == "active"
    assert sink_document(replace(sink, paused_at=NOON), NOON)["state"] == "paused"
