"""THE user service: every read and write of users, grants and their audit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.administration import (
    FOR_GOOD,
    Change,
    Command,
    administers,
    administers_for_good,
    end_grants,
    stops_administering,
    words_about,
)
from usher.core.domain.book import Book
from usher.core.domain.counting import NOTHING, Counting
from usher.core.domain.decide import ACTOR, decide, newcomer, welcome
from usher.core.domain.events import Event, IdentityUser, email_key
from usher.core.domain.policy import CountingPolicy, Policy
from usher.core.domain.push import may_be_overwritten, must_be_told
from usher.core.domain.records import (
    THE_SITE,
    AuditEntry,
    Decision,
    Delivery,
    Key,
    Page,
    Status,
    User,
    audit,
)
from usher.core.errors import (
    AmbiguousUserError,
    IdentityNotConfiguredError,
    KeyForbiddenError,
    LastAdministratorError,
    UserNotFoundError,
)
from usher.core.store.counters import Counted, Counters
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.filters import AuditFilters, Sort, UserFilters
from usher.core.store.instances import Instances
from usher.core.store.pruning import OldRows
from usher.core.store.users import (
    ask_users,
    find_by_address,
    find_by_ids,
    load_users,
    store_users,
    with_ended_grants,
    write_audit,
)

if TYPE_CHECKING:
    from usher.core.domain.outbox import Change as Told
    from usher.core.domain.outbox import Write

ENDED_AT_ONCE: Final = 100
"""Records, at most, from which one transaction removes ended grants."""


class UserService:
    """Reads and writes users.

    Args:
        admin_role: the role whose last active holder is protected.
        clock: gives the current time, UTC.
        instances: say which instance is meant.
        tells_identity: mark changes for a push to Identity (``usher.core.identity.push``).
    """

    def __init__(
        self,
        database: Database,
        admin_role: str,
        clock: Callable[[], datetime],
        instances: Instances,
        *,
        tells_identity: bool = False,
    ) -> None:
        self._database = database
        self._admin_role = admin_role
        self._clock = clock
        self._instances = instances
        self._tells_identity = tells_identity
        self._old_entries = OldRows("audit", "at")

    # --- within the caller's transaction ------------------------------------------------------

    def load(self, transaction: Transaction, keys: Iterable[Key]) -> dict[Key, User]:
        """Records by key, locked in order until the transaction ends; unknown keys are left out."""
        return load_users(transaction, keys)

    def ask(self, transaction: Transaction, keys: Iterable[Key]) -> Callable[[], dict[Key, User]]:
        """As ``load``, when what this gives is called; asked together with what follows."""
        return ask_users(transaction, keys)

    def store(
        self,
        transaction: Transaction,
        before: Mapping[Key, User],
        after: Mapping[Key, User],
        entries: Sequence[AuditEntry],
        deliveries: Sequence[Delivery] = (),
        superseded: Sequence[Counted] = (),
    ) -> None:
        """Write the differences between two states of users, their audit, and all counters.

        Args:
            before: the records as ``load`` gave them.
            after: the records as they shall be; keys that ``before`` lacks are new users.
            entries: the audit of the changes.
            deliveries: those that the ledger recorded in this transaction.
            superseded: those that it removed.
        """
        counters = Counters()
        counters.count_deliveries(deliveries, superseded)
        store_users(transaction, counters, before, after, entries)
        counters.write(transaction)

    def open_book(
        self,
        transaction: Transaction,
        counting: Counting,
        events: Sequence[Event],
        users: Mapping[Key, User],
        *,
        locked: bool = True,
    ) -> Book:
        """The codes and tallies that these events meet; see ``usher.core.store.books``."""
        from usher.core.store.books import open_book  # noqa: PLC0415 - few policies count

        return open_book(transaction, counting, events, users, locked=locked)

    def write_book(self, transaction: Transaction, book: Book, now: datetime) -> None:
        """Write what the decisions since ``open_book`` used up; last in a transaction."""
        from usher.core.store.books import write_book  # noqa: PLC0415 - as above

        write_book(transaction, book, now)

    def remove(
        self, transaction: Transaction, users: Sequence[User], entries: Sequence[AuditEntry]
    ) -> None:
        """Remove pending records with all personal data; nothing keeps their ids from coming again.

        Args:
            users: records as ``load`` gave them.
            entries: the audit of the removals.
        """
        from usher.core.store.pending import remove_users  # noqa: PLC0415 - events never remove

        remove_users(transaction, users, entries)

    def has_act(self, transaction: Transaction, act: AuditEntry) -> bool:
        """Whether the audit holds this act of an administrator already."""
        from usher.core.store.audit import has_entry  # noqa: PLC0415 - loads SQLAlchemy

        return has_entry(transaction.sql, act)

    def tell_nobody(self, transaction: Transaction, act: AuditEntry) -> None:
        """See to it that no handler and no sink gets an act that was just written to the audit."""
        from usher.core.store.outbox_rows import mark_silent  # noqa: PLC0415 - loads SQLAlchemy

        mark_silent(transaction.sql, act)

    # --- reading ------------------------------------------------------------------------------

    def find(self, handle: str) -> User:
        """The one user with this id or e-mail address.

        Raises:
            UserNotFoundError: no user has it.
            AmbiguousUserError: several users have the address.
        """
        if not handle.strip() or not handle.isprintable():
            raise UserNotFoundError("Name a user by id or e-mail address.")
        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            try:
                found = find_by_ids(transaction, instance_id, [UUID(handle)])
            except ValueError:
                found = find_by_address(transaction, instance_id, email_key(handle))
        if not found:
            raise UserNotFoundError(f"No user has the id or e-mail address {handle[:100]!r}.")
        if len(found) > 1:
            raise AmbiguousUserError(
                f"More than one user has the address {handle[:100]!r}. Use the id."
            )
        return found[0]

    def get(self, user_id: UUID) -> User:
        """The user with this id.

        Raises:
            UserNotFoundError: there is none.
        """
        user = self.look_up(user_id)
        if user is None:
            raise UserNotFoundError(f"No user has the id {user_id}.")
        return user

    def look_up(self, user_id: UUID) -> User | None:
        """The user with this id, if there is one."""
        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            return next(iter(find_by_ids(transaction, instance_id, [user_id])), None)

    def page(
        self,
        filters: UserFilters = UserFilters(),
        *,
        sort: Sort = Sort.CREATED,
        descending: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[User]:
        """One page of users; a filtered page can be short and yet not the last.

        Args:
            limit: users at most, between 1 and ``keyset.MAX_PAGE``.
            cursor: ``next_cursor`` of the page before; None: the first page.

        Raises:
            CursorInvalidError: not ours, cut short, or of another order.
        """
        from usher.core.store.user_search import search  # noqa: PLC0415 - loads SQLAlchemy

        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            now = self._clock()
            return search(transaction, instance_id, filters, sort, descending, limit, cursor, now)

    def audit_page(
        self,
        filters: AuditFilters = AuditFilters(),
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        """One page of the audit, the newest first.

        Args:
            limit: entries at most, between 1 and ``keyset.MAX_PAGE``.
            cursor: ``next_cursor`` of the page before; None: the first page.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        from usher.core.store.audit import audit_page  # noqa: PLC0415 - loads SQLAlchemy

        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            return audit_page(transaction.sql, instance_id, filters, limit, cursor)

    def prune_audit(self, before: datetime, *, step: int) -> int:
        """Remove some entries of the audit from before a time, the oldest first; how many.

        Entries that a consumer of changes has not come to stay.
        """
        from usher.core.store.outbox_rows import first_needed  # noqa: PLC0415 - loads SQLAlchemy

        with self._database.write() as transaction:
            needed = first_needed(transaction.sql, self._clock())
            return self._old_entries.remove(transaction, before, step, needed)

    def counts(self, kind: str, since: str = "") -> Mapping[str, int]:
        """Counts of users or deliveries by name; see ``counts.read_counters``.

        Args:
            kind: ``status``, ``provider`` or ``role`` of users, or ``day`` of deliveries.
            since: with ``day``, the first day (YYYY-MM-DD).
        """
        from usher.core.store.counts import read_counters  # noqa: PLC0415 - loads SQLAlchemy

        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            return read_counters(transaction.sql, instance_id, kind, self._clock(), since)

    def stats(self, first_day: str) -> Mapping[str, Mapping[str, int]]:
        """The counts of all four kinds at one moment, by kind and name.

        Args:
            first_day: of the deliveries (YYYY-MM-DD).
        """
        from usher.core.store.counts import read_counters  # noqa: PLC0415 - loads SQLAlchemy

        kinds = (("status", ""), ("provider", ""), ("role", ""), ("day", first_day))
        with self._database.read() as transaction:
            instance_id, now = self._instances.shown(transaction), self._clock()
            return {
                kind: read_counters(transaction.sql, instance_id, kind, now, since)
                for kind, since in kinds
            }

    # --- callers of the API -------------------------------------------------------------------

    def welcome(self, caller: IdentityUser, policy: Policy) -> User:
        """The record of a caller with a valid token; made, or confirmed where it is pending.

        Raises:
            InstanceUnknownError: no instance is in use yet, so nothing is written.
        """

        def enter() -> User:
            with self._database.write() as transaction:
                key = (self._instances.known(transaction).settled(), caller.id)
                before = self.load(transaction, [key])
                record = before.get(key)
                if record is not None and record.status is not Status.PENDING:
                    return record
                now = self._clock()
                user = welcome(key[0], caller, record, policy, now)
                if record is not None:
                    user = replace(user, updated_at=now, version=record.version + 1)
                action = "user.changed" if record else "user.created"
                reason = "first seen by a valid access token"
                entry = audit(action, ACTOR, record, user, now, reason)
                self.store(transaction, before, {key: user}, [entry] if entry else [])
                return user

        return again_on_conflict(enter)

    def invited(self, person: IdentityUser, actor: str) -> User:
        """Note in the audit that an administrator invited a person through Identity.

        Args:
            person: the invited account.
            actor: the administrator, as the audit names them.

        Returns:
            The record that Identity's ``validate`` made, or else a new pending one.
        """

        def note() -> User:
            with self._database.write() as transaction:
                now = self._clock()
                key = (self._instances.shown(transaction), person.id)  # the actor has a record
                before = self.load(transaction, [key])
                user = before.get(key) or newcomer(key[0], person, now)
                new = audit("user.invited", actor, before.get(key), user, now)
                entry = new or AuditEntry("user.invited", actor, *key, now, {}, {})
                self.store(transaction, before, {key: user}, [entry])
                return user

        return again_on_conflict(note)

    def note_policy(
        self, action: str, actor: str, before: str, after: str, at: datetime | None = None
    ) -> bool:
        """Note once in the audit that another policy came into force, by both fingerprints.

        Args:
            at: when; the same change is noted once. None: now.

        Returns:
            False where no instance is known yet, so that there is no audit to note it in.
        """
        with self._database.write() as transaction:
            instance_id = self._instances.known(transaction).one
            if instance_id is None:
                return False
            old, new = {"policy": before}, {"policy": after}
            entry = AuditEntry(action, actor, instance_id, THE_SITE, at or self._clock(), old, new)
            if not self.has_act(transaction, entry):
                write_audit(transaction, [entry])
        return True

    def after_events(self, decided: dict[Key, User], now: datetime) -> dict[Key, User]:
        """The records after a batch, marked pending where an answer in flight may undo them.

        Without a way to Identity's admin API the next answer tells it again.
        """
        if not self._tells_identity:
            return decided
        return {
            key: replace(user, at_identity=user.at_identity.marked_pending())
            if may_be_overwritten(user, now)
            else user
            for key, user in decided.items()
        }

    # --- changes ------------------------------------------------------------------------------

    def change(self, user: User, command: Command, change: Change) -> User:
        """Apply a command of ``administration`` to a record, and store it if anything differs.

        Args:
            user: names the record; the command is applied to the record as it is now.
            command: the change itself.
            change: its actor, reason and conditions.

        Returns:
            The record as it is afterwards.

        Raises:
            UserNotFoundError: there is no record any more.
            PreconditionFailedError: the record is at another version than the change asks for.
            LastAdministratorError: no other active user has the admin role; ``force`` allows it.
            KeyForbiddenError: a machine may not change who administers.
            RoleInvalidError, MetadataInvalidError, UserDeletedError, UserWaitingError: as the
                command says.
        """

        def work() -> User:
            with self._database.write() as transaction:
                key = (user.instance_id, user.id)
                return self.change_in(transaction, key, command, change)

        return again_on_conflict(work)

    def change_in(
        self, transaction: Transaction, key: Key, command: Command, change: Change
    ) -> User:
        """As ``change``, within the caller's transaction."""
        now = self._clock()
        current = self.load(transaction, [key]).get(key)
        if current is None:
            raise UserNotFoundError(f"The user {key[1]} does not exist any more.")
        change.check(current)
        changed = command.apply(current, change, now)
        if change.by_machine:
            role = self._admin_role
            if words_about(current, role) != words_about(changed, role):
                raise KeyForbiddenError(detail=f"No key gives or takes the role {role!r}.")
        return self._keep(transaction, current, changed, command.action, change, now)

    def write_of_handler(
        self, transaction: Transaction, actor: str, told: Told, write: Write
    ) -> None:
        """Apply a handler's write to the person of a change, within the caller's transaction.

        The keys of a write that comes after the person's deletion are added to the entry of that
        deletion, so that the handler, which has it still before it, can clean up.

        Args:
            actor: ``handler:NAME``.
            told: the change that the handler had.

        Raises:
            RoleInvalidError, MetadataInvalidError, UserWaitingError, HandlersCircleError: see
                ``handler_writes``.
            IdentityNotConfiguredError: ``user_metadata`` is written at Identity, and there is no
                way to its admin API.
        """
        from usher.core.domain import handler_writes as writes  # noqa: PLC0415 - no event needs it

        key, now = (told.instance_id, told.user.id), self._clock()
        writes.require_valid(write, self._admin_role)
        current = self.load(transaction, [key]).get(key)
        if current is None or current.status is Status.DELETED:
            if keys := writes.left_by(write):
                from usher.core.store.left_keys import leave  # noqa: PLC0415 - loads SQLAlchemy

                leave(transaction, key, keys, now)
            return
        if write.user_metadata and not self._tells_identity:
            raise IdentityNotConfiguredError(
                "A handler's user_metadata is written at Identity, so it needs Identity's admin "
                "API. Set that up (docs/identity.md), or write app_metadata."
            )
        reason = f"after {told.kind.value}"
        changed = writes.apply_write(current, write, actor, now, reason)
        if changed is current:
            return
        from usher.core.store.audit import newest_acts  # noqa: PLC0415 - loads SQLAlchemy

        since = now - writes.CIRCLE_TIME
        writes.require_no_circle(newest_acts(transaction.sql, key, since, writes.CIRCLE))
        entry = audit(writes.ACTION, actor, current, changed, now, reason)
        version = current.version + (entry is not None)
        changed = replace(changed, updated_at=now, version=version)
        if self._tells_identity:  # always: what Identity has of the keys is not known for sure
            changed = replace(changed, at_identity=changed.at_identity.marked_pending())
        self.store(transaction, {key: current}, {key: changed}, [entry] if entry else [])

    def erase_left(self, before: datetime, *, step: int) -> int:
        """Erase what handlers wrote for some people who were deleted before a time; how many."""
        from usher.core.store.left_keys import erase_left  # noqa: PLC0415 - as above

        with self._database.write() as transaction:
            return erase_left(transaction, before, step)

    def decide_again(
        self,
        event: Event,
        policy: CountingPolicy,
        change: Change,
        failed: Delivery | None = None,
    ) -> Decision:
        """Decide an event of the ledger again, by the policy and record of now; store the result.

        Args:
            failed: the event's delivery, where it failed; it gets the outcome of now.

        Returns:
            The decision; its ``user`` is the record afterwards, None where there is none.

        Raises:
            PreconditionFailedError: the record is at another version, or there is none.
            LastAdministratorError: no other active user has the admin role; ``force`` allows it.
        """

        def again() -> Decision:
            key = event.key
            now = self._clock()
            with self._database.write() as transaction:
                current = self.load(transaction, [key]).get(key)
                change.check(current)
                book, counts = None, NOTHING
                if policy.counting is not None:
                    known = {} if current is None else {key: current}
                    book = self.open_book(transaction, policy.counting, [event], known)
                    counts = book.counts(event)
                decision = decide(event, current, policy, now, None, counts)
                if failed is not None:
                    from usher.core.store.deliveries import settle  # noqa: PLC0415 - as above

                    settle(transaction, failed, decision, policy.fingerprint)
                if decision.user is None:
                    return decision
                # Nobody receives this reply, so a push must tell Identity.
                decided = decision.user
                if self._tells_identity and decided.status is not Status.DELETED:
                    before = (current or decided).at_identity
                    open_still = decided.at_identity.unanswered(before)
                    decided = replace(decided, at_identity=open_still)
                kept = self._keep(transaction, current, decided, "event.replayed", change, now)
                decision = replace(decision, user=kept)
                if book is not None and (uses := decision.uses) is not None:
                    if not kept.counted:  # where nothing else changed, the record was not written
                        decision = replace(decision, uses=replace(uses, place=None))
                    book.note(event, NOTHING, decision)
                    self.write_book(transaction, book, now)
                return decision

        return again_on_conflict(again)

    def end_grants(self) -> int:
        """Remove grants that have expired from up to ``ENDED_AT_ONCE`` records.

        Returns:
            The number of changed records; above 0, there may be more.
        """
        with self._database.read() as transaction:
            keys = with_ended_grants(transaction, self._clock(), ENDED_AT_ONCE)
        return again_on_conflict(lambda: self._end_grants(keys)) if keys else 0

    def _end_grants(self, keys: Collection[Key]) -> int:
        now = self._clock()
        with self._database.write() as transaction:
            before = self.load(transaction, keys)
            after, entries = dict(before), []
            for key in sorted(before):  # all have the same time: the audit orders them by id
                user = before[key]
                changed = end_grants(user, now)
                entry = audit("role.ended", "usher", user, changed, now)
                if entry is not None:
                    changed = self._marked(user, changed, now)
                    after[key] = replace(changed, updated_at=now, version=user.version + 1)
                    entries.append(entry)
            self.store(transaction, before, after, entries)
        return len(entries)

    def _keep(
        self,
        transaction: Transaction,
        current: User | None,
        changed: User,
        action: str,
        change: Change,
        now: datetime,
    ) -> User:
        """Write a change with its entry of the audit; nothing where no audited value differs."""
        key = (changed.instance_id, changed.id)
        entry = audit(action, change.actor, current, changed, now, change.reason)
        if entry is None:
            return current or changed
        before = {}
        if current is not None:
            before[key] = current
            if not change.force and stops_administering(current, changed, self._admin_role, now):
                self._keep_an_administrator(transaction, current, now)
            changed = replace(changed, updated_at=now, version=current.version + 1)
        if not change.known:
            changed = self._marked(current, changed, now)
        self.store(transaction, before, {key: changed}, [entry])
        return changed

    def _marked(self, before: User | None, after: User, now: datetime) -> User:
        """The record, marked pending where Identity must be told of the change."""
        if self._tells_identity and must_be_told(before, after, now):
            return replace(after, at_identity=after.at_identity.marked_pending())
        return after

    def _keep_an_administrator(
        self, transaction: Transaction, leaving: User, now: datetime
    ) -> None:
        """Insist on another administrator; on one without an end, where one without it leaves."""
        from usher.core.store.user_search import another_holder  # noqa: PLC0415 - loads SQLAlchemy

        role, key = self._admin_role, (leaving.instance_id, leaving.id)
        lasting = administers_for_good(leaving, role, now)
        stays, until = (administers_for_good, FOR_GOOD) if lasting else (administers, now)
        looked_at: list[UUID] = []
        while other := another_holder(transaction.sql, key, role, until, looked_at):
            # Locked and read again: another transaction may be taking the role away.
            found = self.load(transaction, [(leaving.instance_id, other)])
            if any(stays(user, role, now) for user in found.values()):
                return
            looked_at.append(other)
        others_end = lasting and another_holder(transaction.sql, key, role, now, ()) is not None
        raise LastAdministratorError(
            f"Nobody else is active and has the role {role!r}{' without an end' * others_end}. "
            "Give it to somebody first, or repeat with force."
        )
