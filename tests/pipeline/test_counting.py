"""Codes and quotas in the pipeline: one admission a use, whoever races whom, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.pipeline.outage_support import locked
from tests.store.store_support import LogLines, checked, deliver, executed, rows
from tests.support import NOON, Clock, Signed, account, signed
from usher.core.app import App, use
from usher.core.domain.administration import Change
from usher.core.domain.codes import NewCodes
from usher.core.domain.counted import CODE_MESSAGE, FULL_MESSAGE
from usher.core.domain.records import Outcome
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import DatabaseAwayError
from usher.core.policy_source import load_policy
from usher.core.settings import Settings
from usher.core.store import books
from usher.core.store.drivers import sqlite
from usher.core.users import UserService

THREADS = 6
HOUR = timedelta(hours=1)
INVITED = """
[admission]
default = "deny"
message = "For invited people."
allow_email_domains = ["staff.example"]
invitation_code = "code"
signups_per_domain = "2/h"

[[role]]
grant = "member"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy that counts."""
    path = tmp_path / "counting.toml"
    path.write_text(INVITED)
    return path


@pytest.fixture
def open_app(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, policy: Path
) -> Iterator[Callable[[], App]]:
    """Processes on one database, each with connections of its own."""
    apps: list[App] = []

    def make() -> App:
        settings = make_settings(
            database_url=database_url, policy=str(policy), spool=f"{policy.parent}/{len(apps)}"
        )
        apps.append(App(settings, clock))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def site(open_app: Callable[[], App]) -> Iterator[App]:
    """The process that asks."""
    with use(open_app()) as app:
        yield app


def by_code(number: int, code: str, event: str = "signup", **fields: Any) -> Signed:
    """Somebody signs up with a code."""
    email = fields.pop("email", f"p{number}@school{number}.example")
    return signed(event, account(email=email, user_metadata={"code": code}, **fields))


def staff(number: int, event: str = "signup", at: int = 0, hour: int = 0) -> Signed:
    """Somebody signs up whom the quota counts, in one of the hours before noon."""
    who = account(email=f"p{number}@staff.example", created_at=NOON - hour * HOUR)
    return signed(event, who, at=NOON + timedelta(seconds=at))


def statuses(answers: Sequence[Reply | Exception]) -> list[int]:
    """What was answered; an error fails the test."""
    assert all(isinstance(each, Reply) for each in answers), answers
    return [each.status for each in answers if isinstance(each, Reply)]


def new_code(app: App, **wanted: Any) -> str:
    """A code that was just made."""
    ((text, _),) = app.codes.make(NewCodes(**wanted), "cli:ada")
    return text


def used(app: App) -> list[tuple[int, int]]:
    """For each code how often it was used, as it says itself and as its uses say."""
    return rows(
        app.store.database,
        "SELECT used, (SELECT count(*) FROM code_uses WHERE code_id = codes.id) FROM codes",
    )


def at_once(work: Sequence[tuple[App, Sequence[Signed]]]) -> list[list[Reply | Exception]]:
    """Each batch in a thread of its own, all let go at the same moment."""
    start = Barrier(len(work))

    def run(app: App, batch: Sequence[Signed]) -> list[Reply | Exception]:
        ready = checked(app, batch)
        _ = app.store
        start.wait(30)
        return app.webhooks.process(ready)

    with ThreadPoolExecutor(len(work)) as pool:
        return [each.result() for each in [pool.submit(run, *one) for one in work]]


# --- in one batch --------------------------------------------------------------------------------


def test_people_of_one_batch_compete_for_a_code(site: App) -> None:
    """The first in order of arrival gets it."""
    code = new_code(site, roles=("pupil",))
    batch = [by_code(number, code) for number in range(4)]
    answers = deliver(site, batch)
    assert statuses(answers) == [200, 403, 403, 403]
    assert all(CODE_MESSAGE in each.body for each in answers[1:] if isinstance(each, Reply))
    assert used(site) == [(1, 1)]
    assert answers[0].body == json.dumps(  # type: ignore[union-attr]
        {"app_metadata": {"provider": "email", "roles": ["member", "pupil"]}},
        separators=(",", ":"),
    )


def test_people_of_one_batch_compete_for_the_last_place(site: App) -> None:
    """And the next batch finds none."""
    answers = deliver(site, [staff(number) for number in range(3)])
    assert statuses(answers) == [200, 200, 403]
    assert FULL_MESSAGE in answers[2].body  # type: ignore[union-attr]
    assert statuses(deliver(site, [staff(3, "validate")])) == [403]
    assert rows(site.store.database, "SELECT people FROM tallies") == [(2,)]


def test_a_validate_and_the_signup_of_one_batch_take_one_place(site: App) -> None:
    """Counted once, in one transaction or in two."""
    who = account(email="ada@staff.example")
    batch = [signed("validate", who), signed("signup", who, at=NOON + timedelta(seconds=1))]
    assert statuses(deliver(site, batch)) == [204, 200]
    deliver(site, [signed("signup", who, at=NOON + timedelta(seconds=2))])
    assert rows(site.store.database, "SELECT people FROM tallies") == [(1,)]


def test_a_delivery_that_comes_again_uses_nothing(site: App) -> None:
    """In the same batch, in the next, and as one of the same account with other bytes."""
    code = new_code(site, allowed=2)
    who = account(email="p@school.example", user_metadata={"code": code})
    first, other = signed("signup", who), signed("signup", who, at=NOON + timedelta(seconds=1))
    answers = deliver(site, [first, first, other]) + deliver(site, [other, first])
    assert len({each.body for each in answers if isinstance(each, Reply)}) == 1
    assert used(site) == [(1, 1)]


def test_a_retry_gets_the_stored_answer_whatever_the_policy_is_by_then(
    site: App, policy: Path
) -> None:
    """Admitted stays admitted, refused stays refused, and nothing is counted."""
    code = new_code(site)
    batch = [by_code(1, code), by_code(2, code), staff(1), by_code(3, "never made")]
    before = deliver(site, batch)
    assert statuses(before) == [200, 403, 200, 403]
    kept = used(site), rows(site.store.database, "SELECT people FROM tallies")
    for text in ("", '[admission]\ndefault = "deny"', INVITED.replace("2/h", "1/h")):
        policy.write_text(text)
        site.policy_in_force.__dict__["current"] = load_policy(str(policy))
        assert deliver(site, batch) == before
    assert (used(site), rows(site.store.database, "SELECT people FROM tallies")) == kept


# --- between processes ---------------------------------------------------------------------------


def test_one_code_admits_one_account_however_many_servers_race_for_it(
    site: App, open_app: Callable[[], App]
) -> None:
    """Batches of two processes, in several threads each, meet over the same codes."""
    other = open_app()
    for _ in range(3):
        codes = [new_code(site) for _ in range(3)]
        # Each batch has the codes in another order: locks in the order of events would circle.
        orders = list(permutations(range(3)))[:THREADS]
        work = [
            ((site, other)[n % 2], [by_code(10 * n + c, codes[c]) for c in order])
            for n, order in enumerate(orders)
        ]
        answers = [status for each in at_once(work) for status in statuses(each)]
        assert sorted(answers) == [200] * 3 + [403] * (3 * THREADS - 3)
    assert used(site) == [(1, 1)] * 9
    for _ in range(4):  # alone in a batch, none is saved by a second try one by one
        code = new_code(site)
        one_each = [((site, other)[n % 2], [by_code(n, code)]) for n in range(THREADS)]
        answers = [status for each in at_once(one_each) for status in statuses(each)]
        assert sorted(answers) == [200] + [403] * (THREADS - 1)


def test_the_same_signup_at_two_servers_uses_a_code_once(
    site: App, open_app: Callable[[], App]
) -> None:
    """The same delivery, and two deliveries of one account."""
    other = open_app()
    for _ in range(2):
        code = new_code(site, allowed=3)
        who = account(email="p@school.example", user_metadata={"code": code})
        events = [signed("signup", who, at=NOON + timedelta(seconds=n % 2)) for n in range(4)]
        answers = at_once([((site, other)[n // 2], [each]) for n, each in enumerate(events)])
        assert {status for each in answers for status in statuses(each)} == {200}
    assert used(site) == [(1, 1)] * 2


def test_a_window_admits_as_many_people_as_it_has_places_however_many_servers_race(
    site: App, open_app: Callable[[], App]
) -> None:
    """Nobody too many, and nobody refused while a place is free."""
    other = open_app()
    for hour in range(4):
        deliver(site, [staff(99, "validate", hour=hour)])  # a first row would be a lock by itself
        one_each = [
            ((site, other)[n % 2], [staff(n, "validate", hour=hour)]) for n in range(THREADS)
        ]
        answers = [status for each in at_once(one_each) for status in statuses(each)]
        assert sorted(answers) == [204] + [403] * (THREADS - 1)
    assert rows(site.store.database, "SELECT people FROM tallies") == [(2,)] * 4


# --- what fails, and what is away ----------------------------------------------------------------


def test_a_failed_transaction_uses_nothing(site: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its retry finds code and place as they were."""
    code = new_code(site)
    batch = [by_code(1, code), staff(1)]
    original = books.write_book

    def fails(*arguments: Any) -> None:
        original(*arguments)
        raise RuntimeError("the power is out")

    monkeypatch.setattr(books, "write_book", fails)
    assert all(isinstance(each, RuntimeError) for each in deliver(site, batch))
    assert used(site) == [(0, 0)]
    assert rows(site.store.database, "SELECT sum(people) FROM tallies") in ([(0,)], [(None,)])
    monkeypatch.undo()
    assert statuses(deliver(site, batch)) == [200, 200]
    assert used(site) == [(1, 1)]


