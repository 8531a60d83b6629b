"""The pipeline: verify, dedupe, decide, store, reply; many deliveries in one transaction.

Verification needs no database and comes before a delivery joins a batch, so that a forged delivery
costs no more than its signature check. The store is opened at first need; nothing here imports SQL.
A server's batch holds many requests, a serverless function's one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from time import monotonic, perf_counter, sleep
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import LARGE_LOGINS_PER_HOUR, MAX_KEPT_BODY_BYTES, MAX_LOGIN_BODY_BYTES
from usher.core.domain.counting import NOTHING
from usher.core.domain.events import (
    Event,
    EventName,
    UnknownEvent,
    delivery_id,
    kept_event,
    parse_event,
    reduce_body,
)
from usher.core.domain.instances import OTHER, KnownInstances, of_other_instance
from usher.core.domain.policy import CountingPolicy, Policy, Reason
from usher.core.domain.records import (
    BODY_NOT_KEPT,
    EFFECTS,
    ERASED,
    PLAYED_BACK,
    REPLAY,
    AuditEntry,
    Decision,
    Delivery,
    Key,
    Outcome,
    Status,
    User,
)
from usher.core.domain.repeat import decide_again, tells_roles
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import (
    BodyError,
    ConflictError,
    DatabaseAwayError,
    DatabaseError,
    DuplicateError,
    EventMismatchError,
    NotStorableError,
    PolicyError,
    SignatureError,
    TooManyRequestsError,
    UsherError,
)
from usher.core.jws import Claims, verify_claims, verify_event
from usher.core.limits import RateLimiter
from usher.core.log import describe, describe_failure, elapsed_ms, get_logger, info_all
from usher.core.opaque import SetAside
from usher.core.settings import Settings
from usher.core.texts import uuid_text

if TYPE_CHECKING:
    from usher.core.domain.book import Book
    from usher.core.policy_source import PolicyInForce
    from usher.core.store.instances import Instances
    from usher.core.store.ledger import Ledger
    from usher.core.users import UserService

CONFLICT_ATTEMPTS: Final = 3
_NOT_KEPT: Final = Reason(
    BODY_NOT_KEPT, f"over {MAX_KEPT_BODY_BYTES} bytes: the ledger has the body's digest alone"
)
_ONE_OF_MANY: Final = Reason(
    BODY_NOT_KEPT, "one of many large logins of this person: the ledger has the body's digest alone"
)
_DENIED: Final = Outcome.DENIED
_LINE_OF: Final = {outcome: f"event.{outcome}" for outcome in Outcome}
PAUSE_SECONDS: Final = 0.0005
"""Between two pieces of a large body: the interpreter's lock is free for so long."""
LOST_AT_ONCE_SECONDS: Final = 1.0
"""A dead connection fails at once; a commit that took longer than this is not repeated."""


class Store(Protocol):
    """The store that the pipeline writes to."""

    @property
    def instances(self) -> Instances:
        """The instances whose events are taken."""

    @property
    def users(self) -> UserService:
        """The records."""

    @property
    def ledger(self) -> Ledger:
        """The deliveries."""

    def write(self) -> AbstractContextManager[Any]:
        """One transaction."""

    def read(self) -> AbstractContextManager[Any]:
        """One transaction that only reads."""

    def check(self) -> None:
        """Try to write what an event writes.

        Raises:
            DatabaseError: no event could be stored now.
        """


class Received(Struct, frozen=True):
    """One request as it came.

    Attributes:
        signatures: values of all X-Webhook-Signature headers.
        expected: the only event that this URL takes; None: any.
        at: time of receipt, UTC.
        replayed: played back from a capture or a ledger, not sent by Identity now.
        effects: handlers and sinks are told all the same.
        reduced: what was taken out of ``body``, which is too large to be kept; None: it is whole.
        named: a header names the event, as Identity's does; nothing signs it.
    """

    signatures: Sequence[str]
    body: bytes
    path: str
    expected: EventName | None
    at: datetime
    replayed: bool = False
    effects: bool = False
    reduced: tuple[SetAside, ...] | None = None
    named: bool = False


class Verified(Struct, frozen=True):
    """A delivery with a good signature.

    Attributes:
        content: the event of the body, known or not, or the error in it: ``BodyError`` where the
            body is no event, any other where reading it failed.
        id: the delivery id; retries have the same.
        given: the answer that is given in any case; None: the decision's own.
        observed: ``given`` is the 204 of observe mode; else it was given in an outage.
    """

    received: Received
    claims: Claims
    content: Event | UnknownEvent | Exception
    id: str
    given: Reply | None = None
    observed: bool = False


