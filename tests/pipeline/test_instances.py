"""One stranger must not shut the house: events of several Identity instances, on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.pipeline.outage_support import locked
from tests.store.store_support import (
    LogLines,
    counts,
    deliver,
    execute,
    executed,
    raw,
    rows,
    verified,
)
from tests.store.test_users import save, user
from tests.support import NOON, SECRET, Clock, Signed, account, call, signed
from usher.core.app import App, use
from usher.core.captures.format import from_delivery
from usher.core.captures.replay import Replayer
from usher.core.domain.events import EventName
from usher.core.domain.instances import How
from usher.core.domain.records import Outcome
from usher.core.errors import CaptureError, SeveralInstancesError
from usher.core.jws import sign_event
from usher.core.settings import Settings
from usher.core.store.instance_report import adopted
from usher.emulator.payload import event_body

ZERO, OURS, STRANGER = UUID(int=0), UUID(int=7), UUID(int=8)
REFUSED = {"validate": 401, "signup": 401, "login": 401, "usermodified": 204, "userdeleted": 204}
Make = Callable[..., Settings]


def adoption(app: App) -> tuple[UUID, How] | None:
    """What the table holds."""
    with app.store.database.read() as connection:
        found = adopted(connection)
    return None if found is None else (found.instance_id, found.how)


def marked(event: str, instance_id: UUID, *, replayed: bool = False, **claims: bool) -> Signed:
    """An event whose signature says that it is none of Identity's own."""
    plain = signed(event, account(), instance_id=instance_id)
    at = int(NOON.timestamp())
    signature = sign_event(plain.body, instance_id, at, SECRET, replayed=replayed, **claims)
    return replace(plain, headers=plain.headers | {"X-Webhook-Signature": signature})


def again(app: App, **values: Any) -> App:
    """Another process on the same database."""
    return App(replace(app.settings, **values), app.clock)


@contextmanager
def process(app: App, **values: Any) -> Any:
    """The same, as the one that the handlers use."""
    with use(again(app, **values)) as other:
        yield other


@pytest.mark.parametrize("first", list(EventName))
@pytest.mark.parametrize("ours", [ZERO, OURS], ids=["zero", "other"])
def test_d1_the_first_live_event_is_adopted(usher: App, first: EventName, ours: UUID) -> None:
    """Whichever it is. It is kept with the event, and logged."""
    lines = LogLines()
    assert call(signed(first, account(), instance_id=ours))["statusCode"] in (200, 204)
    assert adoption(usher) == (ours, How.EVENT)
    (kept,) = usher.store.ledger.page().items
    assert rows(usher.store.database, "SELECT delivery_id FROM instances") == [(kept.id,)]
    (line,) = lines("instance.adopted")
    assert (line["instance_id"], line["how"]) == (str(ours), "event")
    call(signed("signup", account(), instance_id=ours))
    assert len(lines("instance.adopted")) == 1


@pytest.mark.parametrize("event", list(REFUSED))
@pytest.mark.parametrize("setting", [True, False], ids=["by setting", "adopted"])
@pytest.mark.parametrize("who", [OURS, ZERO], ids=["ours", "zero"])
def test_d1_events_of_others_are_refused_and_kept(
    usher: App, event: str, setting: bool, who: UUID
) -> None:
    """401 where somebody would enter, 204 otherwise; nothing is written about the person."""
    with process(usher, instance_id=who if setting else None) as app:
        ada = account()
        assert call(signed("signup", ada, instance_id=who))["statusCode"] == 200
        before, lines = counts(app.store.database), LogLines()
        stranger = signed(event, ada, instance_id=STRANGER)  # even with the id of somebody of ours
        answers = [call(stranger), call(stranger)]
        assert answers[0] == answers[1]
        assert answers[0]["statusCode"] == REFUSED[event]
        if REFUSED[event] == 401:
            assert '"code":"signature_invalid"' in answers[0]["body"]
        assert counts(app.store.database) == before | {"deliveries": before["deliveries"] + 1}
        (kept,) = app.store.ledger.page(instance_id=STRANGER).items
        assert kept.outcome is Outcome.IGNORED
        assert [reason.rule for reason in kept.reasons] == ["instance.other"]
        assert [line["instance_id"] for line in lines("instance.refused")] == [str(STRANGER)]
        assert [line["level"] for line in lines("instance.refused")] == ["warning"]
        # Nothing that works is lost.
        assert app.store.users.find("ada@example.com").instance_id == who
        assert len(app.store.ledger.page().items) == 1
        assert app.store.users.stats("2026-01-01")["status"] == {"active": 1}
        app.maintenance.step()
        assert app.sync.completed() is None
        assert call(signed("login", ada, instance_id=who, at=NOON + timedelta(seconds=9)))[
            "statusCode"
        ] in (200, 204)


