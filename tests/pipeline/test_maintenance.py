"""Maintenance: what is past its time goes, step by step, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from tests.store.store_support import deliver, rows
from tests.support import Clock, account, call, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.maintenance import STEP
from usher.core.settings import Settings
from usher.core.store.pruning import OldRows
from usher.core.users import ENDED_AT_ONCE


def test_old_deliveries_go_step_by_step(usher: App, clock: Clock) -> None:
    """Those past the retention; users, counts and newer deliveries stay."""
    ada = account(email="ada@example.com", at=clock())
    deliver(
        usher, [signed("signup", ada, at=clock() - timedelta(seconds=n)) for n in range(STEP + 3)]
    )
    clock.advance(days=usher.settings.ledger_retention_days)
    assert usher.maintenance.step() is False
    assert len(usher.store.ledger.page(limit=200).items) == 200
    clock.advance(seconds=1)
    assert call(signed("login", ada, at=clock()))["statusCode"] in (200, 204)
    assert usher.maintenance.step() is True
    assert usher.maintenance.step() is False
    [left] = usher.store.ledger.page().items
    assert left.event == "login"
    assert usher.store.users.get(ada.id).email == "ada@example.com"
    assert sum(usher.store.users.stats("2000-01-01")["day"].values()) == STEP + 4


def test_a_step_goes_on_where_the_last_one_ended(usher: App, clock: Clock) -> None:
    """What came meanwhile with an older time goes with the next round."""
    prune = usher.store.ledger.prune

    def receive(at: datetime) -> None:
        event = signed("signup", account(email=f"{at:%S}@b.example"), at=at)
        usher.webhooks.process([verified(usher.webhooks, event, at)])

    for _ in range(5):
        receive(clock())
        clock.advance(seconds=1)
    assert prune(clock(), step=2) == 2
    restored = clock() - timedelta(seconds=30)
    receive(restored)
    assert [prune(clock(), step=2), prune(clock(), step=2)] == [2, 1]
    [left] = usher.store.ledger.page().items
    assert left.received_at == restored
    assert [prune(clock(), step=2), prune(clock(), step=2)] == [1, 0]


def test_what_another_server_removes_is_left_to_it(
    postgresql_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Neither waits for the other. SQLite has one writer at a time anyway."""
    settings = make_settings(database_url=postgresql_url)
    with closing(App(settings, clock)) as ours, closing(App(settings, clock)) as theirs:
        people = [account(email=f"{number}@b.example") for number in range(5)]
        deliver(ours, [signed("signup", person, at=clock()) for person in people])
        clock.advance(days=1)
        with theirs.store.database.write() as transaction:
            assert OldRows("deliveries", "received_at").remove(transaction, clock(), 2) == 2
            assert ours.store.ledger.prune(clock(), step=2) == 2
        assert len(ours.store.ledger.page().items) == 1


def test_grants_that_ended_leave_the_records(usher: App, clock: Clock) -> None:
    """With entries in the audit, by id; more than one step's worth is done in several."""
    ids = [account(email=f"p{n}@b.example", at=clock()) for n in range(ENDED_AT_ONCE + 1)]
    deliver(usher, [signed("signup", who, at=clock()) for who in ids])
    for who in ids:
        ends = clock() + timedelta(hours=1)
        user = usher.store.users.get(who.id)
        usher.store.users.change(
            user, administration.grant("guest", expires_at=ends), Change("test")
        )
    assert usher.maintenance.step() is False
    clock.advance(hours=2)
    assert usher.maintenance.step() is True
    ended = "SELECT user_id FROM audit WHERE action = 'role.ended' ORDER BY sequence"
    in_order = [str(user_id) for (user_id,) in rows(usher.store.database, ended)]
    assert len(in_order) == ENDED_AT_ONCE
    assert in_order == sorted(in_order)
    assert usher.maintenance.step() is True
    assert usher.maintenance.step() is False
    assert all(g.role != "guest" for who in ids for g in usher.store.users.get(who.id).grants)


def test_a_role_of_the_policy_ends_for_people_who_never_come_back(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, policy_file: Path
) -> None:
    """At its end it holds no more; then it leaves the record, and Identity is to be told."""
    end = clock() + timedelta(days=1)
    policy_file.write_text(
        f'[[role]]\ngrant = "guest"\nuntil = {end:%Y-%m-%dT%H:%M:%SZ}\n[[role]]\ngrant = "member"\n'
    )
    settings = make_settings(database_url=database_url, identity_url="http://127.0.0.1:9/identity")
    with closing(App(settings, clock)) as usher:
        who = account(at=clock())
        (answer,) = deliver(usher, [signed("signup", who, at=clock())])
        assert isinstance(answer, Reply)
        assert (answer.app_metadata or {})["roles"] == ["guest", "member"]
        ends = {g.role: g.expires_at for g in usher.store.users.get(who.id).grants}
        assert ends == {"guest": end, "member": None}
        clock.advance(days=1)
        assert effective(usher.store.users.get(who.id).grants, clock()) == {"member"}
        assert usher.maintenance.step() is True
        user = usher.store.users.get(who.id)
        assert [grant.role for grant in user.grants] == ["member"]


def test_d4_old_entries_of_the_audit_go_where_that_is_wanted(
    usher: App, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Step by step; without the setting all stay."""
    who = account(email="ada@example.com", at=clock())
    deliver(usher, [signed("signup", who, at=clock())])
    users = usher.store.users
    for number in range(STEP + 2):
        edit = administration.edit(profile={"n": number})
        users.change(users.get(who.id), edit, Change("test"))
    clock.advance(days=31)
    users.change(users.get(who.id), administration.grant("late"), Change("test"))
    count = "SELECT count(*) FROM audit"
    usher.maintenance.step()
    assert rows(usher.store.database, count) == [(STEP + 4,)]
    url = usher.settings.database_url
    app = App(make_settings(database_url=url, audit_retention_days=30), clock)
    try:
        assert [app.maintenance.step(), app.maintenance.step()] == [True, False]
    finally:
        app.close()
    [left] = users.audit_page().items
    assert left.action == "role.granted"
    assert users.get(who.id).profile == {"n": STEP + 1}
