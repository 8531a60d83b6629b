"""Calls of a handler with a change: its answer, or its failure in words that may be kept."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from usher.core.bounds import MAX_WRITTEN_DEPTH
from usher.core.domain.failures import in_words, personal_texts, shown
from usher.core.domain.outbox import Change, Write
from usher.core.faults import failure_of
from usher.core.outbox.consumer import Done, Failed
from usher.core.outbox.handlers import Handler
from usher.core.strict_json import cannot_travel, dumps, loads_object

if TYPE_CHECKING:
    import asyncio


class OverdueError(BaseException):
    """Ends a handler whose time is over; its own ``except Exception`` does not catch it."""


def call(handler: Handler, change: Change) -> Done | Failed:
    """Call a handler, in this process.

    Raises:
        MemoryError: the process has no more, and is not to be used again.
        OverdueError: raised in the handler by the caller's alarm.
    """
    try:
        answer = handler.function(change)
        if inspect.isawaitable(answer):
            answer = _runner().run(_awaited(answer))
    except (MemoryError, OverdueError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit() in a handler is no more than a failure
        return Failed(in_words(failure_of(error, _about(change)).reasons))
    if answer is None:
        return Done()
    if not isinstance(answer, Write):
        return Failed(f"returned a {type(answer).__name__}, not a Write or None")
    return _checked(answer, change)


def _checked(write: Write, change: Change) -> Done | Failed:
    """A ``Write`` as it can travel and be kept: nothing has held its maker to the annotations."""
    try:
        return Done(
            Write(
                app_metadata=_json(write.app_metadata),
                user_metadata=_json(write.user_metadata),
                grant=_roles(write.grant),
                revoke=_roles(write.revoke),
            )
        )
    except (TypeError, ValueError) as error:
        said = shown(str(error), _about(change))
        return Failed(f"returned a Write that cannot be kept: {said}")


def _about(change: Change) -> frozenset[str]:
    """Texts of the person of a change, which no failure tells."""
    user, parts = change.user, (change.before, change.after)
    differs = [part.get(key) for part in parts for key in ("email", "user_metadata", "profile")]
    return personal_texts(user.email, user.user_metadata, user.profile, differs)


def _json(values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise TypeError("metadata is a dict")
    if problem := cannot_travel(dict(values)):
        raise ValueError(f"the metadata would {problem}")
    return loads_object(dumps(dict(values)).encode(), MAX_WRITTEN_DEPTH, doubles=True)


def _roles(roles: object) -> tuple[str, ...]:
    if not isinstance(roles, list | tuple | set | frozenset) or not all(
        isinstance(each, str) for each in roles
    ):
        raise TypeError("roles are a list of names")
    return tuple(map(str, roles))


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


@cache
def _runner() -> asyncio.Runner:
    """One loop for all calls of the process, so that a client's open connections live on."""
    import asyncio  # noqa: PLC0415 - a third of the start of a handler's process

    return asyncio.Runner()
