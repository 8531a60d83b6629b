"""While the database is away: what is answered, what is kept, and how it is applied in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import POLICY
from tests.pipeline.outage_support import impatient, locked
from tests.store.store_support import LogLines, counts, deliver, raw, rows
from tests.support import NOON, Clock, Signed, account, call, databases, signed, verified
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Verdict
from usher.core.domain.records import Delivery, Status
from usher.core.domain.reply import Reply
from usher.core.errors import DatabaseAwayError, PolicyError, SpoolError
from usher.core.policy_source import PolicyInForce
from usher.core.settings import Settings
from usher.core.spool import forward as holding
from usher.core.spool.files import DEAD_LETTERS, Spool, waiting
from usher.core.webhooks import Webhooks

MakeSettings = Callable[..., Settings]

database_url = databases("sqlite", "postgresql", "pg8000")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


@pytest.fixture
def app(
    database_url: str, make_settings: MakeSettings, clock: Clock, tmp_path: Path
) -> Iterator[App]:
    """The App of a server, with a spool."""
    settings = make_settings(database_url=database_url, spool=str(tmp_path / "spool"))
    with use(App(settings, clock)) as found:
        found.start_store_and_forward()
        yield found


@contextmanager
def outage(app: App) -> Iterator[None]:
    """The database is away, and then back with everything applied."""
    with locked(app.settings.database_url):
        yield
    drain(app)


def drain(app: App) -> None:
    """What the server does every second."""
    while app.store_and_forward.step():
        pass
    assert not app.store_and_forward.active
    assert waiting(app.settings.spool_folder)["waiting"] == 0


def statuses(answers: list[Reply | Exception]) -> list[Any]:
    """A status for each answer, or the exception's kind."""
    return [one.status if isinstance(one, Reply) else type(one) for one in answers]


def ledger(app: App) -> list[Delivery]:
    """The ledger, the oldest first."""
    return list(reversed(app.store.ledger.page(limit=200).items))


