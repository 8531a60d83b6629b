# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases with processes beside the server: a shadow policy, handlers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tests.cli.walk import Steps, Walk, case
from tests.pipeline.shadow_support import follow, follower
from tests.refusing import NAME as CONSUMER
from tests.refusing import refuse
from tests.support import ROOT
from usher.cli.checks import shadow
from usher.core.app import utc_now
from usher.core.domain import administration, outbox_attempts
from usher.core.domain.administration import Change

NAME = "USHER_POLICY_SHADOW"
HANDLERS = "USHER_HANDLERS"
HOOKS = "from usher import after\n@after('user.confirmed')\ndef f(change): ...\n"


def begin(at: Walk) -> None:
    """A good shadow policy."""
    Path("next.toml").write_text('[[role]]\ngrant = "member"\n')
    at.set(NAME, "next.toml")


def served(at: Walk, clock: Callable[[], datetime] = utc_now, *, ended: str = "") -> None:
    """A server was there, and followed."""
    with at.program.app(clock) as app:
        found = follower(app, ended=ended)
        follow(found)
        found.close()


@case("shadow.invalid")
def a_mistake_in_the_shadow_policy(at: Walk) -> Steps:
    begin(at)
    served(at)
    good = Path("next.toml").read_text()
    Path("next.toml").write_text("[admision]")
    yield {}
    Path("next.toml").write_text(good)


@case("shadow.absent", 1)
def a_shadow_policy_that_nobody_needs(at: Walk) -> Steps:
    at.set(NAME, "next.toml")
    yield {NAME: ""}


@case("shadow.absent", 0)
def a_shadow_policy_that_was_promoted(at: Walk) -> Steps:
    begin(at)
    served(at)
    Path("next.toml").unlink()
    yield {}
    begin(at)
    served(at)


@case("shadow.unfollowed", 0)
def a_server_that_was_stopped(at: Walk) -> Steps:
    begin(at)
    served(at, at.moved(timedelta(hours=-1)))
    yield {}
    served(at)


@case("shadow.unfollowed", 1)
def a_process_that_never_started(at: Walk) -> Steps:
    begin(at)
    yield {}
    served(at)


@case("shadow.unfollowed", 2)
def functions_without_a_server(at: Walk) -> Steps:
    begin(at)
    yield {NAME: ""}


@case("shadow.failing")
def a_process_that_hung(at: Walk) -> Steps:
    begin(at)
    served(at, ended="it hung")
    yield {}
    later = timedelta(days=1, minutes=1)
    served(at, at.moved(later))
    at.ask_at(later)


@case("shadow.lagging")
def events_that_wait_to_be_compared(at: Walk) -> Steps:
    begin(at)
    served(at)
    at.patch.setattr(shadow, "LAG", 0)
    at.program.deliver("signup", "ada@example.com")
    yield {}
    served(at)


@case("handlers.invalid", 0)
def a_mistake_in_a_handler(at: Walk) -> Steps:
    at.patch.setenv("PYTHONPATH", str(ROOT))
    Path("site_hooks.py").write_text(HOOKS.replace("change", ""))
    at.set(HANDLERS, "site_hooks")
    yield {}
    Path("site_hooks.py").write_text(HOOKS)


@case("handlers.invalid", 1)
def handlers_that_are_elsewhere(at: Walk) -> Steps:
    at.patch.setenv("PYTHONPATH", str(ROOT))
    Path("site_hooks.py").write_text(HOOKS)
    at.set(HANDLERS, "mysite.hooks")
    yield {HANDLERS: "site_hooks"}


BILL = f"""
from usher import after

@after("role.*", name="{CONSUMER.removeprefix("handler:")}")
def bill(change): ...
"""
ADA = "ada@example.com"


def with_handler(at: Walk) -> None:
    """A site with one handler, which its module has."""
    at.patch.setenv("PYTHONPATH", str(ROOT))
    Path("site_hooks.py").write_text(BILL)
    at.set(HANDLERS, "site_hooks")


def change(at: Walk, clock: Callable[[], datetime] = utc_now) -> None:
    """Something changed, by this clock."""
    at.program.deliver("signup", ADA)
    with at.program.app(clock) as app:
        refuse(app)
        person = app.store.users.find(ADA)
        app.store.users.change(person, administration.grant("editor"), Change("cli:x"))


def serve(at: Walk, clock: Callable[[], datetime] = utc_now, *, takes: bool = False) -> None:
    """A server works on it."""
    with at.program.app(clock) as app:
        refuse(app, takes=takes)


def dead(at: Walk) -> None:
    """A dead letter."""
    with_handler(at)
    change(at)
    with at.patch.context() as few:
        few.setattr(outbox_attempts, "MAX_TRIES", 1)
        serve(at)


@case("outbox.dead", 0)
def a_receiver_that_was_away_for_days(at: Walk) -> Steps:
    dead(at)
    yield {}


@case("outbox.dead", 1)
def a_dead_letter_of_no_use(at: Walk) -> Steps:
    dead(at)
    yield {}
    (row,) = at.program.json("outbox", "list", "--state", "dead")["changes"]
    at.run(f"usher outbox skip {row['number']}")


@case("outbox.late", 0, 1)
def a_handler_that_fails(at: Walk) -> Steps:
    with_handler(at)
    change(at, at.moved(timedelta(hours=-2)))
    serve(at)
    yield {}
    serve(at, at.moved(timedelta(minutes=1)), takes=True)


@case("outbox.unattended", 0, 1)
def changes_that_nobody_hands_over(at: Walk) -> Steps:
    with_handler(at)
    change(at, at.moved(timedelta(minutes=-10)))
    yield {}
    serve(at, takes=True)


@case("outbox.unnamed", 0)
def a_function_that_was_renamed(at: Walk) -> Steps:
    with_handler(at)
    Path("site_hooks.py").write_text(HOOKS)
    serve(at)
    yield {}
    Path("site_hooks.py").write_text(BILL)


@case("outbox.unnamed", 1)
def a_function_that_is_gone(at: Walk) -> Steps:
    at.program.deliver("signup", ADA)
    serve(at, at.moved(timedelta(minutes=-10)))
    yield {}


@case("sinks.paused", 0, 1)
def a_paused_sink(at: Walk) -> Steps:
    at.program.deliver("signup", ADA)
    sink = at.program.json("sinks", "add", "https://crm.example/hook")
    at.program("sinks", "pause", sink["id"])
    yield {}
