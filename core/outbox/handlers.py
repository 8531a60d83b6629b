"""Handlers: a site's own functions that get its changes, found in the modules of USHER_HANDLERS."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final, TypeVar

from msgspec import Struct

from usher.core.domain.outbox import Change, Kind, Write, unknown_patterns
from usher.core.errors import HandlersError
from usher.core.faults import failure_of

SECONDS: Final = 30
MAX_SECONDS: Final = 600
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MARK: Final = "__usher_after__"

Function = Callable[[Change], Write | None] | Callable[[Change], Coroutine[Any, Any, Write | None]]
F = TypeVar("F", bound=Function)


class _Mark(Struct, frozen=True):
    """The arguments of ``@after``, checked by ``load_handlers`` alone: it knows all of them."""

    kinds: tuple[Any, ...]
    name: Any
    seconds: Any


class Handler(Struct, frozen=True):
    """A function that gets changes.

    Attributes:
        name: its consumer is ``handler:NAME``.
        patterns: the kinds that it is for.
        seconds: the longest that it may take for one change.
        module: the one of ``USHER_HANDLERS`` in which it was found.
    """

    name: str
    patterns: frozenset[str]
    seconds: float
    function: Callable[[Change], object]
    module: str = ""


def after(*kinds: str, name: str | None = None, seconds: float = SECONDS) -> Callable[[F], F]:
    """Mark a function, ``async`` or not, as a handler of changes; it stays as it is.

    It is called after the commit, outside any answer, at least once for each change, and in order
    for each person. Raising anything has it called again later. Returning a ``Write`` has that
    written into the record of the person.

    Args:
        kinds: such as ``"user.confirmed"``, ``"role.*"`` or ``"*"``.
        name: under it is kept how far the handler has come; None: module and name of the function.
        seconds: the longest that it may take for one change, at most 600; then it is ended.
    """
    if any(callable(each) for each in kinds):
        raise TypeError('@after needs the kinds of changes: @after("user.confirmed")')

    def mark(function: F) -> F:
        if hasattr(function, _MARK):
            raise TypeError("@after stands there twice: name all kinds in one")
        setattr(function, _MARK, _Mark(kinds, name, seconds))
        return function

    return mark


def load_handlers(modules: Sequence[str]) -> tuple[Handler, ...]:
    """Import modules and return the functions in them that are marked, in that order.

    Raises:
        HandlersError: a module cannot be imported or marks none, or a mark is wrong; a sentence
            for each.
    """
    problems: list[str] = []
    found: dict[str, Handler] = {}
    for name in modules:
        try:
            module = import_module(name)
        except BaseException as error:  # an import runs the module, which may do anything
            if isinstance(error, KeyboardInterrupt):
                raise
            problems.append(_not_imported(name, error))
            continue
        marked = list(_marked(module))
        if not marked:
            problems.append(f"{name} has no function with @after.")
        for function, mark in marked:
            own = _name(function, mark)
            wrong = _problems(function, mark, own)
            handler = Handler(own, frozenset(mark.kinds), mark.seconds, function, name)
            if found.setdefault(own, handler).function is not function:
                wrong.append(f'another handler is named {own}, too: give one a name="…"')
            problems += [f"{_place(function)}: {each}{_end(each)}" for each in wrong]
    if problems:
        raise HandlersError(tuple(problems))
    return tuple(found.values())


def _marked(module: ModuleType) -> Iterator[tuple[Callable[[Change], object], _Mark]]:
    """The functions of a module with their marks; no code of theirs runs."""
    for value in vars(module).values():
        mark = inspect.getattr_static(value, _MARK, None)
        if isinstance(mark, _Mark):
            yield value, mark


def _problems(function: Callable[..., object], mark: _Mark, name: str) -> list[str]:
    found = []
    if not mark.kinds:
        found.append('@after names no kind of changes, such as @after("user.confirmed")')
    texts = {each for each in mark.kinds if isinstance(each, str)}
    found += [f"{each!r} is no kind of changes" for each in mark.kinds if each not in texts]
    found += [f"there is no kind {each!r}{_instead(each)}" for each in unknown_patterns(texts)]
    if isinstance(mark.seconds, bool) or not isinstance(mark.seconds, int | float):
        found.append(f"seconds must be a number, not {mark.seconds!r}")
    elif not 0 < mark.seconds <= MAX_SECONDS:
        found.append(f"seconds must be more than 0 and at most {MAX_SECONDS}, not {mark.seconds}")
    if not _NAME.fullmatch(name):
        found.append(f"a name has 1 to 100 letters, digits, '_', '.' and '-'; {name!r} is none")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        found.append("a handler cannot yield: it would never run")
    elif not _takes_a_change(function):
        found.append("a handler takes one argument, the Change")
    return found


def _name(function: Callable[..., object], mark: _Mark) -> str:
    own = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    return ".".join(own) if mark.name is None else str(mark.name)


def _takes_a_change(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # written in C, and nobody can tell
        return True
    return True


def _instead(pattern: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    families = {f"{kind.partition('.')[0]}.*" for kind in Kind}
    near = get_close_matches(pattern, [*Kind, *sorted(families)], n=1)
    return f"; did you mean {str(near[0])!r}?" if near else f": there are {', '.join(Kind)}"


def _end(problem: str) -> str:
    return "" if problem.endswith("?") else "."


def _not_imported(name: str, error: BaseException) -> str:
    """The sentence about a module, with the developer's own line where it is at fault."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{name}.".startswith(f"{absent}."):
        other = sys.modules.get(absent.rpartition(".")[0])
        if other is not None and not hasattr(other, "__path__"):
            file = getattr(other, "__file__", "part of Python")
            return f"There is no module {name}: {other.__name__} is {file}, which is no folder."
        return f"There is no module {name}, neither in this folder nor among the packages."
    failure = failure_of(error)
    said = f"{failure.error}: {failure.message}" if failure.message else failure.error
    return f"{name} cannot be imported: {said} at {failure.place}."


def _place(function: Callable[..., object]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
