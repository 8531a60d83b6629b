"""Administrators on both sides while somebody logs in in a loop, against a sender without locks.

A few rounds here, always the same ones. Others, and as many as you like, with
``ROUNDS=200 SEED=7 python -m pytest -n 0 tests/emulator/test_in_flight_rounds.py``; a failure names
its round, and ``ROUNDS=1 SEED=7:31`` plays that one alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tests.domain.decide_support import nobody_could_tell
from tests.emulator.pushes_support import Together, together
from tests.emulator.world import World
from tests.support import Clock
from usher.core.domain.records import User
from usher.core.domain.roles import effective
from usher.core.jws import read_unverified
from usher.core.settings import Settings
from usher.functions import identity
from usher.functions._shared.http import Request, Response

ROUNDS = int(os.environ.get("ROUNDS", "0"))
SEED, _, FIRST = os.environ.get("SEED", "1").partition(":")
HERE = ["here0", "here1", "here2"]
THERE = ["there0", "there1", "there2"]


@dataclass
class Round:
    """One person, and what administrators last said of their roles.

    Attributes:
        early, late: done before a login's event reaches us, and before its answer reaches Identity.
        lost: attempts of the next login whose answer is lost.
    """

    site: Together
    random: Random
    email: str
    pushes: bool
    user_id: str = ""
    said: dict[str, bool] = field(default_factory=dict)
    early: list[Callable[[], None]] = field(default_factory=list)
    late: list[Callable[[], None]] = field(default_factory=list)
    lost: int = 0

    def hook(self, request: Request) -> Response:
        """The receiver, in a world where everything takes its time."""
        login = json.loads(request.body)["event"] == "login"
        while login and self.early:
            self.early.pop()()
        answer = identity.hook.answer(request)
        if login and self.lost:
            self.lost -= 1
            return Response(500)
        while login and self.late:
            self.late.pop()()
        return answer

    def begin(self) -> None:
        """Some of the roles are there already, all given at Identity."""
        self.user_id = self.site.member(self.email)
        given = [role for role in HERE + THERE if self.random.random() < 0.6]
        self.site.at_identity(self.user_id, roles=["member", *given])
        self.said = {role: role in given for role in HERE + THERE}
        self.log_in()
        self.site.clock.advance(seconds=60)

    def play(self) -> None:
        """Logins, each with changes at moments that nobody chose."""
        for _ in range(self.random.randint(3, 7)):
            for moment in (self.early, self.late):
                moment += [self.change for _ in range(self.random.choice((0, 0, 1, 2)))]
            self.lost = self.random.choice((0, 0, 0, 1, 2))
            self.log_in()
            for _ in range(self.random.choice((0, 0, 1))):
                self.change()
            self.site.clock.advance(seconds=self.random.choice((0, 0, 1, 5)))

    def end(self) -> None:
        """After a quiet time all is as was last said, on both sides and in the token."""
        self.site.clock.advance(seconds=40)
        if self.pushes:
            self.site.retry()
        self.log_in()
        token = self.log_in()
        wanted = {role for role, given in self.said.items() if given}
        ours = set(HERE + THERE)
        assert effective(self.record.grants, self.site.clock()) & ours == wanted
        assert set(self.site.held(self.user_id)["roles"]) & ours == wanted
        assert token & ours == wanted

    def log_in(self) -> set[str]:
        """The roles in the token."""
        self.site.clock.advance(seconds=self.random.choice((0, 1)))
        claims = read_unverified(self.site.world.token(self.email), 20_000)
        return set(claims["app_metadata"].get("roles", ()))

    @property
    def record(self) -> User:
        """As it stands here."""
        return self.site.app.store.users.find(self.user_id)

    def change(self) -> None:
        """An administrator gives or takes a role, on either side, or a push comes by."""
        what = self.random.choice((self.change_here, self.change_there, self.push))
        what(self.random.random() < 0.4)

    def change_here(self, give: bool) -> None:
        """Through our API."""
        role = self.random.choice(HERE)
        self.site.api("PUT" if give else "DELETE", f"/users/{self.user_id}/roles/{role}")
        self.said[role] = give

    def change_there(self, give: bool) -> None:
        """Through Identity's admin API, if it makes a difference that somebody could tell."""
        held = list(self.site.held(self.user_id).get("roles", ()))
        role = self.random.choice(THERE)
        record = self.record
        undoes = any(
            one.told is not None and role in one.told - one.held
            for one in record.at_identity.in_flight
        )
        if (role in held) is give or nobody_could_tell(record, set(held), role, give):
            return
        if undoes and not give:
            return  # it could mean that the answer never came: then the rest is unclear
        changed = [*held, role] if give else [one for one in held if one != role]
        self.said[role] = give
        self.site.at_identity(self.user_id, roles=changed)

    def push(self, _give: bool) -> None:
        """What is pending is told, where there is a way to tell it."""
        if self.pushes:
            self.site.retry(0)


@pytest.mark.timeout(120 + 30 * ROUNDS)
@pytest.mark.parametrize("pushes", [True, False], ids=["pushes", "answers alone"])
def test_e1_what_administrators_said_holds_on_both_sides(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
    pushes: bool,
) -> None:
    """No revoked role is back, no grant is lost, and the work of two administrators is there."""
    current: list[Round] = []

    def receive(request: Request) -> Response:
        return (current[-1].hook if current else identity.hook.answer)(request)

    more: dict[str, Any] = {"receive": receive} | ({} if pushes else {"identity_url": None})
    with together(make, make_settings, database_url, clock, **more) as site:
        for number in range(int(FIRST or 0), int(FIRST or 0) + (ROUNDS or 5)):
            random = Random(f"{SEED}:{number}")
            current.append(Round(site, random, f"bob{number}@example.com", pushes))
            try:
                current[-1].begin()
                current[-1].play()
                current[-1].end()
            except AssertionError as error:
                raise AssertionError(f"SEED={SEED}:{number}") from error
