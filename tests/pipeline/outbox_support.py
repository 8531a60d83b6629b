"""A world with changes, for tests of the outbox: deeds in transactions, a consumer, dispatchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tests.support import Clock
from usher.core.domain.decide import tombstone
from usher.core.domain.records import (
    AuditEntry,
    Delivery,
    Grant,
    Outcome,
    Source,
    User,
    audit,
)
from usher.core.domain.reply import NO_CONTENT
from usher.core.store.complete import Complete
from usher.core.store.counters import Counters
from usher.core.store.database import Database, Transaction
from usher.core.store.instances import Instances
from usher.core.store.ledger import Ledger
from usher.core.store.outbox import Queue
from usher.core.store.outbox_rows import Outbox, mark_silent
from usher.core.store.outbox_shards import newest_entry
from usher.core.store.users import store_users
from usher.emulator.payload import ZERO_INSTANCE

NAME = "handler:site.hooks.told"
PEOPLE = tuple(UUID(int=(shard << 126) + place) for shard in (0, 3) for place in (1, 2, 3))
"""In two shards, so that many of them meet in one."""


def deletion_of(user_id: UUID) -> str:
    """The deed of a deletion."""
    return f"deletion of {user_id}"


class Killed(BaseException):
    """The process ends here."""


class Told(Struct, frozen=True):
    """One change that is to be told: by the deed that made it, its kind and role."""

    deed: str
    kind: str
    role: str = ""


class Impatient(Complete):
    """Waits for no writer, for it may be this thread's own."""

    def up_to(self, wait_seconds: float = 0) -> int | None:
        """As there, at once."""
        return super().up_to(wait_seconds)


class Mortal(Queue):
    """The queue of a process that ends at one of its next transactions.

    Attributes:
        dies_in: how many more it makes; None: it lives.
        late: it ends after the last one is committed, not before.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.dies_in: int | None = None
        self.late = False

    def claim(self, *given: Any, **options: Any) -> Any:
        """As there, or the end."""
        return self._try(lambda: super(Mortal, self).claim(*given, **options))

    def keep(self, *given: Any, **options: Any) -> None:
        """As there, or the end."""
        self._try(lambda: super(Mortal, self).keep(*given, **options))

    def _try(self, work: Callable[[], Any]) -> Any:
        if self.dies_in is None:
            return work()
        self.dies_in -= 1
        if self.dies_in > 0:
            return work()
        if self.late:
            work()
        raise Killed


class Open(Struct):
    """A transaction with deeds in it, which is still to end."""

    transaction: Transaction
    users: dict[UUID, User]
    told: list[tuple[Told, UUID]]
    starts: dict[str, datetime]


class World:
    """One database with people, and what is to be told of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.ledger = Ledger(database, Instances(ZERO_INSTANCE))
        self.outbox = Outbox(database, Instances(ZERO_INSTANCE), clock)
        self.users: dict[UUID, User] = {}
        self.told: dict[UUID, list[Told]] = {}
        self.starts: dict[str, datetime] = {}
        self.committed: set[str] = set()
        self._deeds = 0

    # --- deeds --------------------------------------------------------------------------------

    def begin(self) -> Open:
        """Open a transaction."""
        transaction = self.database.write()
        transaction.__enter__()
        return Open(transaction, {}, [], {})

    def end(self, work: Open, *, rolled_back: bool = False) -> None:
        """Commit it, or roll it back."""
        with ExitStack() as stack:
            stack.push(work.transaction)
            if rolled_back:
                work.transaction.rollback()
        if not rolled_back:
            self.users |= work.users
            for told, user_id in work.told:
                self.told.setdefault(user_id, []).append(told)
                self.committed.add(told.deed)
            self.starts |= work.starts

    def do(self, work: Open, who: UUID, *, origin: str = "", actor: str = "user:admin") -> None:
        """Change somebody, or let them sign up.

        Args:
            origin: of the delivery that does it; empty: a person's act; ``silent``: one that is
                played back.
        """
        old = work.users.get(who) or self.users.get(who)
        event = "login"
        if old is None:
            event, new = "signup", self._newcomer(who)
            kinds = [("user.created", ""), ("user.confirmed", ""), ("role.granted", "member")]
        else:
            new = replace(old, profile={"n": self._deeds}, version=old.version + 1)
            kinds = [("user.changed", "")]
        self._write(work, old, new, kinds, event, origin, actor)

    def suspend(self, work: Open, who: UUID) -> None:
        """Suspend somebody, or let them in again."""
        old = work.users.get(who) or self.users[who]
        if old.suspended_at:
            new, kind = replace(old, suspended_at=None), "user.reactivated"
        else:
            new, kind = replace(old, suspended_at=self.clock()), "user.suspended"
        self._write(work, old, new, [(kind, "")], "", "", "user:admin")

    def delete(self, work: Open, who: UUID) -> None:
        """Delete somebody."""
        old = self.users[who]
        new = tombstone(old, self.clock())
        self._write(work, old, new, [("user.deleted", "")], "userdeleted", "live", "identity")

    def _newcomer(self, who: UUID) -> User:
        now = self.clock()
        member = Grant("member", Source.POLICY, now, actor="p")
        return User(
            ZERO_INSTANCE,
            who,
            now,
            now,
            f"{who.hex}@example.com",
            f"{who.hex}@example.com",
            confirmed_at=now,
            grants=(member,),
        )

    def _write(
        self,
        work: Open,
        old: User | None,
        new: User,
        kinds: Sequence[tuple[str, str]],
        event: str,
        origin: str,
        actor: str,
    ) -> None:
        self._deeds += 1
        deed, now = f"deed {self._deeds}", self.clock()
        entry = audit("user.changed", actor, old, new, now, deed)
        assert entry is not None
        if origin not in ("", "silent"):
            entry = replace(entry, delivery_id=f"{self._deeds:072d}")
            self.ledger.record(work.transaction, [self._delivery(entry, event, origin)])
        key = (new.instance_id, new.id)
        before = {} if old is None else {key: old}
        store_users(work.transaction, Counters(), before, {key: new}, [entry])
        newest_entry(work.transaction)  # an answer, so that the entry has its number by now
        if origin == "silent":
            mark_silent(work.transaction.sql, entry)
        work.users[new.id] = new
        if new.deleted_at:
            deed = deletion_of(new.id)  # nothing else is left of the entry
        told = origin not in ("silent", "replay") and actor != NAME
        if told:
            work.told += [(Told(deed, kind, role), new.id) for kind, role in kinds]
            if origin == "live" and event == "signup":
                work.starts[deed] = now

    def _delivery(self, entry: AuditEntry, event: str, origin: str) -> Delivery:
        return Delivery(
            id=entry.delivery_id or "",
            instance_id=entry.instance_id,
            event=event,
            user_id=entry.user_id,
            issued_at=0,
            received_at=entry.at,
            path="/",
            body=b"",
            body_digest="",
            key_index=0,
            outcome=Outcome.APPLIED,
            reasons=(),
            policy="p",
            reply=NO_CONTENT,
            origin=origin,
        )
