"""The client of Identity's admin API when Identity is slow, away, or talks nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.stub import HANG, Answer, Stub, answering
from tests.support import free_port
from usher.core.domain.sync_plan import Trouble
from usher.core.errors import (
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    IdentityRefusedError,
    IdentityUnavailableError,
)
from usher.core.identity import http as identity_http
from usher.core.identity.client import IdentityClient, first_id
from usher.core.identity.http import HttpTransport

ADA = UUID(int=7)
TOKEN = "the-operators-own-token"


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """JSON."""
    return status, headers, json.dumps(document).encode()


USER = answer({"id": str(ADA), "email": "ada@example.com"})
PAGE = answer({"users": [{"id": str(ADA)}]})

Call = Callable[[IdentityClient], object]
READS: dict[str, tuple[Call, Answer]] = {
    "page": (lambda client: client.users(), PAGE),
    "user": (lambda client: client.user(ADA), USER),
    "update": (lambda client: client.update(ADA, app_metadata={"roles": []}), USER),
    "delete": (lambda client: client.delete(ADA), answer({})),
}
WRITES: dict[str, Call] = {
    "invite": lambda client: client.invite("a@b.c", {}),
    "create": lambda client: client.create("a@b.c", "a password"),
}


def client_of(url: str, **more: Any) -> tuple[IdentityClient, list[float]]:
    """A client, and the pauses that it makes."""
    pauses: list[float] = []
    admin = HttpTransport(url, lambda: TOKEN)
    return IdentityClient(url, admin, sleep=pauses.append, **more), pauses


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_can_be_repeated_is(name: str, status: int) -> None:
    """Twice at most, each pause uneven and longer than the one before."""
    call, good = READS[name]
    with answering(status, status, good) as stub:
        client, pauses = client_of(stub.url)
        call(client)
        assert len(stub.requests) == 3
        assert 0.1 <= pauses[0] <= 0.3
        assert 0.2 <= pauses[1] <= 0.6
    with answering(status) as stub:
        client, pauses = client_of(stub.url)
        with pytest.raises(IdentityUnavailableError, match=str(status)):
            call(client)
        assert len(stub.requests) == 3


@pytest.mark.parametrize("name", WRITES)
def test_what_would_be_done_twice_is_not_repeated(name: str) -> None:
    """An invitation is a mail."""
    with answering(503) as stub:
        client, pauses = client_of(stub.url)
        with pytest.raises(IdentityUnavailableError):
            WRITES[name](client)
        assert len(stub.requests) == 1
        assert pauses == []


def test_an_identity_that_is_away_is_tried_again_and_then_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what failed, and holds neither address nor token."""
    client, pauses = client_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(IdentityUnavailableError, match="could not be reached") as caught:
        client.users()
    assert len(pauses) == 2
    assert TOKEN not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    monkeypatch.setattr(identity_http, "ADMIN_READ_SECONDS", 0.2)
    with answering(HANG) as stub:
        client, pauses = client_of(stub.url, patience_seconds=0.2)
        with pytest.raises(IdentityUnavailableError, match="Timeout"):
            client.users()
        assert len(stub.requests) == 1
        assert pauses == []


@pytest.mark.parametrize(
    ("bad", "call"),
    [
        (answer([]), READS["page"][0]),
        (answer({}), READS["page"][0]),
        (answer({"users": {}}), READS["page"][0]),
        ((200, {}, b'{"users":[],"users":[]}'), READS["page"][0]),
        ((200, {}, b'{"users":[{]}'), READS["page"][0]),
        ((200, {}, b'{"users":[{}],"aud":x}'), READS["page"][0]),
        ((200, {}, b'{"users": ['), READS["page"][0]),
        (answer({}), READS["user"][0]),
        (answer({"id": str(UUID(int=8))}), READS["user"][0]),
        (answer({"id": str(UUID(int=8))}), READS["update"][0]),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), READS["user"][0]),
        (answer({}, 204), READS["user"][0]),
    ],
)
def test_nonsense_is_an_error(bad: Answer, call: Call) -> None:
    """Nothing that is not wholly understood goes any further."""
    with answering(bad) as stub:
        client, _ = client_of(stub.url)
        with pytest.raises(IdentityUnavailableError):
            call(client)


