"""Sinks as administrators keep them, and the consumer that hands changes over to a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.domain.test_sinks import CHANGE
from tests.receivers import NAME, Certificates, Named, Receiver
from tests.store.store_support import deliver, rows
from tests.support import NOON, Clock, account, free_port, signed
from usher.core.app import App
from usher.core.bounds import MAX_SINK_SECRETS, MAX_SINKS
from usher.core.domain.records import THE_SITE
from usher.core.domain.sinks import ROTATION_HOURS, Sink
from usher.core.domain.standard_webhooks import secret_text
from usher.core.errors import SinkInvalidError, SinkNotFoundError
from usher.core.outbox.consumer import Consumer, Done, Failed, Gone
from usher.core.outbox.sinks import Sinks
from usher.core.outbox.webhook_sender import MAX_RETRY_AFTER_SECONDS, retry_after
from usher.core.store.filters import AuditFilters

URL = "https://crm.example/hooks/t0p-s3cret?x=1"
OWN = secret_text(bytes(range(32)))


def entries(usher: App) -> list[tuple[str, str, str]]:
    """Action, actor and reason of what the audit tells of the site, the newest first."""
    page = usher.store.users.audit_page(AuditFilters(user_id=THE_SITE))
    return [(each.action, each.actor, each.reason) for each in page.items]


def test_a_sink_is_added_and_found_with_a_secret_that_is_told_once(usher: App) -> None:
    """Usher makes the secret, or takes one's own."""
    made, secret = usher.sinks.add(URL, ["user.*", "role.granted", "user.*"], "cli:ada")
    assert usher.sinks.get(made.id) == made
    assert (made.url, made.kinds, made.full) == (URL, ("role.granted", "user.*"), False)
    assert made.signing(NOON) == (secret,)
    assert secret.startswith("whsec_")
    own, told = usher.sinks.add(URL, ["*"], "cli:ada", full=True, secret=OWN)
    assert (told, own.full) == (OWN, True)
    assert usher.sinks.add(URL, ["*"], "cli:ada")[1] not in (secret, OWN)
    assert {made, own} < set(usher.sinks.all())


@pytest.mark.parametrize(
    ("url", "kinds", "secret"),
    [
        ("http://crm.example/", ["*"], ""),
        ("https://127.0.0.1/", ["*"], ""),
        ("https://ada@crm.example/", ["*"], ""),
        (URL, [], ""),
        (URL, ["user.eaten"], ""),
        (URL, ["*"], "hunter2"),
    ],
)
def test_a_sink_that_cannot_be_is_refused(
    usher: App, url: str, kinds: list[str], secret: str
) -> None:
    """And nothing is kept."""
    with pytest.raises(SinkInvalidError):
        usher.sinks.add(url, kinds, "cli:ada", secret=secret)
    assert usher.sinks.all() == []


def test_sinks_are_bounded(usher: App) -> None:
    """Each costs every change one webhook."""
    for _ in range(MAX_SINKS):
        usher.sinks.add(URL, ["*"], "cli:ada")
    with pytest.raises(SinkInvalidError, match=f"There are {MAX_SINKS} sinks already"):
        usher.sinks.add(URL, ["*"], "cli:ada")


def test_the_audit_tells_of_every_act_without_the_secret_and_the_path(usher: App) -> None:
    """As entries of the site, once an instance is known."""
    usher.sinks.add(URL, ["*"], "cli:before")
    deliver(usher, [signed("login", account())])
    sink, secret = usher.sinks.add(URL, ["*"], "cli:ada")
    _, new = usher.sinks.rotate(sink.id, "cli:eve")
    usher.sinks.pause(sink.id, "cli:eve", "they move")
    usher.sinks.pause(sink.id, "cli:again")
    usher.sinks.resume(sink.id, "cli:eve")
    usher.sinks.resume(sink.id, "cli:again")
    usher.sinks.remove(sink.id, "cli:bob")
    assert entries(usher) == [
        ("sink.removed", "cli:bob", ""),
        ("sink.resumed", "cli:eve", ""),
        ("sink.paused", "cli:eve", "they move"),
        ("sink.rotated", "cli:eve", ""),
        ("sink.added", "cli:ada", ""),
    ]
    kept = str(rows(usher.store.database, "SELECT * FROM audit"))
    assert str(sink.id) in kept
    assert "crm.example" in kept
    assert not any(word in kept for word in (secret, new, "t0p-s3cret"))