def odd(name: str) -> Signed:
    """Deliveries with a good signature of another instance that are no event of a person."""
    body = {
        "unknown": b'{"event":"userinvited","instance_id":"%s","user":{}}' % str(STRANGER).encode(),
        "unreadable": b"[]",
        "mismatch": event_body("login", account(), OURS),
    }[name]
    plain = raw(body)
    signature = sign_event(body, STRANGER, int(NOON.timestamp()), SECRET)
    return replace(plain, headers=plain.headers | {"X-Webhook-Signature": signature})


@pytest.mark.parametrize(
    ("name", "status"), [("unknown", 204), ("unreadable", 400), ("mismatch", 400)]
)
@pytest.mark.parametrize("known", [False, True], ids=["before", "after"])
def test_d1_what_is_no_event_adopts_nothing_and_jams_nothing(
    usher: App, name: str, status: int, known: bool
) -> None:
    """Neither before our first event nor after it, whatever it is answered."""
    if known:
        call(signed("signup", account(), instance_id=OURS))
    assert call(odd(name), "identity")["statusCode"] == status
    assert adoption(usher) == ((OURS, How.EVENT) if known else None)
    call(signed("signup", account(email="bob@example.com"), instance_id=OURS))
    assert adoption(usher) == (OURS, How.EVENT)
    assert usher.store.users.find("bob@example.com").instance_id == OURS
    assert usher.store.users.page().items
    usher.maintenance.step()


@pytest.mark.parametrize(
    "made",
    [
        marked("signup", STRANGER, replayed=True),
        marked("signup", STRANGER, triggered=True),
        marked("signup", STRANGER, replayed=True, triggered=True),
    ],
    ids=["replay", "trigger", "both"],
)
def test_d1_what_is_not_live_is_taken_and_adopts_nothing(usher: App, made: Signed) -> None:
    """Its signed claim says so, and the ledger with it; the first live event decides."""
    assert call(made)["statusCode"] == 200
    assert adoption(usher) is None
    (kept,) = usher.store.ledger.page().items
    assert kept.origin in ("replay", "trigger")
    assert usher.store.users.page().items[0].instance_id == STRANGER
    # Another instance's replay would make records of several.
    assert call(marked("signup", OURS, replayed=True))["statusCode"] == 401
    assert call(signed("signup", account(email="bob@example.com"), instance_id=OURS))["statusCode"]
    assert adoption(usher) == (OURS, How.EVENT)
    assert [one.email for one in usher.store.users.page().items] == ["bob@example.com"]
    assert call(made)["statusCode"] == 200  # a retry gets its stored answer
    assert call(replace(marked("login", STRANGER, triggered=True)))["statusCode"] == 401


def test_d1_two_replayed_in_one_batch_make_records_of_one(usher: App) -> None:
    """The first binds the second, within the batch already."""
    batch = [marked("signup", OURS, replayed=True), marked("signup", STRANGER, replayed=True)]
    answers = deliver(usher, batch)
    assert [getattr(answer, "status", answer) for answer in answers] == [200, 401]
    assert usher.store.users.page().items[0].instance_id == OURS


def test_d1_of_two_live_events_in_one_batch_the_first_is_adopted(usher: App) -> None:
    """In the order of arrival, behind what is not live."""
    batch = [
        marked("signup", STRANGER, triggered=True),
        signed("signup", account(), instance_id=OURS),
        signed("signup", account(), instance_id=ZERO),
        signed("userdeleted", account(), instance_id=STRANGER),
    ]
    answers = deliver(usher, batch)
    assert [getattr(answer, "status", answer) for answer in answers] == [401, 200, 401, 204]
    assert adoption(usher) == (OURS, How.EVENT)


def test_d1_a_failed_transaction_adopts_nothing(usher: App) -> None:
    """The adoption is in the event's own transaction, and is not remembered without it."""
    execute(usher.store.database, "ALTER TABLE audit RENAME TO away")
    try:
        assert call(signed("signup", account(), instance_id=STRANGER))["statusCode"] == 503
    finally:
        execute(usher.store.database, "ALTER TABLE away RENAME TO audit")
    assert adoption(usher) is None
    assert call(signed("signup", account(), instance_id=OURS))["statusCode"] == 200
    assert adoption(usher) == (OURS, How.EVENT)


