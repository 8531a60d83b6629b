"""Store and forward: deliveries are kept while the database is away, and applied when it is back.

It starts with the first delivery that the database does not take. From then on every delivery joins
the spool, so that none overtakes another. It ends when all records of the spool are in the
database.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from threading import Lock, RLock
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.events import Event, EventName, UnknownEvent
from usher.core.domain.outage import KEPT, REASONS, answer_without_record
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import (
    BodyError,
    ConflictError,
    DatabaseAwayError,
    SpoolError,
)
from usher.core.jws import Claims
from usher.core.log import Recurring, describe_failure, elapsed_ms, get_logger
from usher.core.opaque import SetAside
from usher.core.policy_source import PolicyInForce
from usher.core.spool.files import Spool, SpoolFile, read
from usher.core.strict_json import dumps
from usher.core.webhooks import (
    Received,
    Verified,
    Webhooks,
    log_fields,
    read_content,
)

STEP: Final = 256
"""Deliveries that are applied in one transaction."""
STEPS_A_BATCH: Final = 4
"""Steps before a batch joins the spool: two whole files, or more than a batch can hold."""
PATIENCE_SECONDS: Final = 0.5
"""Longest wait of a new batch for a step that is under way."""
REMEMBERED: Final = 10_000
"""Answers remembered for retries, which come at once, so that none is kept a second time."""


class StoreAndForward:
    """Store and forward of one process.

    Args:
        webhooks: the pipeline that applies the deliveries in the end.

    Attributes:
        active: whether deliveries join the spool.
    """

    def __init__(self, webhooks: Webhooks, policy: PolicyInForce, spool: Spool) -> None:
        self._webhooks = webhooks
        self._policy = policy
        self._spool = spool
        self._lock = RLock()
        self._stepping = Lock()
        self._answers: OrderedDict[str, Reply] = OrderedDict()
        self._reading: tuple[SpoolFile, Iterator[bytes]] | None = None
        self._applied = 0
        self._back = False
        self._lasts = Recurring()
        self.active = False

    def check(self) -> None:
        """See ``Spool.check``.

        Raises:
            SpoolError: no delivery could be kept now.
        """
        self._spool.check()

    def hold(
        self, batch: Sequence[Verified], error: DatabaseAwayError | None = None
    ) -> list[Reply | Exception] | None:
        """Keep a batch on disk, then answer it as far as that needs no record.

        Args:
            error: why the database did not take the batch; None: it was not asked.

        Returns:
            For each delivery its answer or exception; None where the database is back.
        """
        started = perf_counter()
        if error is None:
            self._catch_up()
        with self._lock:
            if not self.active:
                if error is None:
                    return None
                get_logger().error("outage.began", detail=error.detail)
                self.active = True
            reason = error or DatabaseAwayError("The database is away.")
            answers = [self._answer(verified, reason) for verified in batch]
            fresh: dict[str, bytes] = {}
            for verified, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Reply) and verified.id not in self._answers:
                    fresh.setdefault(verified.id, to_record(verified, answer))
            try:
                if fresh:
                    self._spool.append(list(fresh.values()))
            except SpoolError as failure:
                return [
                    failure if isinstance(answer, Reply) and verified.id in fresh else answer
                    for verified, answer in zip(batch, answers, strict=True)
                ]
            for verified, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Reply):
                    self._remember(verified, answer, started)
        return answers

    def step(self) -> bool:
        """Apply up to ``STEP`` deliveries of the spool.

        Returns:
            Whether there may be more to do; False where the spool is empty, or the database is
            still away.

        Raises:
            OSError: the spool cannot be read.
        """
        with self._stepping:
            return self._step()

    def _catch_up(self) -> None:
        """Apply more than arrives once the database is back, so that the outage ends at any load.

        A new delivery costs less than one that is applied. Without this, new ones could put the end
        off for as long as they keep coming.
        """
        if not self._back or not self._stepping.acquire(timeout=PATIENCE_SECONDS):
            return
        try:
            for _ in range(STEPS_A_BATCH):
                if not self._step():
                    return
        except OSError:
            self._back = False  # the next step raises it again, to a caller that reports it
        finally:
            self._stepping.release()

    def adopt(self) -> None:
        """Take over the files of ended processes; their records come before new ones."""
        with self._lock:
            if self._spool.adopt():
                self.active = True

    def _step(self) -> bool:
        self.adopt()
        if not self.active:
            return False
        records = self._next()
        if not records:
            return self.active
        self._back = False
        deliveries = [from_record(record) for record in records]
        refused = []
        for record, result in zip(records, self._webhooks.apply(deliveries), strict=True):
            if isinstance(result, DatabaseAwayError | ConflictError):
                # Later, from the beginning of the file; known deliveries change nothing.
                self._reading = None
                if self._lasts.again(result.detail):
                    get_logger().info("outage.lasts", times=self._lasts.times, detail=result.detail)
                return False
            if isinstance(result, Exception):
                get_logger().error("event.dead_letter", **describe_failure(result))
                refused.append(record)
        if refused:
            self._spool.keep_dead_letters(refused)
        self._applied += len(records) - len(refused)
        self._back = True
        return True

    def close(self) -> None:
        """Give the spool's files up; another process applies them."""
        with self._stepping, self._lock:
            self._reading = None
            self._spool.close()

    def _next(self) -> list[bytes]:
        """The next records, ``STEP`` at most; the outage ends after the last file.

        An empty list says that a file is at its end and removed, or that there is none.
        """
        if self._reading is None:
            with self._lock:
                file = self._spool.oldest()
                if file is None:
                    self.active = self._back = False
                    self._answers.clear()
                    self._lasts.over()
                    get_logger().warning("outage.ended", applied=self._applied)
                    self._applied = 0
                    return []
            self._reading = file, read(file)
        file, records = self._reading
        found = list(islice(records, STEP))
        if not found:
            self._spool.remove(file)
            self._reading = None
        return found

    def _answer(self, verified: Verified, away: DatabaseAwayError) -> Reply | Exception:
        known = self._answers.get(verified.id)
        if known is not None:
            return known
        if verified.observed:
            return verified.given or NO_CONTENT
        content = verified.content
        if isinstance(content, BodyError):
            return Reply.refusing(content)
        if (refusal := self._webhooks.refusal(content)) is not None:
            return refusal
        if isinstance(content, UnknownEvent):
            return NO_CONTENT
        if isinstance(content, Exception):
            return content
        policy = self._policy.current
        if content.name in policy.outage.refused:
            return away
        try:
            answer = answer_without_record(content, policy, verified.received.at)
        except Exception as error:  # noqa: BLE001 - a callable policy's; only this delivery fails
            return error
        return away if answer is None else answer

    def _remember(self, verified: Verified, answer: Reply, started: float) -> None:
        content = verified.content
        repeated = verified.id in self._answers
        reason = REASONS[content.name] if isinstance(content, Event) else KEPT
        get_logger().warning(
            "event.held",
            duration_ms=elapsed_ms(started),
            status=answer.status,
            repeated=repeated,
            rules=[reason.rule],
            **log_fields(verified),
        )
        self._answers[verified.id] = answer
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)