def test_an_outage_ends_however_many_keep_coming(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those who come and those who wait, more are applied than join."""
    monkeypatch.setattr(holding, "STEP", 8)

    def crowd() -> list[Signed]:
        return [signed("signup", account(email=f"{uuid4()}@example.com")) for _ in range(8)]

    with locked(app.settings.database_url):
        for _ in range(5):
            deliver(app, crowd())
    assert app.store_and_forward.step()  # the server finds that the database is back
    came = 40
    while app.store_and_forward.active:
        assert came < 120
        came += len(deliver(app, crowd()))
    assert len(ledger(app)) == came


def test_a_spool_that_cannot_be_read_for_a_moment_takes_who_comes_all_the_same(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applying goes on when it can be read; the server's own step tells of it meanwhile."""
    monkeypatch.setattr(holding, "STEP", 1)
    with locked(app.settings.database_url):
        deliver(app, [signed("signup", account(email=f"{n}@example.com")) for n in range(3)])
    assert app.store_and_forward.step()  # the database is back; two are left
    with monkeypatch.context() as patch:
        patch.setattr(holding, "islice", unreadable)
        for number in range(3, 5):
            more = [signed("signup", account(email=f"{number}@example.com"))]
            assert statuses(deliver(app, more)) == [200]
        with pytest.raises(OSError, match="unreadable"):
            app.store_and_forward.step()
    drain(app)
    assert len(ledger(app)) == 5


def unreadable(*_: object) -> None:
    """As a disk that fails."""
    raise OSError("unreadable")


@pytest.mark.parametrize(
    ("delivery", "status", "rule", "outcome"),
    [
        (signed("validate", account()), 204, "outage.policy", "applied"),
        (signed("signup", account()), 200, "outage.policy", "applied"),
        (signed("signup", account(email="x@mailinator.com")), 403, "outage.policy", "denied"),
        (signed("validate", account(email="x@mailinator.com")), 403, "outage.policy", "denied"),
        (signed("login", account()), 204, "outage.login", "applied"),
        (signed("usermodified", account()), 202, "outage.accepted", "applied"),
        (signed("userdeleted", account()), 202, "outage.accepted", "applied"),
        (raw(b"no event"), 400, "outage.kept", "invalid"),
        (
            raw(b'{"event":"new","instance_id":"00000000-0000-0000-0000-000000000000"}'),
            204,
            "outage.kept",
            "ignored",
        ),
    ],
    ids=lambda value: value.event if isinstance(value, Signed) else str(value),
)
def test_each_event_is_answered_without_a_record_and_recorded_with_that_answer(
    app: App, delivery: Signed, status: int, rule: str, outcome: str
) -> None:
    """During the outage, on its retry, and after it: the same answer; the ledger says why."""
    with outage(app):
        during = deliver(app, [delivery]) + deliver(app, [delivery])
        assert statuses(during) == [status, status]
    [kept] = ledger(app)
    assert (kept.reply.status, kept.outcome, kept.reasons[0].rule) == (status, outcome, rule)
    assert deliver(app, [delivery]) == [kept.reply] == during[1:]


def test_a_signup_gets_the_roles_of_the_policy_and_the_record_has_them_afterwards(
    app: App,
) -> None:
    """The whole app_metadata, as if the database had been there."""
    ada = account()
    with outage(app):
        answer = call(signed("signup", ada))
        assert json.loads(answer["body"]) == {
            "app_metadata": {"provider": "email", "roles": ["member", "staff"]}
        }
    user = app.store.users.get(ada.id)
    assert {grant.role for grant in user.grants} == {"member", "staff"}
    assert set(user.at_identity.sent) == {"member", "staff"}


def test_a_login_remembers_as_sent_only_what_was_sent(app: App) -> None:
    """Nothing was: so a role that Identity's administrators give meanwhile is theirs."""
    ada = account()
    with outage(app):
        assert statuses(deliver(app, [signed("login", ada)])) == [204]
    assert app.store.users.get(ada.id).at_identity.sent == {}
    again = account(user_id=ada.id, roles=["member"])
    deliver(app, [signed("login", again, at=NOON + timedelta(seconds=5))])
    sources = {(g.role, g.source) for g in app.store.users.get(ada.id).grants}
    assert ("member", "policy") in sources


def test_an_answer_without_a_record_tells_identity_of_no_pending_change(
    database_url: str, make_settings: MakeSettings, clock: Clock, tmp_path: Path
) -> None:
    """What was pending stays so until it is pushed, or an ordinary login is answered with it."""
    ada = account()
    settings = make_settings(
        database_url=database_url,
        spool=str(tmp_path / "spool"),
        identity_url="http://127.0.0.1:9",
        jwt_secret=b"j" * 32,
    )
    with use(App(settings, clock)) as app:
        app.start_store_and_forward()
        users = app.store.users
        deliver(app, [signed("signup", ada)])
        users.change(users.get(ada.id), administration.grant("editor"), Change("test"))
        with outage(app):
            login = signed("login", ada, at=NOON + timedelta(seconds=5))
            assert statuses(deliver(app, [login])) == [204]
        assert users.get(ada.id).at_identity.pending
        later = signed("login", ada, at=NOON + timedelta(seconds=9))
        assert statuses(deliver(app, [later])) == [200]
        assert not users.get(ada.id).at_identity.pending


def test_a_suspended_persons_login_is_let_pass_at_identity_and_stays_without_effect_here(
    app: App,
) -> None:
    """Their record cannot be asked; it stays suspended, and the ledger says both things."""
    ada = account()
    deliver(app, [signed("signup", ada)])
    app.store.users.change(app.store.users.get(ada.id), administration.suspend(), Change("test"))
    login = signed("login", ada, at=NOON + timedelta(seconds=5))
    with outage(app):
        assert statuses(deliver(app, [login])) == [204]
    assert app.store.users.get(ada.id).status is Status.SUSPENDED
    assert (ledger(app)[-1].outcome, ledger(app)[-1].reply.status) == ("denied", 204)
    assert [reason.rule for reason in ledger(app)[-1].reasons] == ["outage.login", "user.suspended"]
    later = signed("login", ada, at=NOON + timedelta(seconds=9))
    assert statuses(deliver(app, [later])) == [403]


def test_what_is_kept_of_a_deleted_person_holds_nothing_personal(app: App) -> None:
    """A signup with a 200 that arrives for a tombstone is stored as 204, without its body."""
    ada = account()
    deliver(app, [signed("userdeleted", ada)])
    with outage(app):
        late = signed("signup", ada, at=NOON - timedelta(seconds=5))
        assert statuses(deliver(app, [late])) == [200]
    assert (ledger(app)[-1].body, ledger(app)[-1].reply.body) == (None, "")
    assert app.store.users.get(ada.id).status is Status.DELETED
    assert list(app.settings.spool_folder.glob("*.spool")) == []


def test_order_is_kept_across_the_outage(app: App) -> None:
    """Who comes while the spool is not empty joins it, though the database is back."""
    people = [account(email=f"p{n}@example.com") for n in range(4)]
    with locked(app.settings.database_url):
        deliver(app, [signed("signup", people[0])])
        deliver(app, [signed("signup", people[1]), signed("signup", people[2])])
    assert statuses(deliver(app, [signed("login", people[3])])) == [204]
    assert counts(app.store.database)["deliveries"] == 0
    drain(app)
    deliver(app, [signed("login", people[0], at=NOON + timedelta(seconds=5))])
    order = [str(kept.user_id) for kept in ledger(app)]
    assert order == [str(who.id) for who in [*people, people[0]]]


def test_a_policy_may_refuse_some_events_during_an_outage(
    app: App, make_settings: MakeSettings, tmp_path: Path, clock: Clock
) -> None:
    """These get 503 and are not kept; the others are answered."""
    policy = tmp_path / "strict.toml"
    policy.write_text(POLICY + '[outage]\nlogin = "refuse"\nsignup = "answer"\n')
    settings = make_settings(
        database_url=app.settings.database_url, policy=str(policy), spool=str(tmp_path / "s")
    )
    strict = App(settings, clock)
    strict.start_store_and_forward()
    login, signup = signed("login", account()), signed("signup", account())
    with outage(strict):
        assert statuses(deliver(strict, [login])) == [DatabaseAwayError]
        assert statuses(deliver(strict, [login, signup])) == [DatabaseAwayError, 200]
    assert [kept.event for kept in ledger(strict)] == ["signup"]
    assert statuses(deliver(strict, [login])) == [200]
    strict.close()


def test_without_a_spool_everything_is_answered_503(
    database_url: str, make_settings: MakeSettings, clock: Clock
) -> None:
    """As in a function that lives for one request."""
    app = App(make_settings(database_url=database_url), clock)
    deliveries = [signed("signup", account()), signed("userdeleted", account())]
    with locked(database_url):
        assert statuses(deliver(app, deliveries)) == [DatabaseAwayError] * 2
    assert statuses(deliver(app, deliveries)) == [200, 204]
    app.close()


def test_what_the_spool_cannot_keep_is_never_acknowledged(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, also for a denial; and once it can be written again, it is."""
    deliveries = [signed("signup", account()), signed("userdeleted", account())]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with outage(app):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            assert statuses(deliver(app, deliveries)) == [SpoolError] * 2
        assert statuses(deliver(app, deliveries)) == [200, 202]
    assert [kept.event for kept in ledger(app)] == ["signup", "userdeleted"]


def test_a_new_process_applies_what_another_left(
    app: App, make_settings: MakeSettings, clock: Clock
) -> None:
    """Before anything new; and not what a living process still holds."""
    other = App(
        make_settings(database_url=app.settings.database_url, spool=app.settings.spool), clock
    )
    other.start_store_and_forward()
    with locked(app.settings.database_url):
        deliver(app, [signed("signup", account())])
        other.store_and_forward.adopt()
        held = other.store_and_forward.active
        assert not held
        app.store_and_forward.close()
        other.store_and_forward.adopt()
        assert other.store_and_forward.active
        deliver(other, [signed("login", account(email="b@example.com"))])
    lines = LogLines()
    drain(other)
    assert [kept.event for kept in ledger(other)] == ["signup", "login"]
    assert [line["applied"] for line in lines("outage.ended")] == [2]
    other.close()


def test_a_drain_that_was_interrupted_begins_again_without_a_second_effect(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away once more, after the first step."""
    monkeypatch.setattr(holding, "STEP", 2)
    deliveries = [signed("signup", account(email=f"p{n}@example.com")) for n in range(5)]
    with locked(app.settings.database_url):
        deliver(app, deliveries)
    assert app.store_and_forward.step() is True
    assert counts(app.store.database)["deliveries"] == 2
    with locked(app.settings.database_url):
        assert app.store_and_forward.step() is False
        deliver(app, [signed("login", account(email="late@example.com"))])
    drain(app)
    assert counts(app.store.database) == {"users": 6, "deliveries": 6, "audit": 6, "grants": 12}
    assert len(rows(app.store.database, "SELECT DISTINCT id FROM deliveries")) == 6


def test_what_can_never_be_applied_is_set_aside_and_holds_up_nobody(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept for a person to look at; renamed, it is tried again."""
    bad, good = signed("signup", account()), signed("signup", account(email="b@example.com"))
    original = Webhooks._decide

    def broken(self: Webhooks, verified: Any, *rest: Any) -> Delivery:
        if verified.received.body == bad.body:
            raise PolicyError("rules:decide", "raised KeyError")
        return original(self, verified, *rest)

    with locked(app.settings.database_url):
        deliver(app, [bad, good])
    lines = LogLines()
    with monkeypatch.context() as patched:
        patched.setattr(Webhooks, "_decide", broken)
        drain(app)
    assert [line["code"] for line in lines("event.dead_letter")] == ["policy_invalid"]
    assert {kept.body: kept.outcome for kept in ledger(app)} == {
        bad.body: "failed", good.body: "applied"
    }  # fmt: skip
    folder = app.settings.spool_folder
    assert waiting(folder) == {"waiting": 0, "dead_letters": 1}
    (folder / DEAD_LETTERS).rename(folder / "again.spool")
    drain(app)
    assert [kept.body for kept in ledger(app)] == [good.body, bad.body]


def test_a_callable_policy_that_raises_fails_its_delivery_alone(
    app: App, make_settings: MakeSettings, tmp_path: Path
) -> None:
    """It is answered with the error and not kept; its neighbour is."""

    def rules(applicant: Any) -> Verdict:
        if applicant.domain == "bad.example":
            raise KeyError
        return Verdict()

    policy = PolicyInForce("rules:decide")
    policy.current = CallablePolicy("rules:decide", rules)
    held = holding.StoreAndForward(app.webhooks, policy, Spool(tmp_path / "other"))
    app.webhooks.fallback = held
    batch = [signed("signup", account(email="a@bad.example")), signed("signup", account())]
    with locked(app.settings.database_url):
        assert statuses(deliver(app, batch)) == [PolicyError, 204]
    held.close()
    assert waiting(tmp_path / "other")["waiting"] == 1


def test_only_the_newest_answers_are_remembered(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes again after that is kept twice, and applied once."""
    monkeypatch.setattr(holding, "REMEMBERED", 1)
    first, second = signed("login", account()), signed("login", account(email="b@example.com"))
    with outage(app):
        for delivery in (first, second, second, first):
            deliver(app, [delivery])
        assert waiting(app.settings.spool_folder)["waiting"] == 3
    assert counts(app.store.database)["deliveries"] == 2


def test_a_clock_that_jumps_changes_neither_order_nor_effect(app: App, clock: Clock) -> None:
    """An hour back, then two forth, while events are kept; each is applied as of its receipt."""
    people = [account(email=f"p{n}@example.com") for n in range(3)]
    with outage(app):
        for who, jump in zip(people, (-1, 2, -1), strict=True):
            delivery = signed("signup", who, at=clock())
            app.webhooks.process([verified(app.webhooks, delivery, clock())])
            clock.advance(hours=jump)
    in_order = rows(app.store.database, "SELECT user_id FROM deliveries ORDER BY sequence")
    assert [str(row[0]).replace("-", "") for row in in_order] == [who.id.hex for who in people]
    assert counts(app.store.database)["users"] == 3
