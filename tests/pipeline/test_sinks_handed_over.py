"""Changes handed over to sinks by dispatchers: events in, signed webhooks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_network
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, select
from standardwebhooks import Webhook

from tests.receivers import Certificates, Receiver
from tests.store.store_support import is_waited_for, rows
from tests.support import Clock, account, signed, verified
from usher.core.app import App, utc_now
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.errors import DatabaseAwayError
from usher.core.settings import Settings
from usher.core.store.outbox import lock_consumer
from usher.core.store.tables import OUTBOX

BOSS = Change("cli:ada")
SIGNED_UP = ["user.created", "user.confirmed", "role.granted", "role.granted"]


class Site:
    """A site with one sink, of a receiver over HTTPS on loopback."""

    def __init__(self, app: App, receiver: Receiver) -> None:
        self.app = app
        self.receiver = receiver
        self.lease = uuid4()
        self.url = f"https://127.0.0.1:{receiver.port}/hook"
        self.sink, self.secret = app.sinks.add(self.url, ["user.*", "role.*"], "cli:ada")

    def sign_up(self, email: str) -> UUID:
        """Somebody signs up, long enough ago to be told of."""
        now = self.app.clock()
        who = account(email=email, at=now)
        webhooks = self.app.webhooks
        webhooks.process([verified(webhooks, signed("signup", who, at=now), now)])
        self.app.clock.advance(seconds=21)  # type: ignore[attr-defined]
        return who.id

    def hand_over(self) -> None:
        """Turns of a dispatcher, until nothing is left to do."""
        for consumer in self.app.sinks.consumers():
            dispatcher = self.app.dispatcher(consumer, self.lease)
            for _ in range(12):
                dispatcher.turn()

    def told(self, user: UUID) -> list[tuple[str, int]]:
        """Kind and sequence of each webhook about a user, as the receivers' library reads them."""
        verify: Callable[..., Any] = Webhook(self.secret).verify
        documents = [verify(came.body, came.headers) for came in self.receiver.came]
        return [
            (each["type"], each["data"]["sequence"])
            for each in documents
            if each["data"]["user_id"] == str(user)
        ]


@pytest.fixture
def site(
    trusted: Certificates,
    database_url: str,
    make_settings: Callable[..., Settings],
) -> Iterator[Site]:
    """On each database, with a receiver over HTTPS."""
    networks = (ip_network("127.0.0.0/8"),)
    app = App(make_settings(database_url=database_url, sink_networks=networks), Clock(utc_now()))
    with Receiver(trusted) as receiver:
        yield Site(app, receiver)
    app.close()


def test_changes_since_a_sink_was_added_come_to_it_in_order(site: Site) -> None:
    """Also those from before the first turn of a dispatcher; the library verifies each."""
    ada = site.sign_up("ada@example.com")
    users = site.app.store.users
    users.change(users.get(ada), administration.grant("editor"), BOSS)
    users.change(users.get(ada), administration.suspend(), BOSS)
    site.hand_over()
    told = site.told(ada)
    assert [kind for kind, _ in told] == [*SIGNED_UP, "role.granted", "user.suspended"]
    assert [at for _, at in told] == sorted(at for _, at in told)
    assert len(told) == len(site.receiver.came)


def test_a_retry_keeps_a_persons_order_and_holds_up_nobody_else(site: Site) -> None:
    """The failed one comes again, with the same id, before that person's later ones."""
    site.receiver.answers = [(500, {})]
    ada = site.sign_up("ada@example.com")
    site.hand_over()
    assert [kind for kind, _ in site.told(ada)] == SIGNED_UP[:1]
    bob = site.sign_up("bob@example.com")
    site.hand_over()
    assert [kind for kind, _ in site.told(ada)] == [SIGNED_UP[0], *SIGNED_UP]
    assert [kind for kind, _ in site.told(bob)] == SIGNED_UP
    ids = [came.headers["webhook-id"] for came in site.receiver.came]
    assert len(ids) - len(set(ids)) == 1


def test_a_sink_that_is_removed_while_a_server_works_for_it_stays_unknown(site: Site) -> None:
    """A turn of the dispatcher that still has it makes no new consumer of it."""
    ada = site.sign_up("ada@example.com")
    (consumer,) = site.app.sinks.consumers()
    dispatcher = site.app.dispatcher(consumer, site.lease)
    dispatcher.turn()
    site.app.sinks.remove(site.sink.id, "cli:ada")
    assert not any(dispatcher.turn().more for _ in range(3))
    assert site.app.outbox.standings() == []
    users = site.app.store.users
    assert not any(led.outstanding for led in site.app.outbox.led_by_person(users.get(ada)).items)


def test_a_receiver_that_is_gone_gets_the_rest_after_a_resume(site: Site) -> None:
    """410 pauses; nothing is lost, and the change that met it comes again."""
    site.receiver.answers = [(410, {})]
    ada = site.sign_up("ada@example.com")
    site.hand_over()
    site.hand_over()
    assert len(site.receiver.came) == 1
    assert site.app.sinks.consumers() == []
    site.app.sinks.resume(site.sink.id, "cli:ada")
    site.hand_over()
    assert [kind for kind, _ in site.told(ada)] == [SIGNED_UP[0], *SIGNED_UP]


def test_a_removed_sink_leaves_no_row(site: Site) -> None:
    """Neither its position nor what waited; those of another sink stay."""
    other, _ = site.app.sinks.add(site.url, ["*"], "cli:ada")
    site.receiver.answers = [(500, {})] * 9
    site.sign_up("ada@example.com")
    site.hand_over()

    def kept(table: str, column: str) -> set[str]:
        found = rows(site.app.store.database, f"SELECT DISTINCT {column} FROM {table}")
        return {name for (name,) in found}

    both = {site.sink.consumer, other.consumer}
    assert kept("outbox", "consumer") == kept("outbox_consumers", "name") == both
    site.app.sinks.remove(site.sink.id, "cli:ada")
    assert kept("outbox", "consumer") == kept("outbox_consumers", "name") == {other.consumer}


def test_a_sink_removed_while_its_work_is_kept_leaves_no_row(
    postgresql_url: str, make_settings: Callable[..., Settings]
) -> None:
    """Nobody would ever hand that row over, and the audit could not be pruned for its sake."""
    with closing(App(make_settings(database_url=postgresql_url))) as usher:
        sink, _ = usher.sinks.add("https://crm.example/", ["*"], "cli:ada")
        database = usher.store.database
        row = {"consumer": sink.consumer, "shard": 0, "sequence": 1, "part": 0, "state": "waiting"}
        row |= {"instance_id": uuid4(), "user_id": UUID(int=1), "at": usher.clock(), "tries": 1}
        row |= {"kind": "user.created", "role": "", "change_id": "chg_1", "error": ""}

        def remove() -> None:
            try:
                usher.sinks.remove(sink.id, "cli:ada")
            except DatabaseAwayError:  # it waits for a lock two seconds at most
                remove()

        with ThreadPoolExecutor(1) as thread:
            with database.write() as transaction:
                lock_consumer(transaction, sink.consumer)
                transaction.sql.execute(insert(OUTBOX).values(row))
                removed = thread.submit(remove)
                keeper = transaction.sql.execute(select(func.pg_backend_pid())).scalar_one()
                while not is_waited_for(database, keeper):
                    assert not removed.done()
                    sleep(0.01)
            removed.result(60)
        assert rows(database, "SELECT consumer FROM outbox") == []