class Fallback(Protocol):
    """The way of deliveries while the database is away (``usher.core.spool.forward``)."""

    @property
    def active(self) -> bool:
        """Whether deliveries must go here and not to the database."""

    def hold(
        self, batch: Sequence[Verified], error: DatabaseAwayError | None = None
    ) -> list[Reply | Exception] | None:
        """Keep and answer a batch; None, only without ``error``: ask the database instead."""

    def check(self) -> None:
        """Try to keep something.

        Raises:
            SpoolError: no delivery could be kept now.
        """


class Webhooks:
    """The pipeline: each delivery is answered after its data is committed.

    Args:
        open_store: gives the store; first called for a delivery with a good signature.

    Attributes:
        fallback: takes deliveries while the database is away; None: they fail.
    """

    def __init__(
        self, settings: Settings, policy: PolicyInForce, open_store: Callable[[], Store]
    ) -> None:
        self._settings = settings
        self._in_force = policy
        self._open_store = open_store
        self._large_logins = RateLimiter(LARGE_LOGINS_PER_HOUR, _minutes)
        self.fallback: Fallback | None = None

    def verify(self, received: Received) -> Verified:
        """Check the signature and read the body; needs no database.

        Raises:
            SignatureError: the log names the failed check, and what the delivery looks like.
        """
        settings = self._settings
        started = perf_counter()
        try:
            claims = verify_event(
                received.signatures,
                received.body,
                settings.webhook_secrets,
                received.at.timestamp(),
                settings.tolerance,
            )
        except SignatureError as error:
            error.mark = _mark_of(error, received, settings.jwt_secret)
            get_logger().warning(
                "signature.rejected",
                reason=error.check.value,
                fact=error.fact,
                mark=error.mark,
                path=received.path,
                duration_ms=elapsed_ms(started),
            )
            raise
        return read_content(received, claims)

    def verify_claims(self, signatures: Sequence[str], at: datetime) -> None:
        """Check a signature before its body is read; ``verify`` does all of it, and logs.

        Raises:
            SignatureError
        """
        settings = self._settings
        verify_claims(signatures, settings.webhook_secrets, at.timestamp(), settings.tolerance)

    def process(self, batch: Sequence[Verified]) -> list[Reply | Exception]:
        """Decide and store a batch; while the database is away, hand it to the fallback.

        Returns:
            For each delivery, in order, its answer, or the exception that kept it from being
            stored. A failure does not affect its neighbours.
        """
        if not self._settings.observes:
            return self._process(batch)
        try:
            return self._process([replace(v, given=NO_CONTENT, observed=True) for v in batch])
        except Exception as error:  # such as a store that cannot be opened
            get_logger().error("batch.failed", deliveries=len(batch), **describe(error))
            return [error] * len(batch)

    def _process(self, batch: Sequence[Verified]) -> list[Reply | Exception]:
        started = perf_counter()
        if self.fallback is not None and self.fallback.active:
            held = self.fallback.hold(batch)
            if held is not None:
                return self._log_failures(batch, held, started)
        answers = self.apply(batch)
        away = answers[-1]  # once the database is away, all that follow fail so
        if isinstance(away, DatabaseAwayError) and self.fallback is not None:
            first = next(n for n, one in enumerate(answers) if isinstance(one, DatabaseAwayError))
            answers[first:] = self.fallback.hold(batch[first:], away) or answers[first:]
        return self._log_failures(batch, answers, started)

    def apply(self, batch: Sequence[Verified]) -> list[Reply | Exception]:
        """Decide and store a batch in one transaction; where that fails, one by one.

        Returns:
            As ``process``. After the first DatabaseAwayError all others are the same.
        """
        store = self._open_store()
        if len(batch) > 1:
            try:
                return self._commit_again(store, batch)
            except DatabaseAwayError as error:
                return [error] * len(batch)
            except Exception as error:  # one faulty delivery must not fail the others
                get_logger().warning(
                    "batch.split", deliveries=len(batch), error=type(error).__name__
                )
        answers: list[Reply | Exception] = []
        for verified in batch:
            answers.append(self._process_one(store, verified))
            if isinstance(answers[-1], DatabaseAwayError):
                return answers + [answers[-1]] * (len(batch) - len(answers))
        return answers

    def refusal(self, content: Event | UnknownEvent | Exception) -> Reply | None:
        """The answer to an event of another instance, where the choice is known without asking."""
        known = self._open_store().instances.chosen
        if known is None or isinstance(content, Exception) or known.takes(content.instance_id):
            return None
        return _not_ours(content).reply

    def rehearse(self, delivery: Delivery, user: User | None, now: datetime) -> Decision | None:
        """The decision of a kept delivery as of now; nothing is written.

        Args:
            user: the record as it stands.

        Returns:
            None where the body was erased, is of an unknown event, or could never be read.
        """
        event = event_of(delivery)
        return None if event is None else self.would_decide(event, user, now)

    def would_decide(self, event: Event, user: User | None, now: datetime) -> Decision:
        """The decision of an event as of now; nothing is written.

        Args:
            user: the record as it stands.
        """
        policy, counts = self._in_force.current, NOTHING
        if policy.counting is not None:
            known = {event.key: user} if user else {}
            store = self._open_store()
            with store.read() as transaction:
                book = store.users.open_book(
                    transaction, policy.counting, [event], known, locked=False
                )
            counts = book.counts(event)
        decision: Decision = _decider().decide(event, user, policy, now, None, counts)
        return decision

    def _log_failures(
        self, batch: Sequence[Verified], answers: list[Reply | Exception], started: float
    ) -> list[Reply | Exception]:
        for verified, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                get_logger().error(
                    "event.failed",
                    duration_ms=elapsed_ms(started),
                    **describe_failure(answer),
                    **log_fields(verified),
                )
        return answers

    def _process_one(self, store: Store, verified: Verified) -> Reply | Exception:
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            try:
                return self._commit_again(store, [verified])[0]
            except DatabaseAwayError as error:
                return error
            except ConflictError as error:  # another process stored this delivery or this user
                if attempt < CONFLICT_ATTEMPTS:
                    continue
                if not isinstance(error, DuplicateError):
                    return error
                refused: DatabaseError = error
            except NotStorableError as error:
                return self._keep_failed(store, verified, error)
            except DatabaseError as error:
                refused = error
            except Exception as error:
                return self._keep_failed(store, verified, error)
            # A database that takes no event, or a delivery that it does not take? It is tried
            # again: what refused it, such as a grant that was missing, may have been mended.
            try:
                store.check()
            except DatabaseError as away:
                return DatabaseAwayError(away.detail, away.words)
        return self._keep_failed(store, verified, NotStorableError.refusing(refused.words))

    def _keep_failed(self, store: Store, verified: Verified, error: Exception) -> Reply | Exception:
        """Keep a delivery whose own transaction failed, in another one.

        Returns:
            The error; DatabaseAwayError where the database went away meanwhile; or the reply that
            another process has stored.
        """
        content = verified.content
        keys = [content.key] if isinstance(content, Event) else []
        try:
            with store.write() as connection:
                known = store.ledger.known(connection, [verified.id])
                if verified.id in known.replies:
                    return known.replies[verified.id]
                users = store.users.load(connection, keys)
                failed = self._failed(verified, users, error, self._policy())
                store.ledger.record(connection, [failed])
                store.users.store(connection, users, users, [], [failed], known.superseded)
        except DatabaseAwayError as away:
            return away
        except Exception:  # the database refuses it altogether; the first error is the news
            return error
        return error

    def _policy(self) -> Policy:
        """The policy in force; where it cannot be loaded, one without a fingerprint."""
        try:
            return self._in_force.current
        except PolicyError:
            from usher.core.domain.rules import FilePolicy  # noqa: PLC0415 - few processes need it

            return FilePolicy(fingerprint="")

    def _commit_again(self, store: Store, batch: Sequence[Verified]) -> list[Reply | Exception]:
        """Commit; repeat after a broken connection, since the pool has then dropped the others."""
        started = perf_counter()
        try:
            return self._commit(store, batch)
        except DatabaseAwayError as error:
            if not error.lost or perf_counter() - started > LOST_AT_ONCE_SECONDS:
                raise
        return self._commit(store, batch)

    def _commit(self, store: Store, batch: Sequence[Verified]) -> list[Reply | Exception]:
        started = perf_counter()
        policy = self._in_force.current
        answers: list[Reply | Exception] = []
        lines: list[tuple[str, dict[str, Any]]] = []
        with store.write() as connection:
            chosen = store.instances.chosen
            asked = store.users.ask(connection, _users_of(batch, chosen))  # in one round trip
            found = store.ledger.known(connection, [verified.id for verified in batch])
            known = found.replies
            fresh = [verified for verified in batch if verified.id not in known]
            instances = _instances_of(store, connection, fresh)
            before = asked()
            if known or chosen is None:
                wanted = {*_users_of(fresh, instances), *_told_again(batch, known, instances)}
                before = {key: user for key, user in before.items() if key in wanted}
            after: dict[Key, User] = dict(before)
            book = _open_book(store, connection, policy, fresh, instances, before)
            entries: list[AuditEntry] = []
            decided: dict[str, Delivery] = {}
            for verified in batch:
                fields = log_fields(verified)
                if verified.id in known:
                    stored = known[verified.id]
                    answers.append(_again(verified, stored, after, entries, policy))
                    lines.append(("event.repeated", fields))
                    continue
                try:
                    delivery = self._decide(verified, instances, after, entries, policy, book)
                except Exception as error:  # a callable policy's; only this delivery fails
                    decided.pop(verified.id, None)  # twice in a batch: the last time counts
                    decided[verified.id] = self._failed(verified, after, error, policy)
                    answers.append(error)
                    continue
                known[delivery.id] = delivery.reply
                decided[delivery.id] = delivery
                answers.append(delivery.reply)
                fields["rules"] = [reason.rule for reason in delivery.reasons]
                if delivery.outcome is Outcome.IGNORED and OTHER in delivery.reasons:
                    fields["instance_id"] = str(delivery.instance_id)
                lines.append((_LINE_OF[delivery.outcome], fields))
            deliveries = list(decided.values())
            now = batch[-1].received.at
            after = store.users.after_events(after, now)
            # The ledger first: a deletion in this batch also erases deliveries of this batch.
            store.ledger.record(connection, deliveries)
            store.users.store(connection, before, after, entries, deliveries, found.superseded)
            if book is not None:
                store.users.write_book(connection, book, now)
        if store.instances.committed(instances):
            get_logger().info(
                "instance.adopted", instance_id=str(instances.one), how=instances.how.value
            )
        _tell(lines, started, book)
        return answers

    def _decide(
        self,
        verified: Verified,
        instances: KnownInstances,
        users: dict[Key, User],
        entries: list[AuditEntry],
        policy: Policy,
        book: Book | None,
    ) -> Delivery:
        content = verified.content
        if isinstance(content, BodyError):
            reasons = (Reason(content.code, str(content)),)
            invalid = Decision(Outcome.INVALID, None, Reply.refusing(content), reasons)
            return self._delivery(verified, invalid, policy)
        if isinstance(content, Exception):
            raise content
        if not instances.takes(content.instance_id):
            return self._delivery(verified, _not_ours(content), policy)
        if isinstance(content, UnknownEvent):
            reasons = (Reason("event.unknown", "an event that Usher does not know"),)
            ignored = Decision(Outcome.IGNORED, None, NO_CONTENT, reasons)
            return self._delivery(verified, ignored, policy)
        key = content.key
        at, given = verified.received.at, verified.given
        counts = NOTHING if book is None else book.counts(content)
        decision: Decision = _decider().decide(content, users.get(key), policy, at, given, counts)
        # Nothing below fails: a failure must leave neither record nor entry.
        delivery = self._delivery(verified, decision, policy)
        if book is not None:
            book.note(content, counts, decision)
        user = decision.user
        if user is not None:
            users[key] = user
        if decision.audit is not None:
            entries.append(decision.audit)
        elif decision.outcome is _DENIED and given is None and self._settings.denied_changes:
            from usher.core.domain.outbox import denial_of  # noqa: PLC0415 - few sites ask for it

            entries.append(denial_of(content, decision.reasons[0].rule, at))
        if user is not None and user.deleted_at:
            # The ledger holds nothing personal of a deleted user.
            reply = NO_CONTENT if delivery.reply.status == 200 else delivery.reply
            return replace(delivery, body=None, reply=reply)
        return delivery

    def _failed(
        self, verified: Verified, users: Mapping[Key, User], error: Exception, policy: Policy
    ) -> Delivery:
        delivery = self._delivery(verified, failed_decision(error), policy)
        content = verified.content
        user = users.get(content.key) if isinstance(content, Event) else None
        if user is not None and user.status is Status.DELETED:
            return replace(delivery, body=None, reasons=(ERASED,))
        return delivery

    def _delivery(self, verified: Verified, decision: Decision, policy: Policy) -> Delivery:
        received, claims, content = verified.received, verified.claims, verified.content
        reply, reasons = decision.reply, decision.reasons
        if verified.given is not None and verified.observed:
            from usher.core.domain.observation import note  # noqa: PLC0415 - in observe mode alone

            reply, reasons = verified.given, (note(reply), *reasons)
        elif verified.given is not None:
            from usher.core.domain.outage import KEPT, REASONS  # noqa: PLC0415 - in outages alone

            reply = verified.given
            why = KEPT
            if isinstance(content, Event) and OTHER not in reasons:
                why = REASONS[content.name]
            reasons = (why, *reasons)
        body: bytes | None = received.body
        if received.reduced is not None:
            body, reasons = None, (*reasons, _NOT_KEPT)
        elif len(received.body) > MAX_LOGIN_BODY_BYTES and not self._keeps_large(verified):
            body, reasons = None, (*reasons, _ONE_OF_MANY)
        return Delivery(
            id=verified.id,
            instance_id=claims.instance_id,
            event=_name(content),
            user_id=content.user.id if isinstance(content, Event) else None,
            issued_at=claims.issued_at,
            received_at=received.at,
            path=received.path,
            body=body,
            body_digest=claims.body_digest,
            key_index=claims.key_index,
            outcome=decision.outcome,
            reasons=reasons,
            policy=policy.fingerprint,
            reply=reply,
            origin=origin_of(verified),
            address_key=decision.address_key,
        )

    def _keeps_large(self, verified: Verified) -> bool:
        """Whether the ledger keeps a large body: of a person's own logins, a few an hour."""
        content = verified.content
        if not isinstance(content, Event) or content.name is not EventName.LOGIN:
            return True
        if origin_of(verified) != "live":
            return True
        try:
            self._large_logins.take(uuid_text(content.user.id))
        except TooManyRequestsError:
            return False
        return True


