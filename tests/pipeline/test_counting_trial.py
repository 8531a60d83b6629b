"""A trial of codes and quotas against what the pipeline answered, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.pipeline.test_counting import INVITED, new_code
from tests.support import NOON, Clock, account, signed, verified
from usher.cli.trying import Question, try_policy
from usher.core.app import App, use
from usher.core.domain.records import Outcome
from usher.core.settings import Settings
from usher.emulator.payload import Account


@pytest.fixture
def site(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, tmp_path: Path
) -> Iterator[App]:
    """A site whose policy counts."""
    path = tmp_path / "counting.toml"
    path.write_text(INVITED)
    settings = make_settings(database_url=database_url, policy=str(path), spool=str(tmp_path))
    app = App(settings, clock)
    with use(app):
        yield app
    app.close()


def by(number: int, code: str, domain: str = "school") -> tuple[str, Account]:
    """Somebody signs up with a code."""
    who = account(email=f"p{number}@{domain}.example", user_metadata={"code": code})
    return "signup", replace(who, created_at=NOON)


def staff(number: int) -> Account:
    """Somebody whom the quota counts."""
    return account(email=f"s{number}@staff.example", created_at=NOON)


@pytest.fixture
def lived(site: App, clock: Clock) -> App:
    """People compete for codes and places; one code is revoked between two of them, one ends."""
    once, pupil = new_code(site), new_code(site, allowed=2, roles=("pupil",))
    brief = new_code(site, allowed=9, ends_at=clock() + timedelta(minutes=2))
    ids = {code.allowed: code.id for code in site.codes.page().items}
    early = account(email="early@school.example", user_metadata={"code": once})
    steps = [
        [("validate", early), by(1, once), ("validate", staff(1))],
        [("signup", early), by(2, pupil), by(3, brief), ("signup", staff(2)), ("signup", staff(3))],
        [by(4, "no such code"), by(5, pupil, "staff"), ("signup", staff(4))],
        [by(6, brief), by(7, pupil), by(8, once, "staff")],
    ]
    for number, step in enumerate(steps):
        clock.advance(seconds=60)
        if number == 3:
            site.codes.revoke(ids[2], "cli:ada")
        sent = [signed(name, who, at=clock()) for name, who in step]
        site.webhooks.process([verified(site.webhooks, each, clock()) for each in sent])
    return site


def tried(app: App, text: str, folder: Path) -> Counter[tuple[str, str, str]]:
    """The differences of admission between the policy in force and another, as the command has."""
    path = folder / "other.toml"
    path.write_text(text)
    question = Question(str(path), None, False, app.clock())
    found = try_policy(app, question, 20, lambda _: None).differences.groups()
    return Counter({(g.what, g.was, g.now): g.count for g in found if g.what[:4] != "role"})


def test_a_trial_tells_what_the_pipeline_refused(lived: App, tmp_path: Path) -> None:
    """Against a policy that lets everybody in: event by event, the rule by which they were not."""
    live: Counter[tuple[str, str, str]] = Counter()
    for each in lived.store.ledger.page(limit=50).items:
        if each.outcome is Outcome.DENIED:
            rule = f"denied by {each.reasons[-1].rule}"
            live[f"admission at {each.event}", rule, "admitted"] += 1
    assert tried(lived, "", tmp_path) == live
    assert live.total() == 9


def test_a_policy_that_counts_changes_nothing_against_itself(lived: App, tmp_path: Path) -> None:
    """Under another name."""
    assert not tried(lived, INVITED, tmp_path)
    assert tried(lived, INVITED.replace('"2/h"', '"1/h"'), tmp_path)
