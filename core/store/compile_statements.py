"""Compiles the statements of ``usher.core.store.statements`` from the tables.

`python -m usher.core.store.compile_statements` writes that file anew; a test compares it. An event
runs these statements without SQLAlchemy, whose import is most of a cold start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Dialect,
    LargeBinary,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY

from usher.core.domain.records import Outcome
from usher.core.domain.requests import State
from usher.core.store.tables import (
    AUDIT,
    CODE_USES,
    CODES,
    COUNTERS,
    DELIVERIES,
    GRANTS,
    INSTANCES,
    MARKS,
    OUTBOX,
    PUSHES,
    REQUESTS,
    TALLIES,
    USERS,
    UtcDateTime,
)

FILE: Final = Path(__file__).with_name("statements.py")
SQLITE: Final[Dialect] = sqlite.dialect()
POSTGRESQL: Final[Dialect] = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
HEAD: Final = '''"""The statements of an event, compiled; they need no SQLAlchemy.

Made by `python -m usher.core.store.compile_statements`, which names their parameters. Columns stand
in the order of the tables.
"""

# ruff: noqa: E501

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from usher.core.store.drivers.statement import Insert, Statement, rows_of

'''

_INTO: Final = (
    USERS,
    GRANTS,
    DELIVERIES,
    AUDIT,
    PUSHES,
    REQUESTS,
    COUNTERS,
    INSTANCES,
    MARKS,
    CODE_USES,
    TALLIES,
)
USER_COLUMNS: Final = tuple(c for c in USERS.c if c.name not in ("instance_id", "status"))
_GRANT_COLUMNS: Final = tuple(c for c in GRANTS.c if c.name != "instance_id")
_MINE: Final = and_(
    DELIVERIES.c.instance_id == bindparam("instance_id"),
    DELIVERIES.c.user_id == bindparam("user_id"),
)

_literal: Final = literal_column
"""A value of our own that stands in the text."""

Build = Callable[[Dialect], Any]
"""A statement for one dialect."""


def _read(*columns: ColumnElement[Any]) -> Callable[[Dialect], Any]:
    """A SELECT whose documents come as text."""

    def build(dialect: Dialect) -> Any:
        if dialect is SQLITE:
            return select(*columns)
        texts = (cast(c, Text).label(c.key) if isinstance(c.type, JSON) else c for c in columns)
        return select(*texts)

    return build


def _among(column: ColumnElement[Any], dialect: Dialect) -> ColumnElement[bool]:
    """Whether a column has one of the values of a list, the last parameter."""
    if dialect is SQLITE:
        return column.in_(bindparam("several", expanding=True))
    found: ColumnElement[bool] = column == any_(bindparam("several", type_=ARRAY(column.type)))
    return found


def _users(dialect: Dialect) -> Any:
    here = USERS.c.instance_id == bindparam("instance_id")
    return _read(*USER_COLUMNS)(dialect).where(here)


def _grants(dialect: Dialect) -> Any:
    mine = GRANTS.c.instance_id == bindparam("instance_id"), _among(GRANTS.c.user_id, dialect)
    order = GRANTS.c.user_id, GRANTS.c.role, GRANTS.c.source
    return _read(*_GRANT_COLUMNS)(dialect).where(*mine).order_by(*order)


def _tallies(_dialect: Dialect) -> Any:
    here = TALLIES.c.instance_id == bindparam("instance_id")
    return select(TALLIES.c.place, TALLIES.c.people).where(here)


_REPLY_COLUMNS: Final = tuple(
    DELIVERIES.c[name]
    for name in (
        "id",
        "reply_status",
        "reply_type",
        "reply_body",
        "key_index",
        "outcome",
        "instance_id",
        "event",
        "received_at",
    )
)
_ENDED: Final = (
    select(GRANTS.c.instance_id, GRANTS.c.user_id)
    .where(GRANTS.c.expires_at <= bindparam("now"))
    .limit(bindparam("most"))
)
_NEWEST_INSTANCE: Final = (
    select(DELIVERIES.c.instance_id).order_by(DELIVERIES.c.sequence.desc()).limit(_literal("1"))
)


def _key(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


def _of_person() -> tuple[ColumnElement[bool], ...]:
    return (
        REQUESTS.c.instance_id == bindparam("instance_id"),
        REQUESTS.c.user_id == bindparam("user_id"),
    )


def _instances(table: Table, *, after: bool) -> Build:
    column = table.c.instance_id
    place: ColumnElement[Any] = bindparam("place")
    beyond = column > place if after else column >= place
    return lambda _: select(column).where(beyond).order_by(column).limit(_literal("1"))


_ERASED_REPLY: Final[dict[str, Any]] = {
    "reply_status": _literal("204"),
    "reply_type": _literal("''"),
    "reply_body": _literal("''"),
}
_STATEMENTS: Final[dict[str, Build]] = {
    # ids
    "REPLIES": lambda d: _read(*_REPLY_COLUMNS)(d).where(_among(DELIVERIES.c.id, d)),
    # ids
    "REMOVE_DELIVERIES": lambda d: delete(DELIVERIES).where(_among(DELIVERIES.c.id, d)),
    "NEWEST_SEQUENCE": lambda _: select(func.max(DELIVERIES.c.sequence)),
    # instance id, ids; locked in this order
    "LOCK_USERS": lambda d: (
        _users(d).where(_among(USERS.c.id, d)).order_by(USERS.c.id).with_for_update()
    ),
    # instance id, ids
    "FIND_USERS": lambda d: _users(d).where(_among(USERS.c.id, d)).order_by(USERS.c.id),
    # instance id, email key; two at most
    "USERS_OF_ADDRESS": lambda d: (
        _users(d).where(USERS.c.email_key == bindparam("email_key")).limit(_literal("2"))
    ),
    # instance id, ids of users
    "GRANTS_OF": _grants,
    # instance id, user id, role, source
    "DELETE_GRANT": lambda _: delete(GRANTS).where(
        *(GRANTS.c[name] == bindparam(name) for name in _key(GRANTS))
    ),
    # now, number
    "ENDED_GRANTS": lambda _: _ENDED,
    # instance id, user id
    "DELETE_PUSH": lambda _: delete(PUSHES).where(
        *(PUSHES.c[name] == bindparam(name) for name in _key(PUSHES))
    ),
    # actor, time, instance id, user id
    "CLOSE_ENTRY": lambda _: (
        update(REQUESTS)
        .values(
            state=_literal(f"'{State.APPROVED}'"),
            actor=bindparam("new_actor"),
            decided_at=bindparam("new_decided_at"),
        )
        .where(
            *_of_person(),
            REQUESTS.c.role.is_(None),
            REQUESTS.c.state == _literal(f"'{State.OPEN}'"),
        )
    ),
    # instance id, user id
    "DELETE_REQUESTS": lambda _: delete(REQUESTS).where(*_of_person()),
    # instance id, user id
    "ERASE_OUTBOX": lambda _: (
        update(OUTBOX)
        .values(error=_literal("''"))
        .where(
            OUTBOX.c.instance_id == bindparam("instance_id"),
            OUTBOX.c.user_id == bindparam("user_id"),
            OUTBOX.c.error != _literal("''"),
        )
    ),
    # digests; locked in this order
    "LOCK_CODES": lambda d: (
        _read(*CODES.c)(d)
        .where(_among(CODES.c.digest, d))
        .order_by(CODES.c.digest)
        .with_for_update()
    ),
    # digests
    "FIND_CODES": lambda d: _read(*CODES.c)(d).where(_among(CODES.c.digest, d)),
    # number, id
    "USE_CODE": lambda _: (
        update(CODES)
        .values(used=CODES.c.used + bindparam("number"))
        .where(CODES.c.id == bindparam("code"))
    ),
    # instance id, ids of users
    "USES_OF": lambda d: select(CODE_USES.c.user_id, CODE_USES.c.code_id).where(
        CODE_USES.c.instance_id == bindparam("instance_id"), _among(CODE_USES.c.user_id, d)
    ),
    # instance id, places; locked in this order
    "LOCK_TALLIES": lambda d: (
        _tallies(d).where(_among(TALLIES.c.place, d)).order_by(TALLIES.c.place).with_for_update()
    ),
    # instance id, places
    "FIND_TALLIES": lambda d: _tallies(d).where(_among(TALLIES.c.place, d)),
    "ADOPTED": lambda _: select(INSTANCES.c.instance_id, INSTANCES.c.how).where(
        INSTANCES.c.slot == _literal("1")
    ),
    "NEWEST_INSTANCE": lambda _: _NEWEST_INSTANCE,
    # the least id of all
    "FIRST_INSTANCE_OF_USERS": _instances(USERS, after=False),
    # instance id
    "NEXT_INSTANCE_OF_USERS": _instances(USERS, after=True),
    # the least id of all
    "FIRST_INSTANCE_OF_DELIVERIES": _instances(DELIVERIES, after=False),
    # instance id
    "NEXT_INSTANCE_OF_DELIVERIES": _instances(DELIVERIES, after=True),
    # the least id of all
    "FIRST_INSTANCE_OF_AUDIT": _instances(AUDIT, after=False),
    # instance id
    "NEXT_INSTANCE_OF_AUDIT": _instances(AUDIT, after=True),
    # instance id, name from which on and before which
    "REMOVE_COUNTERS": lambda _: delete(COUNTERS).where(
        COUNTERS.c.instance_id == bindparam("instance_id"),
        COUNTERS.c.name >= bindparam("first"),
        COUNTERS.c.name < bindparam("until"),
    ),
    # instance id, user id
    "AUDIT_OF": lambda d: _read(AUDIT.c.sequence, AUDIT.c.before, AUDIT.c.after)(d).where(
        AUDIT.c.instance_id == bindparam("instance_id"), AUDIT.c.user_id == bindparam("user_id")
    ),
    # before, after, reason, sequence
    "REWRITE_AUDIT": lambda _: (
        update(AUDIT)
        .values({name: bindparam(f"new_{name}") for name in ("before", "after", "reason")})
        .where(AUDIT.c.sequence == bindparam("place"))
    ),
    # instance id, user id
    "ERASE_BODIES": lambda _: (
        update(DELIVERIES).where(_MINE).values(body=null(), address_key=null())
    ),
    # instance id, user id
    "ERASE_REPLIES": lambda _: (
        update(DELIVERIES)
        .where(_MINE, DELIVERIES.c.reply_status == _literal("200"))
        .values(**_ERASED_REPLY)
    ),
    # reasons, instance id, user id
    "ERASE_FAILURES": lambda _: (
        update(DELIVERIES)
        .where(_MINE, DELIVERIES.c.outcome == _literal(f"'{Outcome.FAILED}'"))
        .values(reasons=bindparam("new_reasons"))
    ),
}


def users_texts(narrow: Callable[[Any], Any]) -> tuple[str, str]:
    """The texts of a statement for rows of users, for SQLite and PostgreSQL.

    Args:
        narrow: adds to the SELECT; its first parameter, the instance, is there.
    """
    return texts_of(lambda dialect: narrow(_users(dialect)))


def texts_of(build: Build) -> tuple[str, str]:
    """The texts of a statement, for SQLite and PostgreSQL."""
    return _text(build(SQLITE), SQLITE), _text(build(POSTGRESQL), POSTGRESQL)


def source() -> str:
    """The whole module."""
    parts = [*map(_statement, _STATEMENTS.items()), *map(_insert, _INTO)]
    return HEAD + "".join(parts)


def _statement(named: tuple[str, Build]) -> str:
    name, build = named
    statement = build(SQLITE)
    texts = [_text(statement, SQLITE), _text(build(POSTGRESQL), POSTGRESQL)]
    arguments = [_quoted(text) for text in texts]
    if "(?...)" in texts[0]:
        arguments.append("lists=True")
    if statement.is_select:
        shape = [_python(column) for column in statement.selected_columns]
        arguments.append(f"returns=rows_of{_listed(shape)}")
    return f"{name}: Final = Statement{_listed(arguments, 0)}\n"


def _listed(items: Iterable[str], depth: int = 1) -> str:
    """One item a line, as ``ruff format`` leaves it."""
    indent = "    " * depth
    return "(\n" + "".join(f"{indent}    {item},\n" for item in items) + f"{indent})"


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


def _text(statement: Any, dialect: Dialect) -> str:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": False})
    text = re.sub(r"\(__\[POSTCOMPILE_several\]\)", "(?...)", str(compiled))
    return " ".join(text.split()).removesuffix(" OFFSET ?")  # of SQLite's LIMIT: nothing


def _python(column: Any) -> str:
    kind = column.type
    if isinstance(kind, UtcDateTime):
        found = "datetime"
    elif isinstance(kind, JSON):
        found = "str"
    elif isinstance(kind, Boolean):
        found = "int | bool"  # SQLite knows no truth
    else:
        found = kind.python_type.__name__
    nullable = getattr(column, "nullable", True) and not getattr(column, "primary_key", False)
    return f"{found} | None" if nullable else found


def _insert(table: Table) -> str:
    columns = [column for column in table.columns if column.autoincrement is not True]
    key = _key(table)
    arguments = [
        _quoted(table.name),
        _listed(_quoted(column.name) for column in columns),
        _listed(map(_quoted, key)) if len(key) > 1 else f"({_quoted(key[0])},)",
        _quoted(_head(table, columns) + _from_document(columns)),
    ]
    return f"INTO_{table.name.upper()}: Final = Insert{_listed(arguments, 0)}\n"


def _head(table: Table, columns: list[Any]) -> str:
    quote = POSTGRESQL.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in columns)
    return f"INSERT INTO {quote(table.name)} ({names})"


def _from_document(columns: list[Any]) -> str:
    """The rows of a JSON document; documents in it are texts, and bytes are base64."""
    quote = POSTGRESQL.identifier_preparer.quote
    taken, declared = [], []
    for column in columns:
        name, kind = quote(column.name), column.type
        if isinstance(kind, JSON):
            taken.append(f"r.{name}::json")
            kind = Text()
        elif isinstance(kind, LargeBinary):
            taken.append(f"decode(r.{name}, 'base64')")
            kind = Text()
        else:
            taken.append(f"r.{name}")
        declared.append(f"{name} {kind.compile(POSTGRESQL).partition(' COLLATE')[0]}")
    rows = f"json_to_recordset($1::json) AS r({', '.join(declared)})"
    return f" SELECT {', '.join(taken)} FROM {rows}"  # noqa: S608 - names of our own


def main() -> None:
    """Write the module."""
    FILE.write_text(source())


if __name__ == "__main__":
    main()
