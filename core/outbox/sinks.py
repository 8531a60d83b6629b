"""Sinks, as administrators add, try, rotate, pause and remove them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec.structs import replace

from usher import __version__
from usher.core.bounds import MAX_SINKS
from usher.core.domain.public_addresses import Network
from usher.core.domain.records import THE_SITE, AuditEntry
from usher.core.domain.sink_urls import target_of
from usher.core.domain.sinks import (
    Secret,
    Sink,
    Trial,
    check_secret,
    check_sink,
    trial_webhook,
)
from usher.core.domain.standard_webhooks import secret_text, signed_headers
from usher.core.errors import SinkInvalidError, SinkNotFoundError, WebhookError
from usher.core.http.interface import Http
from usher.core.outbox.webhook_http import Answer, post
from usher.core.outbox.webhook_sender import GONE, SECONDS, WebhookSender, problem_of
from usher.core.store import sinks as rows
from usher.core.store.complete import Complete
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.instances import Instances
from usher.core.store.outbox_shards import Shards
from usher.core.store.users import write_audit

NEW_SECRET_BYTES: Final = 32
TRIAL_SECONDS: Final = 8.0
"""An administrator waits for it, in a function perhaps, which has ten seconds."""


class Sinks:
    """The sinks of one database.

    Args:
        instances: say whose audit tells of them.
        networks: those that webhooks may go to besides public addresses.
        clock: gives the current time, UTC.
        http: sends the webhooks.
    """

    def __init__(
        self,
        database: Database,
        instances: Instances,
        networks: Collection[Network],
        clock: Callable[[], datetime],
        http: Http,
    ) -> None:
        self._database = database
        self._instances = instances
        self._networks = networks
        self._http = http
        self.now = clock

    def all(self) -> list[Sink]:
        """Every sink, the oldest first."""
        with self._database.read() as transaction:
            return rows.all_sinks(transaction)

    def consumers(self, limit: Callable[[], float] = lambda: SECONDS) -> list[WebhookSender]:
        """A consumer for each sink that is not paused.

        Args:
            limit: gives the seconds that a webhook may take now, where those are fewer than usual.
        """
        return [WebhookSender(sink, self, limit) for sink in self.all() if sink.paused_at is None]

    def find(self, sink_id: UUID) -> Sink | None:
        """The sink with this id; None: there is none."""
        with self._database.read() as transaction:
            return rows.find_sink(transaction, sink_id)

    def get(self, sink_id: UUID) -> Sink:
        """The sink with this id.

        Raises:
            SinkNotFoundError: there is none.
        """
        sink = self.find(sink_id)
        if sink is None:
            raise SinkNotFoundError(f"No sink has the id {sink_id}.")
        return sink

    def add(
        self, url: str, kinds: Collection[str], actor: str, *, full: bool = False, secret: str = ""
    ) -> tuple[Sink, str]:
        """Add a sink, which gets the changes from now on.

        Args:
            kinds: ``user.created``, ``user.*`` or ``*``.
            full: send the person and the parts that differ, too.
            secret: one's own; empty: one is made.

        Returns:
            It, and its secret, which nobody can tell later.

        Raises:
            SinkInvalidError: it cannot be handed over to, or there are too many.
        """
        check_sink(url, kinds, self._networks)
        chosen = _secret(secret)
        sink = Sink(
            id=uuid4(),
            url=url,
            kinds=tuple(sorted(set(kinds))),
            full=full,
            secrets=(Secret(chosen),),
            created_at=self.now(),
            created_by=actor,
        )

        def work() -> None:
            with self._database.write() as transaction:
                if rows.count_sinks(transaction) >= MAX_SINKS:
                    raise SinkInvalidError(f"There are {MAX_SINKS} sinks already, the most.")
                rows.add_sink(transaction, sink)
                self._note(transaction, "sink.added", actor, sink)

        again_on_conflict(work)
        # A dispatcher would begin only at its first turn. Where writers are under way for long,
        # there is no place to begin at as yet, and it does.
        position = Complete(self._database).up_to()
        if position is not None:
            Shards(self._database).begin(sink.consumer, position, self.now(), sink.kinds)
        return sink, chosen

    def rotate(
        self, sink_id: UUID, actor: str, *, secret: str = "", at_once: bool = False
    ) -> tuple[Sink, str]:
        """Give a sink a new secret; the one before signs beside it for a day.

        Args:
            secret: one's own; empty: one is made.
            at_once: only the new one signs from now on.

        Returns:
            The sink, and the new secret, which nobody can tell later.

        Raises:
            SinkNotFoundError: there is no such sink.
            SinkInvalidError: the secret cannot be one, or too many sign already.
        """
        chosen = _secret(secret)

        def change(sink: Sink) -> Sink:
            return replace(sink, secrets=sink.rotated(chosen, self.now(), at_once=at_once))

        return self._change(sink_id, change, "sink.rotated", actor), chosen

    def pause(self, sink_id: UUID, actor: str, reason: str = "") -> Sink:
        """Hand nothing over until the sink is resumed; the changes wait.

        Raises:
            SinkNotFoundError: there is no such sink.
        """

        def change(sink: Sink) -> Sink:
            paused = replace(sink, paused_at=self.now(), paused_by=actor)
            return sink if sink.paused_at else paused

        return self._change(sink_id, change, "sink.paused", actor, reason)

    def pause_gone(self, sink: Sink) -> None:
        """Pause a sink whose receiver answered 410 Gone, in the receiver's name."""
        try:
            self.pause(sink.id, sink.consumer, "The receiver answered 410 Gone.")
        except SinkNotFoundError:
            return  # removed meanwhile

    def resume(self, sink_id: UUID, actor: str) -> Sink:
        """Hand changes over again.

        Raises:
            SinkNotFoundError: there is no such sink.
        """

        def change(sink: Sink) -> Sink:
            return replace(sink, paused_at=None, paused_by="")

        return self._change(sink_id, change, "sink.resumed", actor)

    def remove(self, sink_id: UUID, actor: str) -> None:
        """Remove a sink, and the changes that wait for it.

        Raises:
            SinkNotFoundError: there is no such sink.
        """

        def work() -> None:
            with self._database.write() as transaction:
                sink = rows.get_sink(transaction, sink_id)
                rows.remove_sink(transaction, sink)
                self._note(transaction, "sink.removed", actor, sink)

        again_on_conflict(work)

    def test(self, sink_id: UUID) -> Trial:
        """Send a webhook of the type ``sink.test``, paused or not, and tell what came of it.

        Raises:
            SinkNotFoundError: there is no such sink.
        """
        sink = self.get(sink_id)
        began = monotonic()
        status: int | None = None
        try:
            answer = self.send(
                sink, f"test_{uuid4().hex}", trial_webhook(sink, self.now()), TRIAL_SECONDS
            )
            status, problem = answer.status, problem_of(answer)
            if status == GONE:
                problem += ", gone; the first change would pause the sink"
        except WebhookError as error:
            problem = error.detail
        return Trial(status, problem, round((monotonic() - began) * 1_000))

    def send(self, sink: Sink, message_id: str, body: bytes, seconds: float) -> Answer:
        """Make one attempt.

        Raises:
            WebhookError: there is no answer in time.
        """
        now = self.now()
        headers = signed_headers(message_id, int(now.timestamp()), body, sink.signing(now))
        return post(
            self._http,
            target_of(sink.url),
            {
                **headers,
                "Content-Type": "application/json",
                "User-Agent": f"usher-identity/{__version__}",
                "Connection": "close",
            },
            body,
            networks=self._networks,
            seconds=seconds,
        )

    def _change(
        self,
        sink_id: UUID,
        change: Callable[[Sink], Sink],
        action: str,
        actor: str,
        reason: str = "",
    ) -> Sink:
        def work() -> Sink:
            with self._database.write() as transaction:
                before = rows.get_sink(transaction, sink_id)
                after = change(before)
                if after != before:
                    rows.write_sink(transaction, after)
                    self._note(transaction, action, actor, after, reason)
            return after

        return again_on_conflict(work)

    def _note(
        self, transaction: Transaction, action: str, actor: str, sink: Sink, reason: str = ""
    ) -> None:
        """Tell the audit, as soon as there is an instance; the entry is the site's own.

        Of the URL it has the host alone: the path may be what a receiver knows its senders by.
        """
        instance_id = self._instances.known(transaction).one
        if instance_id is None:
            return
        told: dict[str, Any] = {
            "id": str(sink.id),
            "host": target_of(sink.url).authority,
            "changes": list(sink.kinds),
            "full": sink.full,
        }
        now = self.now()
        entry = AuditEntry(action, actor, instance_id, THE_SITE, now, {}, {"sink": told}, reason)
        write_audit(transaction, [entry])


def _secret(chosen: str) -> str:
    if not chosen:
        return secret_text(os.urandom(NEW_SECRET_BYTES))
    check_secret(chosen)
    return chosen
