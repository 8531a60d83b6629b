"""The door in process: whom it tells why, and how little anybody else learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from threading import Event

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.api.api_support import BOSS, ask
from tests.support import Clock, account, signed, verified
from usher.core.app import App, use
from usher.core.bounds import DOOR_ANSWER_BYTES
from usher.core.domain import administration
from usher.core.domain.admission import Admission, DenyList
from usher.core.domain.conditions import Entries
from usher.core.domain.events import address_key
from usher.core.domain.reply import Reply
from usher.core.domain.rules import FilePolicy
from usher.core.door import (
    ADDRESS_PER_MINUTE,
    ANSWER_SECONDS,
    NETWORK_PER_MINUTE,
    NO_REASON,
    Door,
    render,
)
from usher.core.errors import DatabaseAwayError
from usher.core.settings import Settings
from usher.emulator.payload import Account
from usher.functions import api
from usher.functions._shared import http
from usher.functions._shared.headers import SECURITY_HEADERS
from usher.functions._shared.http import Request, Response, hold

DENIED = "Please use an address that lasts."
JSON = {"content-type": ("application/json",)}
FIXED = render(NO_REASON)


def question(email: object) -> bytes:
    """A body about an address."""
    return json.dumps({"email": email}).encode()


def put(body: bytes, network: str = "8.8.4.4", origin: str = "") -> Response:
    """Ask at once: nothing waits for the moment of the answer."""
    headers = JSON | ({"origin": (origin,)} if origin else {})
    return api.answer(Request("POST", "/api/door", headers, body), network=network)


def told(email: object, network: str = "8.8.4.4") -> str:
    """The sentence for an address."""
    answer = put(question(email), network)
    assert answer.status == 200, answer.body
    assert len(answer.body.encode()) == DOOR_ANSWER_BYTES
    assert answer.due_seconds == ANSWER_SECONDS
    document = json.loads(answer.body)
    assert set(document) == {"message", "padding"}
    assert document["padding"].strip(" ") == ""
    message: str = document["message"]
    assert answer.body == render(message)
    return message


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine has time for its look-ups."""
    assert Door.__init__.__kwdefaults__
    monkeypatch.setitem(Door.__init__.__kwdefaults__, "lookup_seconds", 60)