def test_a_paused_sink_is_no_consumer_and_a_removed_one_is_unknown(usher: App) -> None:
    """To every act."""
    one, _ = usher.sinks.add(URL, ["*"], "cli:ada")
    two, _ = usher.sinks.add(URL, ["*"], "cli:ada")
    usher.sinks.pause(two.id, "cli:ada")
    assert [each.name for each in usher.sinks.consumers()] == [one.consumer]
    usher.sinks.remove(two.id, "cli:ada")
    for act in (usher.sinks.remove, usher.sinks.pause, usher.sinks.resume, usher.sinks.rotate):
        with pytest.raises(SinkNotFoundError):
            act(two.id, "cli:ada")
    for ask in (usher.sinks.get, usher.sinks.test):
        with pytest.raises(SinkNotFoundError):
            ask(two.id)


# --- handed over ---------------------------------------------------------------------------------


@pytest.fixture
def receiver(trusted: Certificates) -> Iterator[Receiver]:
    """A receiver over HTTPS, at ``NAME``."""
    with Receiver(trusted) as found:
        yield found


@pytest.fixture
def now() -> datetime:
    """The real time, to the second: the receivers' library looks at its own clock."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def sinks(usher: App, clock: Clock, now: datetime) -> Sinks:
    """The sinks of a site whose name server has every name on loopback."""
    clock.now = now
    store, networks = usher.store, (ip_network("127.0.0.0/8"),)
    return Sinks(store.database, store.instances, networks, clock, Named(["127.0.0.1"]))


def added(sinks: Sinks, receiver: Receiver, **options: Any) -> tuple[Sink, Consumer, str]:
    """A sink of the receiver, its consumer, and its secret."""
    url = f"https://{NAME}:{receiver.port}/hook"
    sink, secret = sinks.add(url, ["*"], "cli:ada", **options)
    consumer: Consumer = next(each for each in sinks.consumers() if each.name == sink.consumer)
    return sink, consumer, secret


def verified(receiver: Receiver, secret: str) -> Any:
    """The newest webhook, as the receivers' library reads it."""
    came = receiver.came[-1]
    return Webhook(secret).verify(came.body, came.headers)


@pytest.mark.parametrize("full", [False, True])
def test_the_library_of_receivers_verifies_a_webhook_that_came(
    sinks: Sinks, receiver: Receiver, full: bool, now: datetime
) -> None:
    """Over HTTPS, with the id of the change, the time of the attempt, and our name."""
    sink, consumer, secret = added(sinks, receiver, full=full)
    assert (consumer.name, consumer.patterns) == (f"sink:{sink.id}", frozenset({"*"}))
    assert consumer.hand_over(CHANGE) == Done()
    document = verified(receiver, secret)
    assert document["type"] == "role.granted"
    assert document["data"]["user_id"] == str(CHANGE.user.id)
    assert ("user" in document["data"]) is full
    headers = receiver.came[0].headers
    assert headers["webhook-id"] == CHANGE.id
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("usher-identity/")


def test_a_retry_has_the_same_id_and_body_and_a_new_time(
    sinks: Sinks, receiver: Receiver, clock: Clock
) -> None:
    """So a receiver can tell a duplicate from a replay."""
    _, consumer, secret = added(sinks, receiver)
    receiver.answers = [(500, {})]
    assert consumer.hand_over(CHANGE) == Failed("answered 500")
    clock.advance(seconds=20)
    assert consumer.hand_over(CHANGE) == Done()
    first, second = receiver.came
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.came]
    assert times[1] - times[0] == 20
    verified(receiver, secret)