def test_while_the_database_is_away_what_hangs_on_a_count_is_answered_503(
    site: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused anyway is refused; a retry afterwards is decided in full."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    code = new_code(site)
    deliver(site, [signed("login", account())])
    site.start_store_and_forward()
    counted, refused = [by_code(1, code), staff(1)], by_code(2, "", email="x@nowhere.example")
    with locked(site.settings.database_url, "users, deliveries, codes, tallies"):
        answers = deliver(site, [*counted, refused, signed("login", account())])
    assert [type(each) for each in answers[:2]] == [DatabaseAwayError] * 2
    assert statuses(answers[2:]) == [403, 204]
    while site.store_and_forward.step():
        pass
    assert statuses(deliver(site, counted)) == [200, 200]
    assert used(site) == [(1, 1)]


def test_an_event_decided_again_uses_a_code_once(site: App) -> None:
    """A dry run uses nothing; an administrator's order uses it, and a second one does not."""
    code = new_code(site)
    content: Any = checked(site, [by_code(1, code)])[0].content
    assert site.webhooks.would_decide(content, None, NOON).outcome is Outcome.APPLIED
    assert used(site) == [(0, 0)]
    outcomes = [
        site.store.users.decide_again(content, site.policy, Change("cli:ada")).outcome
        for _ in range(2)
    ]
    assert outcomes == [Outcome.APPLIED, Outcome.UNCHANGED]
    assert used(site) == [(1, 1)]


def test_an_event_decided_again_takes_one_place(site: App) -> None:
    """As often as it is asked for."""
    content: Any = checked(site, [staff(1)])[0].content
    for _ in range(2):
        site.store.users.decide_again(content, site.policy, Change("cli:ada"))
    assert rows(site.store.database, "SELECT people FROM tallies") == [(1,)]


# --- costs ---------------------------------------------------------------------------------------


def test_a_policy_without_codes_and_quotas_sends_no_statement_more(site: App, policy: Path) -> None:
    """Nothing that an event runs names a table of these; one that counts does."""

    def tables(batch: Sequence[Signed]) -> tuple[int, set[str]]:
        with executed(site.store.database) as statements:
            deliver(site, batch)
        names = {
            name
            for name in ("codes", "tallies", "code_uses")
            for each in statements
            if name in each.text
        }
        return len(statements), names

    code = new_code(site)
    deliver(site, [signed("login", account())])
    _, named = tables([by_code(1, code), staff(1)])
    assert named == {"codes", "tallies", "code_uses"}
    policy.write_text(
        INVITED.replace("invitation_code", "#").replace("signups_per", "# signups_per")
    )
    site.policy_in_force.__dict__["current"] = load_policy(str(policy))
    assert site.policy.counting is None
    plain, named = tables([staff(2), staff(3)])
    assert named == set()
    policy.write_text(INVITED)
    site.policy_in_force.__dict__["current"] = load_policy(str(policy))
    logins = [signed("login", account(email=f"l{n}@staff.example")) for n in range(2)]
    number, named = tables(logins)
    assert (number, named) == (plain, set())


def test_refused_codes_are_logged_and_counted(site: App) -> None:
    """For the metric and for the doctor; the line has no code and no address."""
    lines = LogLines()
    deliver(site, [by_code(1, "guess-guess-guess"), by_code(2, "another-guess-1")])
    (line,) = lines("code.refused")
    assert line["times"] == 2
    assert "guess" not in json.dumps(line).lower()
    assert site.codes.refused_since("2026-11-23") == 2
    assert site.codes.refused_since("2026-11-24") == 0


def test_the_roles_of_a_code_are_pushed_and_kept_like_an_administrators(site: App) -> None:
    """A later login of the account has them, and the code's end ends them."""
    code = new_code(site, roles=("pupil",), roles_until=NOON + HOUR)
    who = account(email="p@school.example", user_metadata={"code": code})
    deliver(site, [signed("signup", who)])
    users: UserService = site.store.users
    kept = users.get(who.id)
    assert effective(kept.grants, NOON) == {"member", "pupil"}
    assert effective(kept.grants, NOON + HOUR) == {"member"}