@cache
def _decider() -> ModuleType:
    """The module of ``decide``, imported once: forged events need none, and a statement costs."""
    from usher.core.domain import decide  # noqa: PLC0415

    return decide


def _open_book(
    store: Store,
    connection: Any,
    policy: CountingPolicy,
    fresh: Sequence[Verified],
    instances: KnownInstances,
    users: Mapping[Key, User],
) -> Book | None:
    """The book for what is decided now; None where the policy counts nothing, without a statement.

    A delivery that comes again is not decided, so it uses nothing.
    """
    if policy.counting is None:
        return None
    events = [
        verified.content
        for verified in fresh
        if isinstance(verified.content, Event) and instances.takes(verified.content.instance_id)
    ]
    return store.users.open_book(connection, policy.counting, events, users)


def _users_of(batch: Sequence[Verified], instances: KnownInstances | None) -> list[Key]:
    """The users whose events are taken; of all events, as long as the instances are not known."""
    return [
        verified.content.key
        for verified in batch
        if isinstance(verified.content, Event)
        and (instances is None or instances.takes(verified.content.instance_id))
    ]


def _told_again(
    batch: Sequence[Verified], known: Mapping[str, Reply], instances: KnownInstances
) -> list[Key]:
    """The users whose stored answer told them roles, and is asked for again."""
    return [
        verified.content.key
        for verified in batch
        if isinstance(verified.content, Event)
        and verified.id in known
        and tells_roles(verified.content, known[verified.id])
        and instances.takes(verified.content.instance_id)
    ]


