"""Invitation codes for administrators: made, listed, revoked. Events use ``store.books``.

The text of a code leaves with the answer to whoever makes it; kept is its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from secrets import randbits
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import delete, insert, select, tuple_, update

from usher.core.domain.codes import CODE_BITS, Code, CodeUse, NewCodes, digest_of, spelled
from usher.core.domain.documents import code_document
from usher.core.domain.records import THE_SITE, AuditEntry, Page
from usher.core.errors import CodeNotFoundError, CodeTakenError
from usher.core.store.books import to_code
from usher.core.store.counts import refused_codes_since
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.instances import Instances
from usher.core.store.keyset import Order, fetch
from usher.core.store.tables import CODE_USES, CODES, TALLIES
from usher.core.store.users import write_audit

_NEWEST: Final = Order("codes", (CODES.c.created_at, CODES.c.id), (datetime, UUID), True)
_FIRST_USE: Final = Order(
    "uses", (CODE_USES.c.used_at, CODE_USES.c.user_id), (datetime, UUID), False
)


class Codes:
    """The invitation codes of one database.

    Args:
        instances: say whose audit tells of them.
        clock: gives the current time, UTC.
    """

    def __init__(
        self, database: Database, instances: Instances, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._instances = instances
        self._clock = clock

    def make(self, wanted: NewCodes, actor: str) -> list[tuple[str, Code]]:
        """Make codes.

        Returns:
            Each with its spelling, which nobody can tell later.

        Raises:
            CodeInvalidError: they cannot be made so.
            CodeTakenError: the administrator's own code is there already, revoked or not.
        """
        now = self._clock()
        wanted.check(now)

        def work() -> list[tuple[str, Code]]:
            made = [_new(wanted, actor, now) for _ in range(wanted.count)]
            with self._database.write() as transaction:
                self._require_new(transaction, [code.digest for _, code in made])
                transaction.sql.execute(insert(CODES), [_row(code) for _, code in made])
                self._note(transaction, "codes.made", actor, [code for _, code in made], now)
            return made

        return again_on_conflict(work)

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Code]:
        """One page of codes, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            rows, following = fetch(
                transaction.sql,
                select(CODES),
                _NEWEST,
                within=(),
                where=(),
                cursor=cursor,
                limit=limit,
            )
        return Page(tuple(map(to_code, rows)), following)

    def get(self, code_id: UUID) -> Code:
        """The code with this id.

        Raises:
            CodeNotFoundError: there is none.
        """
        with self._database.read() as transaction:
            return _found(transaction, code_id)

    def uses(self, code_id: UUID, *, limit: int = 50, cursor: str | None = None) -> Page[CodeUse]:
        """One page of the accounts that used a code, the first ones first.

        Raises:
            CodeNotFoundError: there is no such code.
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            _found(transaction, code_id)
            rows, following = fetch(
                transaction.sql,
                select(CODE_USES.c.user_id, CODE_USES.c.used_at),
                _FIRST_USE,
                within=(CODE_USES.c.code_id == code_id,),
                where=(),
                cursor=cursor,
                limit=limit,
            )
        return Page(tuple(CodeUse(*row) for row in rows), following)

    def revoke(self, code_id: UUID, actor: str, reason: str = "") -> Code:
        """Let nobody use a code from now on; those who did stay.

        Raises:
            CodeNotFoundError: there is no such code.
        """

        def work() -> Code:
            now = self._clock()
            with self._database.write() as transaction:
                code = _found(transaction, code_id, locked=True)
                if code.revoked_at is None:
                    changed = update(CODES).where(CODES.c.id == code_id).values(revoked_at=now)
                    transaction.sql.execute(changed)
                    code = _found(transaction, code_id)
                    self._note(transaction, "code.revoked", actor, [code], now, reason)
            return code

        return again_on_conflict(work)

    def refused_since(self, day: str) -> int:
        """How often a code that cannot be used was given, from a day on (YYYY-MM-DD)."""
        with self._database.read() as transaction:
            return refused_codes_since(transaction.sql, day)

    def prune_tallies(self, before: datetime, *, step: int) -> int:
        """Remove some tallies of windows that ended before a time; how many.

        Those that an event or another server has locked are left.
        """
        key = (TALLIES.c.instance_id, TALLIES.c.place)
        ended = (
            select(*key)
            .where(TALLIES.c.ends_at < before)
            .order_by(TALLIES.c.ends_at)
            .limit(step)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as transaction:
            found = [tuple(row) for row in transaction.sql.execute(ended)]
            if found:
                transaction.sql.execute(delete(TALLIES).where(tuple_(*key).in_(found)))
        return len(found)

    def _require_new(self, transaction: Transaction, digests: list[str]) -> None:
        same = select(CODES.c.id).where(CODES.c.digest.in_(digests)).limit(1)
        if transaction.sql.execute(same).first() is not None:
            raise CodeTakenError("Such a code was made before. Choose another one.")

    def _note(
        self,
        transaction: Transaction,
        action: str,
        actor: str,
        codes: list[Code],
        now: datetime,
        reason: str = "",
    ) -> None:
        """Tell the audit, as soon as there is an instance; the entry is the site's own."""
        instance_id = self._instances.known(transaction).one
        if instance_id is None:
            return
        kept = code_document(codes[0], now)
        told = {key: kept[key] for key in ("label", "allowed", "roles_until", "ends_at")}
        after = {"codes": {**told, "gives": kept["roles"], "ids": [str(c.id) for c in codes]}}
        entry = AuditEntry(action, actor, instance_id, THE_SITE, now, {}, after, reason)
        write_audit(transaction, [entry])


def _new(wanted: NewCodes, actor: str, now: datetime) -> tuple[str, Code]:
    spelling = wanted.spelling or spelled(randbits(CODE_BITS))
    code = Code(
        id=uuid4(),
        digest=digest_of(spelling),
        label=wanted.label,
        allowed=wanted.allowed,
        used=0,
        roles=wanted.roles,
        created_at=now,
        created_by=actor,
        roles_until=wanted.roles_until,
        ends_at=wanted.ends_at,
    )
    return spelling, code


def _row(code: Code) -> Mapping[str, Any]:
    return {**{c.name: getattr(code, c.name) for c in CODES.c}, "roles": list(code.roles)}


def _found(transaction: Transaction, code_id: UUID, *, locked: bool = False) -> Code:
    statement = select(CODES).where(CODES.c.id == code_id)
    row = transaction.sql.execute(statement.with_for_update() if locked else statement).first()
    if row is None:
        raise CodeNotFoundError(f"No invitation code has the id {code_id}.")
    return to_code(row)