@pytest.fixture
def house(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """The App with its door on, on each database."""
    settings = make_settings(
        database_url=database_url, door=True, allowed_origins=("https://site.example",)
    )
    with use(App(settings, clock)) as app:
        yield app


@pytest.fixture
def lodge(sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """The same on SQLite alone."""
    with use(App(make_settings(database_url=sqlite_url, door=True), clock)) as app:
        yield app


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of the handler, which are noted and not made."""
    made: list[float] = []
    monkeypatch.setattr(http.hold, "__defaults__", (lambda: 100.0, made.append))
    monkeypatch.setattr(api, "perf_counter", lambda: 100.0)
    return made


def send(app: App, event: str, who: Account) -> int:
    """Identity sends an event now; the status of the answer."""
    now = app.clock()
    (reply,) = app.webhooks.process([verified(app.webhooks, signed(event, who, at=now), now)])
    assert isinstance(reply, Reply), reply
    return reply.status


def refuse(app: App, email: str, event: str = "validate") -> None:
    """Identity sends an event that the policy denies."""
    assert send(app, event, account(email=email, at=app.clock())) == 403


def test_door_tells_a_refused_person_why_for_ten_minutes(house: App, clock: Clock) -> None:
    """At validate and at signup; the last sentence counts; later nothing is told."""
    assert told("ada@mailinator.com") == NO_REASON
    refuse(house, "ada@mailinator.com")
    assert told("ada@mailinator.com") == DENIED
    assert told("bob@mailinator.com") == NO_REASON
    clock.advance(minutes=9, seconds=59)
    assert told("ada@mailinator.com", "9.9.9.9") == DENIED
    clock.advance(seconds=1)
    assert told("ada@mailinator.com", "9.9.9.9") == NO_REASON
    refuse(house, "ada@mailinator.com", "signup")
    assert told("ada@mailinator.com", "1.1.1.1") == DENIED


@pytest.mark.parametrize(
    ("signed_up", "asked"),
    [
        ("Ada@MAILINATOR.com", "ada@mailinator.COM"),
        ("ada@mailinator.com", "  ada@mailinator.com "),
        ("Ada <ada@mailinator.com>", "ada@mailinator.com"),
        ("ada@mailinator.com", "Ada <ADA@mailinator.com>"),
        ("ada@münchen.example", "ada@xn--mnchen-3ya.example"),
        ("ada@xn--mnchen-3ya.example", "ADA@MÜNCHEN.example"),
        ("zoe\u0301@mailinator.com", "zo\u00e9@mailinator.com"),
    ],
)
def test_door_knows_an_address_in_each_of_its_forms(lodge: App, signed_up: str, asked: str) -> None:
    """Letter case, blanks, names, both spellings of a domain, compositions."""
    denied = DenyList(Entries(frozenset({"mailinator.com", "xn--mnchen-3ya.example"})), DENIED)
    policy = FilePolicy(Admission(deny_email_domains=denied))
    lodge.policy_in_force.__dict__["current"] = policy
    refuse(lodge, signed_up)
    assert told(asked) == DENIED
    assert address_key(signed_up) == address_key(asked)


def test_door_tells_that_an_address_cannot_be_read(lodge: App) -> None:
    """It is found as the text that it is."""
    refuse(lodge, "A@b@mailinator.com")
    assert "that it can read" in told("a@B@mailinator.com")


def test_door_never_tells_of_a_suspension_or_a_login(house: App, clock: Clock) -> None:
    """Suspended: at validate, signup and login; deleted: at login. Identity shows its own words."""
    people = {name: account(email=f"{name}@example.com") for name in ("sue", "eve")}
    for who in people.values():
        send(house, "signup", who)
    users = house.store.users
    users.change(users.get(people["sue"].id), administration.suspend(), BOSS)
    users.change(users.get(people["eve"].id), administration.delete(), BOSS)
    for name, who in people.items():
        for event in ("validate", "signup", "login"):
            clock.advance(seconds=1)
            told_out = send(house, event, who) == 403
            assert told_out == (name == "sue" or event == "login")
        assert told(f"{name}@example.com") == NO_REASON
    assert [one.address_key for one in house.store.ledger.page().items if one.address_key] == []


def test_door_tells_nothing_of_replays_and_imports(house: App, clock: Clock) -> None:
    """What a file says, or somebody played back, refused nobody now."""
    refuse(house, "ada@mailinator.com")
    (live,) = house.store.ledger.page().items
    made = [
        replace(live, id="1" * 72, address_key="b@x.example", origin="replay"),
        replace(live, id="2" * 72, address_key="c@x.example", key_index=-1),
        replace(live, id="3" * 72, address_key="d@x.example"),
    ]
    with house.store.write() as connection:
        house.store.ledger.record(connection, made)
    assert told("b@x.example") == told("c@x.example") == NO_REASON
    assert told("d@x.example") == DENIED


def test_door_forgets_an_address_with_its_person(house: App, clock: Clock) -> None:
    """The key goes with the body when the account is deleted."""
    who = account(email="ada@example.com")
    send(house, "signup", who)
    clock.advance(seconds=1)
    moved = replace(who, email="ada@mailinator.com")
    send(house, "signup", moved)
    assert told("ada@mailinator.com") == DENIED
    house.store.users.change(house.store.users.get(who.id), administration.delete(), BOSS)
    assert told("ada@mailinator.com") == NO_REASON
    assert {(one.body, one.address_key) for one in house.store.ledger.page().items} == {(None, "")}


def test_door_keeps_the_address_of_nobody_but_the_refused(house: App, clock: Clock) -> None:
    """Every other event leaves the column empty, so that it costs the index nothing."""
    who = account(email="ada@example.com")
    for event in ("validate", "signup", "login", "usermodified"):
        clock.advance(seconds=1)
        send(house, event, who)
    assert {one.address_key for one in house.store.ledger.page().items} == {""}


BAD_BODIES: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"{}", 400),
    (b"[]", 400),
    (b"null", 400),
    (b'"ada@example.com"', 400),
    (b"{", 400),
    (b'{"email":"a@b.c","email":"d@e.f"}', 400),
    (b'{"email":"a@b.c","more":1}', 400),
    (b'{"Email":"a@b.c"}', 400),
    (b'{"email":null}', 400),
    (b'{"email":1}', 400),
    (b'{"email":true}', 400),
    (b'{"email":["a@b.c"]}', 400),
    (b'{"email":{"a":"b"}}', 400),
    (b'{"email":""}', 400),
    (b'{"email":"   "}', 400),
    (b'{"email":"ada"}', 400),
    (b'{"email":"a@b.c\\u0000"}', 400),
    (b'{"email":"a\\ud800@b.c"}', 400),
    (b'{"email":"a\\u200b@b.c"}', 400),
    (b'{"email":"a@b\\u202e.c"}', 400),
    (b'{"email":"a\\n@b.c"}', 400),
    (b'{"email":"\xff@b.c"}', 400),
    (b"\xef\xbb\xbf" + question("a@b.c"), 400),
    (question("a" * 320 + "@b.c"), 400),
    (question("\u1e69" * 310 + "@" + "\u1e69" * 20), 400),
    (question("\U0001d15e" * 300 + "@b.c"), 400),
    (question("a" * 300_000), 413),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES)
def test_door_refuses_what_is_no_address_before_anything_is_looked_up(
    lodge: App, body: bytes, status: int
) -> None:
    """At once, the same for everybody, and without the database or the door's counts."""
    answer = put(body)
    assert (answer.status, answer.due_seconds) == (status, 0)
    assert "_store" not in lodge.__dict__
    assert "door" not in lodge.__dict__
    assert put(body).body == answer.body


def test_door_takes_json_by_post_only(lodge: App) -> None:
    """As every other address of the API."""
    text = {"content-type": ("text/plain",)}
    assert api.answer(Request("POST", "/api/door", text, question("a@b.c"))).status == 415
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        answer = api.answer(Request(method, "/api/door", {}, b""))
        assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")
    assert ask("OPTIONS", "/door").headers["Allow"] == "POST, OPTIONS"


def test_door_that_is_off_is_an_unknown_address(
    sqlite_url: str, make_settings: Callable[..., Settings]
) -> None:
    """For every method and body, byte for byte, header for header."""
    with use(App(make_settings(database_url=sqlite_url, allowed_origins=("https://a.example",)))):
        for method in ("GET", "HEAD", "POST", "PATCH", "OPTIONS"):
            for body in (b"", question("a@b.c"), b"nonsense"):
                for headers in (JSON, {}, JSON | {"origin": ("https://a.example",)}):
                    found = [
                        api.answer(Request(method, f"/api/{path}", headers, body))
                        for path in ("door", "nowhere")
                    ]
                    assert found[0] == found[1]
                    assert (found[0].status, found[0].due_seconds) == (404, 0)


def test_door_answers_alike_in_every_header(house: App) -> None:
    """A refused address and any other: the same status, headers and size, no ETag, no cookie."""
    refuse(house, "ada@mailinator.com")
    origin = "https://site.example"
    known = put(question("ada@mailinator.com"), origin=origin)
    other = put(question("bob@mailinator.com"), origin=origin)
    assert json.loads(known.body)["message"] == DENIED
    assert replace(known, body="") == replace(other, body="")
    assert known.headers["Access-Control-Allow-Origin"] == origin
    assert known.headers["Cache-Control"] == "no-store, no-transform"
    assert set(known.all_headers()) == {
        *SECURITY_HEADERS, "Content-Type", "Vary",
        "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
    }  # fmt: skip
    elsewhere = put(question("ada@mailinator.com"), origin="https://other.example")
    assert "Access-Control-Allow-Origin" not in elsewhere.headers


def test_door_counts_questions_about_one_address_without_a_word(lodge: App) -> None:
    """Beyond the limit the answer is the fixed one: a 429 would say that others asked."""
    refuse(lodge, "ada@mailinator.com")
    networks = [f"8.8.{n}.1" for n in range(ADDRESS_PER_MINUTE + 1)]
    found = [told("ada@mailinator.com", network) for network in networks]
    assert found == [DENIED] * ADDRESS_PER_MINUTE + [NO_REASON]
    assert told("Ada <ADA@mailinator.com>", "9.9.9.9") == NO_REASON
    refuse(lodge, "bob@mailinator.com")
    assert told("bob@mailinator.com", "9.9.9.9") == DENIED


def test_door_counts_the_questions_of_one_network(lodge: App) -> None:
    """429 with Retry-After, at once, whatever is asked; others go on."""
    refuse(lodge, "ada@mailinator.com")
    for number in range(NETWORK_PER_MINUTE):
        assert told(f"a{number}@b.example") == NO_REASON
    answers = [put(question(email)) for email in ("ada@mailinator.com", "x@b.example")]
    assert [(one.status, one.due_seconds) for one in answers] == [(429, 0)] * 2
    assert answers[0].body == answers[1].body
    assert int(answers[0].headers["Retry-After"]) > 0
    assert told("ada@mailinator.com", "9.9.9.9") == DENIED


def test_door_stays_shut_where_nothing_counts(
    sqlite_url: str, make_settings: Callable[..., Settings], naps: list[float]
) -> None:
    """A platform that does not tell the caller's address; unless its own limit is named."""
    with use(App(make_settings(database_url=sqlite_url, door=True))):
        answer = ask("POST", "/door", body={"email": "a@b.c"})
        assert (answer.status, answer.code) == (500, "settings_invalid")
        assert naps == []
    named = make_settings(database_url=sqlite_url, door=True, door_limit="AWS WAF")
    with use(App(named)):
        for _ in range(NETWORK_PER_MINUTE + 1):
            assert ask("POST", "/door", body={"email": "a@b.c"}).text == FIXED
        assert naps == [ANSWER_SECONDS] * (NETWORK_PER_MINUTE + 1)


def test_door_answers_at_one_moment_however_long_the_work_took() -> None:
    """The rest of the time is waited for; none is left after slow work, and others do not wait."""
    naps: list[float] = []
    for worked in (0.0, 0.3, 0.999, 1.0, 7.0):
        due = Response(200, due_seconds=ANSWER_SECONDS)
        assert hold(due, 50.0, lambda worked=worked: 50.0 + worked, naps.append) is due  # type: ignore[misc]
    assert naps == pytest.approx([1.0, 0.7, 0.001])
    hold(Response(200), 50.0, lambda: 50.0, naps.append)
    assert len(naps) == 3


def test_door_says_the_same_while_the_database_is_away(
    tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., Settings]
) -> None:
    """No server, or a folder that is not there: the fixed answer, and a line for the operator."""
    folder = tmp_path_factory.mktemp("away")
    for url in (
        f"sqlite:///{folder}/none/usher.db",
        "postgresql+psycopg://u:p@127.0.0.1:1/usher",
    ):
        with use(App(make_settings(database_url=url, door=True))):
            assert put(question("ada@mailinator.com")).body == FIXED


def test_door_does_not_wait_for_a_database_that_hangs() -> None:
    """A look-up that takes too long is given up, and the next asks do not queue behind it."""
    hung, asked = Event(), []

    def find(key: str, _after: object) -> str:
        asked.append(key)
        hung.wait(600)
        return DENIED

    door = Door(find, Clock(), lambda: 0.0, lookup_seconds=0.01)
    try:
        with capture_logs() as lines:
            for number in count():  # a look-up that did not begin in time is none
                assert door.why(f"ada{number}@b.c") == NO_REASON
                if asked:
                    break
            assert [door.why(f"{name}@b.c") for name in ("bob", "eve")] == [NO_REASON] * 2
        assert len(asked) == 1
        assert {line["event"] for line in lines} == {"door.failed"}
        assert {line["code"] for line in lines} == {"database_unavailable"}
        assert "ada" not in json.dumps(lines)
        hung.set()
        assert door._late is not None
        door._late.result(60)
        door._lookup_seconds = 60
        assert door.why("ada@b.c") == DENIED
    finally:
        hung.set()
        door.close()


@pytest.mark.parametrize("error", [DatabaseAwayError("gone"), ValueError("odd"), MemoryError()])
def test_door_hides_every_failure(error: Exception) -> None:
    """The caller sees no difference, whatever went wrong."""

    def find(_key: str, _after: object) -> str:
        raise error

    door = Door(find, Clock(), lambda: 0.0)
    assert door.why("ada@b.c") == NO_REASON
    door.close()


def test_door_leaves_no_address_in_the_log(house: App) -> None:
    """The line of an answer is the same for a refused address and any other."""
    refuse(house, "ada@mailinator.com")
    with capture_logs() as lines:
        for email in ("ada@mailinator.com", "bob@mailinator.com"):
            told(email)
    assert [line["event"] for line in lines] == ["api.answered"] * 2
    for line in lines:
        del line["duration_ms"]
    assert lines[0] == lines[1]
    assert "mailinator" not in json.dumps(lines)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "m" * 500,
        "\x01" * 500,
        "𝄞" * 2_000,
        '"\\' * 900,
        NO_REASON,
    ],
)
def test_door_has_one_size(message: str) -> None:
    """Whatever the sentence is; one that is too long is cut."""
    text = render(message)
    assert len(text.encode()) == DOOR_ANSWER_BYTES
    said = json.loads(text)["message"]
    assert said == message or (said[:-1] == message[: len(said) - 1] and said[-1] == "…")