def _again(
    verified: Verified,
    stored: Reply,
    users: dict[Key, User],
    entries: list[AuditEntry],
    policy: Policy,
) -> Reply | Exception:
    """The stored answer to a delivery that comes again; a login that was told roles: that of now.

    Two logins of one second may be the same bytes (docs/decisions.md). A replay, and what the spool
    has answered, is never on its way to Identity.
    """
    content = verified.content
    if verified.given is not None or not isinstance(content, Event):
        return stored
    user = users.get(content.key)
    if user is None or not tells_roles(content, stored) or origin_of(verified) in PLAYED_BACK:
        return stored
    try:
        decision = decide_again(content, user, stored, policy, verified.received.at)
    except Exception as error:  # a callable policy's
        return error
    users[content.key] = decision.user or user
    if decision.audit is not None:
        entries.append(replace(decision.audit, delivery_id=verified.id))
    return decision.reply


def _tell(lines: Sequence[tuple[str, dict[str, Any]]], started: float, book: Book | None) -> None:
    """Log what a committed batch did."""
    duration = {"duration_ms": elapsed_ms(started)}
    info_all([(name, duration | fields) for name, fields in lines])
    for _, fields in lines:
        if "instance_id" in fields:
            get_logger().warning("instance.refused", **fields)
    if book is not None and book.refused:
        get_logger().warning("code.refused", times=book.refused)