def test_d1_first_events_of_two_instances_at_once_adopt_one(usher: App) -> None:
    """Several processes, all let go at the same moment: all say the same, at once and later."""
    for round_ in range(4):
        for table in ("instances", "users"):
            execute(usher.store.database, f"DELETE FROM {table}")
        ids = [uuid4() for _ in range(4)]
        apps = [again(usher) for _ in ids]
        start = Barrier(len(ids))

        def run(app: App, instance_id: UUID, start: Barrier = start) -> Any:
            ready = verified(app.webhooks, signed("signup", account(), instance_id=instance_id))
            _ = app.store
            start.wait(30)
            return app.webhooks.process([ready])[0]

        with ThreadPoolExecutor(len(ids)) as pool:
            answers = list(pool.map(run, apps, ids))
        found = adoption(usher)
        assert found is not None
        statuses = {one: answer.status for one, answer in zip(ids, answers, strict=True)}
        assert statuses == {one: 200 if one == found[0] else 401 for one in ids}, round_
        for app in apps:
            for one in ids:
                (answer,) = deliver(app, [signed("signup", account(), instance_id=one)])
                assert getattr(answer, "status", None) == statuses[one]
            app.close()
        found_in = rows(usher.store.database, "SELECT DISTINCT instance_id FROM users")
        assert [UUID(str(one)) for (one,) in found_in] == [found[0]]


def test_d1_another_process_sees_the_adoption(usher: App) -> None:
    """One that ran before it, and one that starts after it."""
    before = again(usher)
    with before.store.database.read() as connection:
        assert before.store.instances.known(connection).how is How.NOT
    call(signed("signup", account(), instance_id=OURS))
    for app in (before, again(usher)):
        (answer,) = deliver(app, [signed("login", account(), instance_id=STRANGER)])
        assert getattr(answer, "status", None) == 401
        assert app.store.users.find("ada@example.com").instance_id == OURS
        app.close()


def test_d1_the_setting_wins_can_be_changed_and_stays_when_it_is_taken_away(usher: App) -> None:
    """A wrong adoption is mended by it; a later start without it stays with what it said."""
    call(signed("signup", account(email="wrong@example.com"), instance_id=STRANGER))
    right = signed("signup", account(), instance_id=OURS)
    assert call(right)["statusCode"] == 401
    with process(usher, instance_id=OURS) as app:
        assert app.store.users.page().items == ()
        (answer,) = deliver(app, [signed("signup", account(), instance_id=OURS)])
        assert getattr(answer, "status", None) == 200
        assert call(signed("login", account(), instance_id=STRANGER))["statusCode"] == 401
        assert adoption(app) == (OURS, How.SETTING)
    with process(usher) as app:
        assert call(signed("login", account(), instance_id=STRANGER))["statusCode"] == 401
        assert app.store.users.find("ada@example.com").instance_id == OURS
    with process(usher, instance_id=STRANGER) as app:
        assert app.store.users.find("wrong@example.com").instance_id == STRANGER


def test_d1_a_setting_is_not_kept_by_what_is_not_live(usher: App) -> None:
    """A replay with another setting leaves the database's own instance alone."""
    call(signed("signup", account(), instance_id=OURS))
    with process(usher, instance_id=STRANGER):
        assert call(marked("signup", STRANGER, replayed=True))["statusCode"] == 200
        assert call(signed("login", account(), instance_id=OURS))["statusCode"] == 401
    assert adoption(usher) == (OURS, How.EVENT)


def test_d1_records_of_several_need_the_setting(usher: App) -> None:
    """An older version kept them. Events of both are decided as before; a stranger's are not."""
    save(usher, user("a@example.com", instance_id=OURS), user("b@x.org", instance_id=STRANGER))
    for event, instance_id, status in (
        ("signup", OURS, 200), ("signup", STRANGER, 200), ("signup", ZERO, 401),
        ("userdeleted", ZERO, 204),
    ):  # fmt: skip
        delivery = signed(event, account(), instance_id=instance_id)
        assert call(delivery)["statusCode"] == status
    assert adoption(usher) is None
    with pytest.raises(SeveralInstancesError, match=f"{OURS}, {STRANGER}"):
        usher.store.users.page()
    usher.maintenance.step()
    with process(usher, instance_id=OURS) as app:
        assert "a@example.com" in [one.email for one in app.store.users.page().items]
        assert call(signed("login", account(), instance_id=STRANGER))["statusCode"] == 401


def test_d1_records_of_a_replay_do_not_keep_the_real_one_out(usher: App) -> None:
    """One instance on record, and not from live events: the first live one decides."""
    save(usher, user(instance_id=STRANGER))
    assert call(signed("signup", account(email="b@x.org"), instance_id=OURS))["statusCode"] == 200
    assert [one.email for one in usher.store.users.page().items] == ["b@x.org"]


