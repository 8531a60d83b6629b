"""For any history, the door tells of fresh refusals by the policy and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.api_support import BOSS
from tests.profiles import examples
from tests.support import Clock, account, signed
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.reply import Reply
from usher.core.door import NO_REASON, WINDOW, Door, render
from usher.core.settings import Settings
from usher.core.webhooks import Received
from usher.functions import api
from usher.functions._shared.http import Request

DENIED = "Please use an address that lasts."
EVENTS = ("validate", "signup", "login", "usermodified", "userdeleted")
STEP = st.tuples(
    st.sampled_from(
        (*EVENTS, "validate", "signup", "suspend", "suspend", "reactivate", "delete", "again")
    ),
    st.integers(0, 1),  # whose account
    st.integers(0, 1),  # with whose address
    st.booleans(),  # at a host that the policy refuses
    st.sampled_from((0, 1, 59, 599, 600)),  # seconds later
    st.sampled_from((False, False, False, True)),  # played back
)
NUMBERS = count()


@pytest.fixture
def house(
    database_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[App]:
    """The App with its door on and no hurry."""
    assert Door.__init__.__kwdefaults__
    monkeypatch.setitem(Door.__init__.__kwdefaults__, "lookup_seconds", 60)
    settings = make_settings(database_url=database_url, door=True, door_limit="this test")
    with use(App(settings, clock)) as app:
        yield app


class History:
    """Two accounts, two addresses at two hosts, and when the policy refused which."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app, self.clock = app, clock
        self.number = next(NUMBERS)
        self.ids = [uuid4() for _ in range(2)]
        self.refused: dict[str, list[tuple[UUID, datetime]]] = {}
        self.sent: Received | None = None
        self.send("signup", self.ids[0], self.address(0, denied=False), replayed=False)

    def address(self, number: int, denied: bool) -> str:
        host = "mailinator.com" if denied else "example.com"
        return f"p{number}.{self.number}@{host}"

    def take(self, step: tuple[str, int, int, bool, int, bool]) -> None:
        """Let one thing happen."""
        what, whose, address, denied, seconds, replayed = step
        self.clock.advance(seconds=seconds)
        if what in EVENTS:
            self.send(what, self.ids[whose], self.address(address, denied), replayed)
        elif what == "again" and self.sent is not None:
            self.process(self.sent)
        elif what != "again" and (user := self.app.store.users.look_up(self.ids[whose])):
            if user.deleted_at is None:
                command = getattr(administration, "suspend" if what == "suspend" else what)
                self.app.store.users.change(user, command(), BOSS)
            if what == "delete":
                self.forget(user.id)

    def send(self, event: str, whose: UUID, email: str, replayed: bool) -> None:
        known = self.app.store.users.look_up(whose)
        suspended = known is not None and known.suspended_at is not None
        delivery = signed(event, account(user_id=whose, email=email), at=self.clock())
        signature = (delivery.headers["X-Webhook-Signature"],)
        received = Received(signature, delivery.body, "/", None, self.clock(), replayed)
        reply = self.process(received)
        self.sent = received
        if event == "userdeleted":
            self.forget(whose)
        elif reply.status == 403 and not suspended and not replayed and event != "login":
            self.refused.setdefault(email, []).append((whose, self.clock()))

    def process(self, received: Received) -> Reply:
        (reply,) = self.app.webhooks.process([self.app.webhooks.verify(received)])
        assert isinstance(reply, Reply), reply
        return reply

    def forget(self, whose: UUID) -> None:
        for email, found in self.refused.items():
            self.refused[email] = [each for each in found if each[0] != whose]

    def expected(self, email: str) -> str:
        fresh = [at for _, at in self.refused.get(email, ()) if at > self.clock() - WINDOW]
        return render(DENIED if fresh else NO_REASON)


@given(st.lists(STEP, min_size=2, max_size=16), st.sampled_from((0, 1, 300, 599, 600, 3_600)))
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_door_tells_of_fresh_refusals_and_nothing_else(
    house: App, clock: Clock, steps: list[tuple[str, int, int, bool, int, bool]], later: int
) -> None:
    """Byte for byte one of two answers of one size, for every address there is."""
    assert len(render(DENIED).encode()) == len(render(NO_REASON).encode())
    history = History(house, clock)
    for step in steps:
        history.take(step)
    clock.advance(seconds=later)
    headers = {"content-type": ("application/json",)}
    for number in range(2):
        for denied in (True, False):
            email = history.address(number, denied)
            body = json.dumps({"email": email.upper()}).encode()
            answer = api.answer(Request("POST", "/api/door", headers, body))
            assert (answer.status, answer.body) == (200, history.expected(email))
    clock.advance(seconds=timedelta(days=1).total_seconds())