def failed_decision(error: Exception) -> Decision:
    """The decision on an event that failed with this error."""
    from usher.core.faults import failure_of  # noqa: PLC0415 - most processes meet no failure

    ours = error if isinstance(error, UsherError) else UsherError()
    return Decision(Outcome.FAILED, None, Reply.refusing(ours), failure_of(error).reasons)


def event_of(delivery: Delivery) -> Event | None:
    """The event of a kept delivery; None where it is erased, unknown, or not readable."""
    claims = Claims(
        delivery.instance_id, delivery.issued_at, delivery.body_digest, delivery.key_index
    )
    return kept_event(delivery.body, claims)


def _mark_of(error: SignatureError, received: Received, token_secret: bytes | None) -> str:
    from usher.core.domain.refused_events import mark_of  # noqa: PLC0415 - good events need none

    mark = mark_of(
        error.check, received.signatures, named=received.named, token_secret=token_secret
    )
    return mark or ""


def _name(content: Event | UnknownEvent | Exception) -> str:
    if isinstance(content, Event):
        return content.name._value_
    return content.name if isinstance(content, UnknownEvent) else ""


def _minutes() -> float:
    """The clock of a limit by the hour: ``RateLimiter`` fills a bucket in 60 of its units."""
    return monotonic() / 60