ODD = {
    "no object": b"7",
    "no id": b'{"email":"a@b.example"}',
    "an id that is none": b'{"id":"x"}',
    "an address that is none": b'{"id":"%s","email":7}',
    "a key twice": b'{"id":"%s","email":"a@b.example","email":"b@b.example"}',
    "no time": b'{"id":"%s","created_at":"yesterday"}',
    "U+0000 in an address": rb'{"id":"%s","email":"a\u0000@b.example"}',
    "no map": b'{"id":"%s","app_metadata":[]}',
    "no UTF-8": b'{"id":"%s","email":"\xff"}',
    "no JSON": b'{"id":"%s","email":nobody}',
    "the id twice": b'{"id":"%s","id":"%s"}',
    "deep": b'{"id":"%s","x":' + b"[" * 80 + b"]" * 80 + b"}",
    "large beside its metadata": b'{"id":"%s","x":"' + b"x" * 300_000 + b'"}',
}


@pytest.mark.parametrize("name", ODD)
def test_a4_an_odd_account_spoils_no_page(name: str) -> None:
    """It is told with its id, where that can be read, and its number in the whole list."""
    odd = ODD[name].replace(b"%s", str(ADA).encode())
    eve = {"id": str(UUID(int=9)), "email": "eve@example.com"}
    page = b'{"users":[%s,%s],"aud":""}' % (odd, json.dumps(eve).encode())
    with answering((200, {}, page)) as stub:
        client, _ = client_of(stub.url)
        found = client.users(3, 2)
    assert [user.email for user in found.users] == ["eve@example.com"]
    (unreadable,) = found.unreadable
    assert (unreadable.number, unreadable.trouble) == (5, Trouble.FORM)
    assert unreadable.id == (str(ADA) if name not in [*list(ODD)[:3], "the id twice"] else "")
    assert unreadable.why


@pytest.mark.parametrize("name", ODD)
def test_a4_a_push_reads_only_what_it_needs(name: str) -> None:
    """An account's id and its ``app_metadata``, however odd the rest is."""
    document = ODD[name].replace(b"%s", str(ADA).encode())
    legible = b'"app_metadata"' not in document and name in list(ODD)[3:]
    legible = legible and name != "the id twice"
    document = document[:-1] + b',"app_metadata":{"roles":["a"]}}' if legible else document
    with answering((200, {}, document)) as stub:
        client, _ = client_of(stub.url)
        if legible:
            for found in (client.metadata(ADA), client.update(ADA, app_metadata={})):
                assert found is not None
                assert found.roles == {"a"}
            with pytest.raises(IdentityAccountUnreadableError):
                client.user(ADA)
        else:
            with pytest.raises((IdentityAccountUnreadableError, IdentityUnavailableError)):
                client.metadata(ADA)


@pytest.mark.parametrize("read", [lambda c: c.users(), lambda c: c.user(ADA), lambda c: c.probe()])
def test_a4_an_answer_too_large_is_told_at_once(
    read: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the id of the first account where it has come; asking again would help nobody."""
    monkeypatch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 5_000)
    page = b'{"aud":"","users":[{"id":"%s","x":"%s"}]}' % (str(ADA).encode(), b"x" * 6_000)
    with answering((200, {}, page)) as stub:
        client, pauses = client_of(stub.url)
        with pytest.raises(IdentityAnswerTooLargeError, match="over 5000 bytes") as caught:
            read(client)
        assert len(stub.requests) == 1
        assert pauses == []
    assert first_id(caught.value.start) == str(ADA)
    assert first_id(page[:30]) == ""
    assert first_id(page.replace(str(ADA).encode(), b"-" * 36)) == ""


def test_a_push_reaches_an_account_too_large_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody keeps a role in their tokens by storing more than is read."""
    monkeypatch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 9_000)
    start = b'{"id":"%s","email":"a@b.c",' % str(ADA).encode()
    maps = (
        b'"app_metadata":{"user_metadata":{},"roles":["a"]},',
        b'"user_metadata":{"app_metadata":{"roles":["b"]},"x":"%s"}}' % (b"<" * 20_000),
    )
    with answering((200, {}, start + b"".join(maps))) as stub:
        client, _ = client_of(stub.url)
        for found in (client.metadata(ADA), client.update(ADA, app_metadata={"roles": []})):
            assert found is not None
            assert found.roles == {"a"}
        with pytest.raises(IdentityUnavailableError, match="another user"):
            client.metadata(UUID(int=8))
    for cut in (start + maps[1], start + b'"app_metadata":{"x":"%s"}}' % (b"<" * 90_000)):
        with answering((200, {}, cut)) as stub:
            client, _ = client_of(stub.url)
            with pytest.raises(IdentityAnswerTooLargeError, match="over 9000 bytes"):
                client.metadata(ADA)