def test_d1_old_deliveries_of_every_instance_are_pruned(usher: App, clock: Clock) -> None:
    """Those that were not ours as well, in the same steps."""
    call(signed("signup", account(), instance_id=OURS))
    for _ in range(3):
        call(signed("login", account(), instance_id=STRANGER))
    clock.advance(days=usher.settings.ledger_retention_days, seconds=1)
    assert usher.store.ledger.prune(clock() - timedelta(days=1), step=2) == 2
    assert usher.store.ledger.prune(clock() - timedelta(days=1), step=3) == 2
    assert counts(usher.store.database)["deliveries"] == 0


def test_d1_an_import_of_another_instance_jams_nothing(usher: App) -> None:
    """Its deliveries are kept; ours are shown, and the first live event still decides."""
    call(signed("signup", account(), instance_id=STRANGER))
    (delivery,) = usher.store.ledger.page().items
    execute(usher.store.database, "DELETE FROM instances")
    execute(usher.store.database, "DELETE FROM users")
    execute(usher.store.database, "DELETE FROM deliveries")
    assert usher.store.ledger.add([delivery]) == 1
    with process(usher) as app:
        call(signed("signup", account(email="b@x.org"), instance_id=OURS))
        assert app.store.users.find("b@x.org").instance_id == OURS
        assert [one.instance_id for one in app.store.ledger.page().items] == [OURS]
        assert app.store.instance() == OURS


def test_d1_a_replay_writes_nothing_about_another_instance(usher: App) -> None:
    """Neither its events, nor its acts, nor its erased people."""
    call(signed("signup", account(), instance_id=OURS))
    stranger = signed("signup", account(email="s@x.org"), instance_id=STRANGER)
    call(stranger)
    (kept,) = usher.store.ledger.page(instance_id=STRANGER).items
    execute(usher.store.database, f"DELETE FROM deliveries WHERE id = '{kept.id}'")
    before = counts(usher.store.database)
    gone = replace(kept, id=kept.id[:-4] + "0000", body=None, event="userdeleted")
    erased = from_delivery(replace(gone, outcome=Outcome.APPLIED))
    (ada,) = usher.store.users.audit_page().items
    act = replace(ada, instance_id=STRANGER, delivery_id=None, actor="somebody")
    replayer = Replayer(usher.settings, usher.policy_in_force, usher.store)
    played = replayer.play([from_delivery(kept), erased, act])
    assert getattr(played[0].result, "status", None) == 401
    assert all(isinstance(each.result, CaptureError) for each in played[1:])
    assert counts(usher.store.database) == before | {"deliveries": before["deliveries"] + 1}


@pytest.mark.parametrize("event", list(REFUSED))
def test_d1_while_the_database_is_away_others_stay_out(
    usher: App, event: str, tmp_path: Path
) -> None:
    """A process that knows the instance refuses at once; the delivery is kept, then ignored."""
    with process(usher, spool=str(tmp_path / "spool")) as app:
        app.start_store_and_forward()
        call(signed("signup", account(), instance_id=OURS))
        before = counts(app.store.database)
        with locked(usher.settings.database_url):
            answer = call(signed(event, account(), instance_id=STRANGER))
            assert answer["statusCode"] == REFUSED[event]
            ours = call(signed("signup", account(email="b@x.org"), instance_id=OURS))
            assert ours["statusCode"] == 200
        while app.store_and_forward.step():
            pass
        (kept,) = app.store.ledger.page(instance_id=STRANGER).items
        assert [reason.rule for reason in kept.reasons] == ["outage.kept", "instance.other"]
        assert kept.outcome is Outcome.IGNORED
        assert kept.reply.status == REFUSED[event]
        assert counts(app.store.database)["users"] == before["users"] + 1


def test_d1_the_spool_of_what_is_not_live_adopts_nothing(usher: App, tmp_path: Path) -> None:
    """What its signature said is kept with it; a live one in the spool does adopt."""
    with process(usher, spool=str(tmp_path / "spool")) as app:
        app.start_store_and_forward()
        with locked(usher.settings.database_url):
            call(marked("signup", STRANGER, triggered=True))
            call(marked("login", STRANGER, replayed=True))
        while app.store_and_forward.step():
            pass
        assert adoption(app) is None
        assert {one.origin for one in app.store.ledger.page().items} == {"trigger", "replay"}
        with locked(usher.settings.database_url):
            call(signed("signup", account(), instance_id=OURS))
        while app.store_and_forward.step():
            pass
        assert adoption(app) == (OURS, How.EVENT)


def test_d1_an_adopted_instance_costs_no_statement(usher: App) -> None:
    """Neither an event nor a call of the API asks again."""
    ada = account()
    call(signed("signup", ada, instance_id=OURS))
    with executed(usher.store.database) as statements:
        call(signed("login", ada, instance_id=OURS))
        usher.store.users.find("ada@example.com")
    assert not [one for one in statements if re.search("(FROM|INTO) instances", one.text)]