def _let_others_run() -> None:
    sleep(PAUSE_SECONDS)


def _not_ours(content: Event | UnknownEvent) -> Decision:
    return of_other_instance(content.name if isinstance(content, Event) else None)


def origin_of(verified: Verified) -> str:
    """``live``, or ``trigger`` or one of ``PLAYED_BACK`` for what Identity did not send now."""
    if verified.received.replayed or verified.claims.replayed:
        return EFFECTS if verified.received.effects else REPLAY
    return "trigger" if verified.claims.triggered else "live"


def _instances_of(store: Store, connection: Any, fresh: Sequence[Verified]) -> KnownInstances:
    """The known instances; where none is chosen, the first live event's own is adopted."""
    instances = store.instances
    known = instances.known(connection)
    if instances.kept:
        return known
    events = [verified for verified in fresh if isinstance(verified.content, Event)]
    for each in events:
        if origin_of(each) == "live" and known.names(each.claims.instance_id):
            at = each.received.at
            return instances.keep(connection, each.claims.instance_id, at, each.id)
    return known.first(events[0].claims.instance_id) if events else known


def log_fields(verified: Verified) -> dict[str, Any]:
    """A delivery's fields for a log line."""
    content = verified.content
    fields: dict[str, Any] = {"delivery_id": verified.id, "key_index": verified.claims.key_index}
    origin = origin_of(verified)
    if origin != "live":
        fields["replayed" if origin in PLAYED_BACK else "triggered"] = True
    if isinstance(content, Event):
        fields["event_name"] = content.name._value_
        fields["user_id"] = uuid_text(content.user.id)
    return fields


def read_content(received: Received, claims: Claims) -> Verified:
    """The delivery of a request whose claims are known to be good; reads the body."""
    try:
        if received.reduced is None and len(received.body) > MAX_KEPT_BODY_BYTES:
            body, received = received.body, replace(received, body=b"", reduced=())
            reduced, set_aside = reduce_body(body, _let_others_run)
            received = replace(received, body=reduced, reduced=set_aside)
        content = parse_event(received.body, claims, received.reduced or ())
        if received.expected:
            _require(content, received.expected)
    except Exception as error:  # a BodyError, or else our own fault, which is kept as failed
        # The id names no event, so that the same bytes at the right address are another delivery.
        unread = delivery_id(claims.instance_id, "", claims.issued_at, claims.body_digest)
        return Verified(received, claims, error, unread)
    return Verified(received, claims, content, content.delivery_id)


def _require(content: Event | UnknownEvent, expected: EventName) -> None:
    if not (isinstance(content, Event) and content.name is expected):
        raise EventMismatchError(content.name)