def test_a4_a_large_answer_that_comes_too_slowly_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small one that does is Identity's trouble."""
    monkeypatch.setattr(identity_http, "ADMIN_BODY_SECONDS", -1.0)
    monkeypatch.setattr(identity_http, "MAX_ANSWER_BYTES", 100)
    with answering((200, {}, b"{" + b" " * 70_000 + b"}")) as stub:
        client, _ = client_of(stub.url)
        with pytest.raises(IdentityAnswerTooLargeError, match="had no end after"):
            client.user(ADA)
    with answering((200, {}, b"{}")) as stub:
        client, _ = client_of(stub.url)
        with pytest.raises(IdentityUnavailableError, match="had no end after"):
            client.user(ADA)


def test_a4_no_account_makes_the_probe_fail() -> None:
    """It asks beyond all accounts; one there means that Identity does not give pages."""
    with answering(answer({"users": [], "aud": ""})) as stub:
        client, _ = client_of(stub.url)
        client.probe()
        assert stub.requests[0][0].startswith("/admin/users?page=1000000&per_page=1")
        assert not client.is_away()
    for spoilt in (PAGE, 500, (200, {}, b"<html>")):
        with answering(spoilt) as stub:
            assert client_of(stub.url)[0].is_away()


@pytest.mark.parametrize(
    ("headers", "total", "more"),
    [
        ({"X-Total-Count": "7", "Link": '<x>; rel="next", <y>; rel="last"'}, 7, True),
        ({"X-Total-Count": "7", "Link": '<y>; rel="last"'}, 7, False),
        ({}, None, True),
        ({"X-Total-Count": "-1"}, None, True),
        ({"X-Total-Count": "9" * 30}, None, True),
    ],
)
def test_a_page_says_whether_there_are_more(
    headers: dict[str, str], total: int | None, more: bool
) -> None:
    """By its link; without one, a full page may not be the last."""
    with answering((200, headers, PAGE[2])) as stub:
        client, _ = client_of(stub.url)
        page = client.users(3, 1)
        assert (page.total, page.more) == (total, more)
        assert client.users(3, 2).more is (more and "Link" in headers)
        assert stub.requests[0][0] == "/admin/users?page=3&per_page=1&sort=created_at+asc"


def sent(stub: Stub) -> tuple[str, Any]:
    """Path and body of the last request."""
    path, headers, body = stub.requests[-1]
    assert headers["authorization"] == f"Bearer {TOKEN}"
    return path, json.loads(body) if body else None


def test_calls_are_as_identity_takes_them() -> None:
    """Paths and bodies (docs/identity.md)."""
    with answering(USER) as stub:
        client, _ = client_of(stub.url)
        client.update(ADA, app_metadata={"roles": ["a"], "gone": None})
        body = {"app_metadata": {"roles": ["a"], "gone": None}}
        assert sent(stub) == (f"/admin/users/{ADA}", body)
        client.update(ADA, {}, {"crm": 7})
        assert sent(stub) == (f"/admin/users/{ADA}", {"user_metadata": {"crm": 7}})
        client.create("a@b.c", "pw", confirm=True, data={"x": 1})
        made = {"email": "a@b.c", "password": "pw", "confirm": True, "user_metadata": {"x": 1}}
        assert sent(stub) == ("/admin/users", made)
        client.delete(ADA)
        assert sent(stub) == (f"/admin/users/{ADA}", None)
    with answering(answer({"msg": "no " * 200}, 422)) as stub:
        client, _ = client_of(stub.url)
        with pytest.raises(IdentityRefusedError) as caught:
            client.invite("a@b.c", {})
        assert len(str(caught.value)) < 300