def to_record(verified: Verified, answer: Reply) -> bytes:
    """The spool's record of a delivery and its answer: a JSON object."""
    received, claims = verified.received, verified.claims
    return dumps(
        {
            "at": received.at.isoformat(),
            "path": received.path,
            "expected": received.expected,
            "replayed": received.replayed,
            "reduced": _reduced(received),
            "body": base64.b64encode(received.body).decode(),
            "instance_id": str(claims.instance_id),
            "issued_at": claims.issued_at,
            "body_digest": claims.body_digest,
            "key_index": claims.key_index,
            "replay_claim": claims.replayed,
            "trigger_claim": claims.triggered,
            "answer": [answer.status, answer.content_type, answer.body],
            "observed": verified.observed,
        }
    ).encode()


def _reduced(received: Received) -> list[list[str]] | None:
    if received.reduced is None:
        return None
    return [[each.field, each.why] for each in received.reduced]


def from_record(record: bytes) -> Verified:
    """The delivery of a spool's record, with its answer in ``given``.

    The signature was checked on receipt and is not kept; its secret may be gone by now.
    """
    found: dict[str, Any] = json.loads(record)
    claims = Claims(
        UUID(found["instance_id"]),
        found["issued_at"],
        found["body_digest"],
        found["key_index"],
        found["replay_claim"],
        found.get("trigger_claim", False),  # this and others: not in what an older version kept
    )
    reduced = found.get("reduced")
    received = Received(
        signatures=(),
        body=base64.b64decode(found["body"]),
        path=found["path"],
        expected=EventName(found["expected"]) if found["expected"] else None,
        at=datetime.fromisoformat(found["at"]),
        replayed=found["replayed"],
        reduced=None if reduced is None else tuple(SetAside(*each) for each in reduced),
    )
    observed = found.get("observed", False)
    return replace(read_content(received, claims), given=Reply(*found["answer"]), observed=observed)
