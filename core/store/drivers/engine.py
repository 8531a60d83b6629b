"""SQLAlchemy over a connection whose transaction is ours: for lists, search, sync, migrations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from usher.core.strict_json import dumps

if TYPE_CHECKING:
    from sqlalchemy import Engine

_DECODER: Final = json.JSONDecoder()


def engine_over(url: str, connect: Callable[[], Any], paramstyle: str | None = None) -> Engine:
    """An engine that takes each connection from ``connect``, and leaves its transaction alone.

    Args:
        paramstyle: of the statements' texts, where it is not the usual one of the driver.
    """
    from sqlalchemy import create_engine  # noqa: PLC0415 - no event comes here
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_engine(
        url,
        creator=connect,
        poolclass=NullPool,
        pool_reset_on_return=None,
        json_serializer=dumps,
        json_deserializer=_loads,
        hide_parameters=True,
        **({"paramstyle": paramstyle} if paramstyle else {}),
    )
    for name in ("do_begin", "do_commit", "do_rollback", "do_close", "do_terminate"):
        setattr(engine.dialect, name, _nothing)
    return engine


def _nothing(_connection: Any) -> None:
    """The session begins, ends and closes."""


def _loads(text: str) -> Any:
    """A JSON column's value; ``{}``, the most frequent one, without the parser."""
    return {} if text == "{}" else _DECODER.decode(text)
