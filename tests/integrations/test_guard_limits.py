"""Tokens that somebody makes up: only so many of them cost a question elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from tests.api.api_support import People, bearer
from tests.integrations.conftest import asking
from tests.integrations.sites import call, module
from tests.stub import Stub, answering
from tests.support import NOON, Clock
from usher.core.app import App, use
from usher.core.errors import GuardError, TooManyRequestsError, UnauthenticatedError
from usher.core.limits import RateLimiter
from usher.core.settings import Settings
from usher.integrations import guard as guard_module
from usher.integrations.guard import Guard, Visit

PEER = "9.9.9.9"


def made_up(**claims: object) -> str:
    """A well-formed token, signed by nobody."""
    return "Bearer " + bearer(uuid4(), NOON, b"x" * 32, **claims)


def visit(token: str, peer: str = PEER) -> Visit:
    """A request from an address."""
    return Visit("GET", (token,), peer=peer)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of limits that stands still, whatever the machine does meanwhile."""
    monkeypatch.setattr(guard_module, "monotonic", lambda: 0.0)


def test_through_each_framework_an_address_has_only_so_many_tokens_refused(
    framework: str,
    people: People,
    over_http: Stub,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then 429, without a question; good people there pass, and other addresses are asked about."""
    found = module(framework).signed_in
    owner = getattr(found, "__self__", None)
    assert isinstance(owner, Guard)
    monkeypatch.setattr(owner, "_refused", RateLimiter(3, lambda: 0.0))

    def ask(token: str, peer: str = PEER) -> tuple[int, str]:
        answer = call(framework, "GET", "/account", ("Authorization", token), peer=peer)
        if answer.status == 429:
            assert answer.headers["retry-after"] == "20"
        return answer.status, "" if answer.status == 200 else answer.code

    with asking(over_http.url, clock):
        assert ask(people.token("user")) == (200, "")
        for _ in range(5):  # refused without a question, these cost nothing
            assert ask(made_up(exp=1)) == ask("Basic YTpi") == (401, "unauthenticated")
        assert len(over_http.requests) == 1
        answers = [ask(made_up()) for _ in range(5)]
        assert answers == [(401, "unauthenticated")] * 3 + [(429, "too_many_requests")] * 2
        assert len(over_http.requests) == 4
        assert ask(people.token("user")) == (200, "")
        assert ask(made_up(), "8.8.8.8") == (401, "unauthenticated")
        assert len(over_http.requests) == 5


@pytest.mark.usefixtures("stopped")
def test_good_tokens_are_not_counted_and_known_ones_are_asked_about_even_so(
    people: People, over_http: Stub, clock: Clock
) -> None:
    """However many people share an address; and their roles are as new as ever."""
    with asking(over_http.url, clock):
        guard = Guard(refused_per_minute=1)
        tokens = {name: people.token(name) for name in ("user", "other", "administrator")}
        for name, token in tokens.items():
            assert guard.check(visit(token)).id == people.ids[name]
        with pytest.raises(UnauthenticatedError):
            guard.check(visit(made_up()))
        with pytest.raises(TooManyRequestsError):
            guard.check(visit(made_up()))
        clock.advance(seconds=11)
        asked = len(over_http.requests)
        assert guard.check(visit(tokens["user"])).id == people.ids["user"]
        assert len(over_http.requests) == asked + 1


@pytest.mark.usefixtures("stopped")
def test_somebody_shut_out_costs_only_so_many_questions(
    people: People, over_http: Stub, clock: Clock
) -> None:
    """Their token is a good one, but no answer about them is remembered."""
    with asking(over_http.url, clock):
        guard = Guard(refused_per_minute=2)
        codes = []
        for _ in range(4):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - its code is compared
                guard.check(visit(people.token("suspended")))
            codes.append(getattr(caught.value, "code", ""))
    assert codes == ["account_suspended"] * 2 + ["too_many_requests"] * 2


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("peer", "most"), [("10.0.0.7", 1), ("", 1), (PEER, 0)], ids=["own network", "unknown", "off"]
)
def test_without_a_public_address_or_by_choice_nobody_is_limited(
    people: People, over_http: Stub, clock: Clock, peer: str, most: int
) -> None:
    """Behind a proxy that no setting names, all would share one limit."""
    with asking(over_http.url, clock):
        guard = Guard(refused_per_minute=most)
        for _ in range(3):
            with pytest.raises(UnauthenticatedError):
                guard.check(visit(made_up(), peer))
    assert len(over_http.requests) == 3
    assert people.ids


@pytest.mark.usefixtures("stopped")
def test_what_fails_on_our_side_is_not_counted(clock: Clock) -> None:
    """An Usher that is away says nothing against anybody."""
    with answering((500, {}, b"")) as stub, asking(stub.url, clock):
        guard = Guard(refused_per_minute=1)
        for _ in range(3):
            with pytest.raises(GuardError):
                guard.check(visit(made_up()))


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("stale_ok", [0, 60])
def test_identity_is_asked_about_only_so_many_tokens_that_it_refuses(
    sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock, stale_ok: float
) -> None:
    """Where no secret tells good tokens; what it has answered is not asked again."""
    ada = UUID(int=7)
    body = f'{{"id":"{ada}","email":"ada@example.com","aud":"","role":""}}'.encode()
    with answering((200, {}, body)) as stub:
        settings = make_settings(
            database_url=sqlite_url, identity_url=stub.url, instance_id=UUID(int=0)
        )
        good = "Bearer " + bearer(ada, NOON, b"x" * 32)
        with use(App(settings, clock)):
            guard = Guard(refused_per_minute=2, stale_ok=stale_ok)
            assert guard.check(visit(good)).id == ada
            asked = len(stub.requests)
            for error in [UnauthenticatedError] * 2 + [TooManyRequestsError] * 2:
                with pytest.raises(error):
                    guard.check(visit(made_up()))  # the answer is about somebody else
            assert len(stub.requests) == asked + 2
            assert guard.check(visit(good)).id == ada
            assert len(stub.requests) == asked + 2
