# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases with processes beside the server: a shadow policy, handlers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tests.cli.walk import Steps, Walk, case
from tests.pipeline.shadow_support import follow, follower
from tests.support import ROOT
from usher.cli.checks import shadow
from usher.core.app import utc_now

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