def test_rotation_is_verified_by_the_library_with_either_secret_for_a_day(
    sinks: Sinks, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then with the new one alone; also of the same consumer, which was made before."""
    sink, consumer, old = added(sinks, receiver)
    _, new = sinks.rotate(sink.id, "cli:ada")
    assert consumer.hand_over(CHANGE) == Done()
    assert verified(receiver, old) == verified(receiver, new)
    clock.advance(hours=ROTATION_HOURS)
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Later)
    assert consumer.hand_over(CHANGE) == Done()
    assert verified(receiver, new)["type"] == "role.granted"
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verified(receiver, old)


class Later(datetime):
    """The library's clock, a day later."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(hours=ROTATION_HOURS)


def test_a_secret_that_leaked_ends_at_once(sinks: Sinks, receiver: Receiver) -> None:
    """And one's own can be the next."""
    sink, consumer, old = added(sinks, receiver)
    rotated, told = sinks.rotate(sink.id, "cli:ada", secret=OWN, at_once=True)
    assert (told, len(rotated.secrets)) == (OWN, 1)
    consumer.hand_over(CHANGE)
    verified(receiver, OWN)
    with pytest.raises(WebhookVerificationError):
        verified(receiver, old)
    with pytest.raises(SinkInvalidError):
        sinks.rotate(sink.id, "cli:ada", secret=OWN)
    for _ in range(MAX_SINK_SECRETS - 1):
        sinks.rotate(sink.id, "cli:ada")
    with pytest.raises(SinkInvalidError):
        sinks.rotate(sink.id, "cli:ada")


@pytest.mark.parametrize(
    ("status", "headers", "result"),
    [
        (200, {}, Done()),
        (202, {}, Done()),
        (299, {}, Done()),
        (302, {"Location": "/"}, Failed("answered 302; redirects are not followed")),
        (400, {}, Failed("answered 400")),
        (401, {}, Failed("answered 401")),
        (404, {}, Failed("answered 404")),
        (429, {"Retry-After": "90"}, Failed("answered 429", 90)),
        (503, {"Retry-After": "999999"}, Failed("answered 503", MAX_RETRY_AFTER_SECONDS)),
        (503, {"Retry-After": "soon"}, Failed("answered 503")),
    ],
)
def test_the_status_alone_decides(
    sinks: Sinks, receiver: Receiver, status: int, headers: dict[str, str], result: object
) -> None:
    """The body, which says "secret", is nowhere."""
    _, consumer, _ = added(sinks, receiver)
    receiver.answers = [(status, headers)]
    assert consumer.hand_over(CHANGE) == result


def test_a_receiver_that_is_gone_pauses_the_sink(
    usher: App, sinks: Sinks, receiver: Receiver
) -> None:
    """410 is told in the audit, in the receiver's name; nothing more is sent until a resume."""
    deliver(usher, [signed("login", account())])
    sink, consumer, _ = added(sinks, receiver)
    receiver.answers = [(410, {})]
    assert consumer.hand_over(CHANGE) == Gone("answered 410")
    found = sinks.get(sink.id)
    assert (found.paused_by, sinks.consumers()) == (sink.consumer, [])
    assert entries(usher)[0] == (
        "sink.paused",
        sink.consumer,
        "The receiver answered 410 Gone.",
    )
    assert consumer.hand_over(CHANGE) == Gone("the sink is paused")
    assert len(receiver.came) == 1
    sinks.resume(sink.id, "cli:ada")
    assert consumer.hand_over(CHANGE) == Done()
    sinks.remove(sink.id, "cli:ada")
    assert consumer.hand_over(CHANGE) == Gone("the sink was removed")
    sinks.pause_gone(sink)
    assert len(receiver.came) == 2


def test_a_receiver_that_cannot_be_reached_is_a_failure(sinks: Sinks) -> None:
    """In words without its address; a test says the same."""
    sink, _ = sinks.add(f"https://{NAME}:{free_port()}/hook", ["*"], "cli:ada")
    problem = "nobody answers at the address"
    assert sinks.consumers()[0].hand_over(CHANGE) == Failed(problem)
    trial = sinks.test(sink.id)
    assert (trial.status, trial.problem) == (None, problem)


def test_a_sink_is_tried_with_a_webhook_of_its_own_type(sinks: Sinks, receiver: Receiver) -> None:
    """Paused or not; the answer's status is told, or the problem."""
    sink, _, secret = added(sinks, receiver)
    sinks.pause(sink.id, "cli:ada")
    trial = sinks.test(sink.id)
    assert (trial.status, trial.problem) == (204, "")
    assert trial.elapsed_ms >= 0
    assert verified(receiver, secret)["data"] == {"sink_id": str(sink.id)}
    assert verified(receiver, secret)["type"] == "sink.test"
    receiver.answers = [(410, {})]
    trial = sinks.test(sink.id)
    assert (trial.status, sinks.get(sink.id).paused_by) == (410, "cli:ada")
    assert "would pause the sink" in trial.problem
    ids = {each.headers["webhook-id"] for each in receiver.came}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("7", 7),
        ("21600", 21_600),
        ("21601", 21_600),
        ("999999999", 21_600),
        ("9999999999", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("tomorrow", None),
        ("Mon, 99 Foo 2026 12:00:00 GMT", None),
        (format_datetime(NOON + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(NOON - timedelta(hours=1), usegmt=True), 0),
        (format_datetime(NOON + timedelta(days=9), usegmt=True), 21_600),
        ("Mon, 23 Nov 2026 12:00:05 -0000", 5),
    ],
)
def test_retry_after_is_honoured_within_bounds(text: str, seconds: float | None) -> None:
    """In seconds, or as a date."""
    assert retry_after(text, NOON) == seconds
