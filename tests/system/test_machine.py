"""The whole system against a simple model: events in any order, people's acts, outages, crashes.

A few histories here, always the same ones; as many new ones as you like with, for instance,
``HISTORIES=2000 python -m pytest -n 0 tests/system/test_machine.py``.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, create_engine, text

from tests.support import databases
from tests.system.counts import Rules
from tests.system.deeds import Deeds
from tests.system.model import given_up
from tests.system.system import TABLES, System
from usher.core import log
from usher.core.domain.sync_plan import Plan

HISTORIES = int(os.environ.get("HISTORIES", "0"))
STEPS = 30
WHO = st.integers(0, 5)
BACK = st.integers(0, 7)
ROLE = st.sampled_from(("editor", "author", "member", "staff"))
EMAIL = st.sampled_from(("ada@example.com", "Bea@Example.com", "cy@other.org", "x@mailinator.com"))
PROVIDER = st.sampled_from(("email", "google", "github"))
FATE = st.sampled_from(("arrives", "arrives", "arrives", "ahead", "rolled back", "late", "late"))
CODE = st.sampled_from((None, 0, 1, 2, 5))
SITES = st.sampled_from(
    (Rules("ask", people=1), Rules(), Rules("deny"), Rules(), Rules("ask"), Rules(people=2))
)
ODD = st.sampled_from(("no json", "unknown", "elsewhere"))
METADATA = st.sampled_from(({"theme": "dark"}, {"theme": None}, {"n": 1, "plan": "gold"}))
DIES = st.sampled_from((0, 0, 0, 0, *range(1, 7), 9, 12))
Deed = tuple[str, dict[str, Any]]


def deed(name: str, **chosen: st.SearchStrategy[Any]) -> st.SearchStrategy[Deed]:
    """A method of ``Deeds`` and what it is given."""
    return st.tuples(st.just(name), st.fixed_dictionaries(chosen))


def some(deeds: st.SearchStrategy[Deed]) -> st.SearchStrategy[list[Deed]]:
    """A few in a row."""
    return st.lists(deeds, min_size=1, max_size=5)


AT_IDENTITY = st.one_of(
    deed("enter", who=WHO, fate=FATE),
    deed("enter", who=WHO, fate=FATE),
    deed("login_begins", who=WHO),
    deed("login_is_sent", back=BACK),
    deed("answer_lands", back=BACK, applied=st.booleans()),
    deed("change_roles_there", who=WHO, roles=st.sets(ROLE), fate=FATE),
    deed("change_there", who=WHO, email=EMAIL, fate=FATE),
    deed("sign_up", email=EMAIL, provider=PROVIDER, mailed=st.booleans(), fate=FATE, code=CODE),
    deed("made_there", email=EMAIL, provider=PROVIDER, roles=st.sets(ROLE)),
    deed("delete_there", who=WHO, fate=FATE),
)
UNEXPECTED = st.one_of(
    deed("repeat", back=BACK),
    deed("arrives_at_last", back=BACK),
    deed("arrives_at_last", back=BACK),
    deed("crowd", back=st.lists(BACK, min_size=1, max_size=8)),
    deed("forge", back=BACK, url=st.sampled_from(("", "login", "userdeleted"))),
    deed(
        "unreadable",
        kind=st.sampled_from(("no json", "unknown", "elsewhere", "stranger")),
        back=BACK,
    ),
)
OF_REQUESTS = st.one_of(
    deed("ask", who=WHO, role=st.none() | ROLE),
    deed("decide", back=st.integers(0, 2), approved=st.booleans(), roles=st.sets(ROLE, max_size=2)),
    deed("decide", back=st.integers(0, 2), approved=st.just(True), roles=st.just(set())),
    deed("me", who=WHO),
)
OF_CODES = st.one_of(
    deed(
        "make_code",
        uses=st.integers(1, 2),
        roles=st.sets(st.sampled_from(("pupil", "staff")), max_size=2),
        minutes=st.sampled_from((None, 2, 300)),
    ),
    deed("revoke_code", code=st.integers(0, 2)),
    deed("sign_up", email=EMAIL, provider=PROVIDER, mailed=st.booleans(), fate=FATE, code=CODE),
    deed("sign_up_again", who=WHO, code=CODE, fate=FATE),
    deed("sign_up_again", who=WHO, code=st.sampled_from((0, 1)), fate=FATE),
    deed("enter", who=WHO, fate=FATE),
    deed("arrives_at_last", back=BACK),
    deed("repeat", back=BACK),
    deed("revoke", who=WHO, role=st.just("staff")),
)
BY_ADMINISTRATORS = st.one_of(
    OF_REQUESTS,
    deed("grant", who=WHO, role=ROLE, minutes=st.sampled_from((None, 2, 300))),
    deed("revoke", who=WHO, role=ROLE),
    deed("set_roles", who=WHO, roles=st.sets(ROLE)),
    deed("suspend", who=WHO, suspended=st.booleans()),
    deed("edit", who=WHO, metadata=METADATA),
    deed("erase", who=WHO),
    deed("the_last_administrator_stays"),
    deed("me", who=WHO),
)
BY_ITSELF = st.one_of(
    deed("maintenance"),
    deed("push"),
    deed("sync", pull=st.booleans(), push=st.booleans(), prune=st.booleans()),
)
TIMES = (timedelta(seconds=1), timedelta(minutes=3), timedelta(hours=2), timedelta(days=50))
BEFALLS = st.one_of(
    deed("time_passes", by=st.sampled_from(TIMES)),
    deed("identity_is", away=st.booleans(), loses=st.booleans()),
    deed("outage_begins_or_ends"),
    deed("outage_begins_or_ends"),
    deed("apply_a_little"),
    deed("policy_breaks_or_is_mended"),
    deed("policy_breaks_or_is_mended"),
    deed("restart"),
)


class Machine(RuleBasedStateMachine):
    """Everybody at once.

    Attributes:
        make: a system on an empty database; told its rules, and which event ``[outage]`` refuses.
    """

    make: ClassVar[Callable[[Rules, str], System]]

    def __init__(self) -> None:
        super().__init__()
        self.system: Any = None

    @initialize(rules=SITES, refused=st.sampled_from(("", "", "login", "signup", "userdeleted")))
    def begin(self, rules: Rules, refused: str) -> None:
        """A site with an administrator, two codes, and who else may enter; somebody waits."""
        self.system = Machine.make(rules, refused)
        self.deeds = Deeds(self.system)
        self.deeds.make_code(1, set(), None)
        self.deeds.make_code(2, {"pupil", "staff"}, 300)
        for email, provider, code in (
            ("ada@example.com", "email", None),
            ("cy@other.org", "google", 0),
            ("gus@other.org", "github", None),
        ):
            self.deeds.sign_up(email, provider, mailed=True, fate="arrives", code=code)
        for who in range(3):
            self.deeds.enter(who, "arrives")

    def _do(self, what: list[Deed], dies: int) -> None:
        """Some deeds; the process dies at the so-many-th moment from their beginning, or never."""
        self.system.moments.arm(dies or None)
        for name, chosen in what:
            getattr(self.deeds, name)(**chosen)
            self.system.check()
            self.deeds.words.check(self.system.clock())

    @rule(what=some(AT_IDENTITY), dies=DIES)
    def at_identity(self, what: list[Deed], dies: int) -> None:
        """Accounts come, change and go; an event tells, at once, late, or never."""
        self._do(what, dies)

    @rule(what=some(UNEXPECTED), dies=DIES)
    def unexpected(self, what: list[Deed], dies: int) -> None:
        """Retries, at once or long after; what is forged; what nobody can read."""
        self._do(what, dies)

    @precondition(lambda self: self.system.outage is None)
    @rule(what=some(BY_ADMINISTRATORS), dies=DIES)
    def by_administrators(self, what: list[Deed], dies: int) -> None:
        """Through the API."""
        self._do(what, dies)

    @precondition(lambda self: self.system.outage is None)
    @rule(what=some(OF_REQUESTS), dies=DIES)
    def of_requests(self, what: list[Deed], dies: int) -> None:
        """Asked for by people, decided by administrators."""
        self._do(what, dies)

    @precondition(lambda self: self.system.outage is None)
    @rule(what=some(OF_CODES), dies=DIES)
    def of_codes(self, what: list[Deed], dies: int) -> None:
        """Made, passed on, used, used again, revoked; a role of one is denied before or after."""
        self._do(what, dies)

    @precondition(lambda self: self.system.outage is None)
    @rule(what=st.lists(BY_ITSELF, min_size=1, max_size=1), dies=DIES)
    def by_itself(self, what: list[Deed], dies: int) -> None:
        """What the server does every so often."""
        self._do(what, dies)

    @rule(what=st.lists(BEFALLS, min_size=1, max_size=1), dies=DIES)
    def befalls(self, what: list[Deed], dies: int) -> None:
        """Time, outages, restarts, crashes."""
        self._do(what, dies)

    def teardown(self) -> None:
        """In the end all is applied, and Identity has what holds here."""
        if self.system is None:
            return
        try:
            self.system.end_outage()
            self._settle()
        finally:
            self.system.close()

    def _settle(self) -> None:
        system = self.system
        system.moments.arm(None)
        self.system.identity.away = self.system.identity.loses = False
        while system.app.store_and_forward.step():
            pass
        assert not system.app.store_and_forward.active
        assert not self.system.model.spool
        system.check()
        for _ in range(2):  # the end of a grant keeps a record for a day more
            system.clock.advance(days=1)
            while system.app.maintenance.step():
                pass
            system.check()
        waiting = [one.id for one in system.model.people.values() if one.status == "pending"]
        assert set(waiting) <= system.identity.accounts.keys()
        for _ in range(3):
            system.clock.advance(hours=2)
            system.app.maintenance.step()
            system.sync(Plan(pull=True, push=True))
            system.push()
        system.check()
        self.deeds.words.check(system.clock())
        for who, account in self.system.identity.accounts.items():
            person = self.system.model.people.get(who)
            if person is None:
                assert given_up(account, system.clock())
                continue
            assert set(account["app_metadata"].get("roles", ())) == person.wanted(system.clock())


PROFILE = settings(
    max_examples=HISTORIES or 8,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not HISTORIES,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


database_url = databases("sqlite", "postgresql", "pg8000")


@pytest.mark.timeout(120 + 10 * HISTORIES)
def test_any_history_leaves_what_the_model_says(database_url: str, tmp_path: Path) -> None:
    """Whatever happens, in any order, with crashes at any moment."""
    log.configure(io.StringIO())
    url, engine = database_url, create_engine(database_url.replace("+pg8000", "+psycopg"))
    made = 0

    def make(rules: Rules, refused: str) -> System:
        nonlocal made
        made += 1
        folder = tmp_path / str(made)
        shutil.rmtree(tmp_path / str(made - 1), ignore_errors=True)
        folder.mkdir()
        _empty(engine)
        return System(url, engine, folder, rules, refused)

    Machine.make = make
    run_state_machine_as_test(Machine, settings=PROFILE)
    engine.dispose()


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in TABLES.split(", "):
            connection.execute(text(f"DELETE FROM {table}"))
