"""What an event costs the database: which rows are read, and which columns are written."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.refusing import NAME, refuse
from tests.store.store_support import deliver, executed
from tests.support import NOON, Signed, account, signed
from usher.core.app import App
from usher.core.domain.outbox_shards import SHARDS
from usher.core.store import compile_statements

LATER = NOON + timedelta(seconds=5)


def lives() -> list[list[Signed]]:
    """A batch for each kind of event that writes, as large as planners think twice of."""
    people = [account(email=f"{n}@example.com") for n in range(16)]
    known = [replace(one, app_metadata={"provider": "email", "roles": ["x"]}) for one in people]
    moved = [replace(one, email=f"new-{one.email}") for one in known]
    return [
        [signed("signup", one) for one in people],
        [signed("login", one, at=LATER) for one in known],
        [signed("usermodified", one, at=LATER) for one in moved],
        [signed("userdeleted", one, at=LATER) for one in moved],
    ]


def test_no_statement_of_an_event_reads_a_whole_table(usher: App) -> None:
    """Not even of a small one: PostgreSQL keeps the plan it made then, while the table grows."""
    with executed(usher.store.database) as statements:
        for batch in lives():
            deliver(usher, batch)
    scan = {"sqlite": "SCAN ", "postgresql": "Seq Scan"}[usher.settings.database_scheme]
    reading = [one for one in statements if one.text.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(reading) > 10
    for one in reading:
        plan = one.plan(usher.store.database)
        assert scan not in plan, f"{one.text}\n{plan}"


def test_a_refusal_is_found_by_its_address_alone(usher: App) -> None:
    """However many deliveries there are; those that refused nobody are not in the index."""
    with executed(usher.store.database) as statements:
        usher.store.ledger.refusal("ada@example.com", NOON)
    (asked,) = [one for one in statements if "address_key" in one.text]
    plan = asked.plan(usher.store.database)
    assert "deliveries_address" in plan
    assert not re.search("Sort|TEMP B-TREE", plan)


def test_counting_reads_neither_users_nor_all_grants(usher: App) -> None:
    """However many there are: only what has ended is looked at, by its index."""
    with executed(usher.store.database) as statements:
        usher.store.users.stats("2026-11-01")
    scan = {"sqlite": "SCAN grants", "postgresql": "Seq Scan"}[usher.settings.database_scheme]
    counting = [one for one in statements if "counters" in one.text]
    assert len(counting) == 4
    for one in counting:
        plan = one.plan(usher.store.database)
        assert scan not in plan, plan
        assert ("grants_end" in plan) == ("grants" in one.text), plan


def test_counting_the_outbox_reads_an_index_alone(usher: App) -> None:
    """The console asks at each visit of its first page, and the metrics each time."""
    refuse(usher)
    with executed(usher.store.database) as statements:
        (standing,) = usher.outbox.standings()
    assert standing.name == NAME
    (counting,) = [one for one in statements if "GROUP BY outbox.consumer" in one.text]
    only = {"sqlite": "COVERING INDEX", "postgresql": "Index Only Scan using"}
    plan = counting.plan(usher.store.database)
    assert f"{only[usher.settings.database_scheme]} outbox_counts" in plan
    behind = [one for one in statements if "audit.sequence >=" in one.text]
    assert len(behind) == SHARDS
    assert all("LIMIT" in one.text for one in behind)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in one batch"])
def test_a_login_writes_no_column_that_stays_as_it_is(usher: App, together: bool) -> None:
    """An index of a column that a statement names is written, whether the value differs or not."""
    people = [account(), account()]
    deliver(usher, [signed("signup", person) for person in people])
    logins = [signed("login", person, at=LATER) for person in people]
    with executed(usher.store.database) as statements:
        for batch in [logins] if together else [[login] for login in logins]:
            deliver(usher, batch)
    changes = [
        one.text.partition("DO UPDATE SET ")[2]
        for one in statements
        if one.text.startswith("INSERT INTO users")
    ]
    assert len(changes) == (1 if together else 2)
    for change in changes:
        changed = {part.partition(" = ")[0].strip(' "') for part in change.split(",")}
        assert "last_seen_at" in changed
        assert not changed & {"id", "instance_id", "email_key", "status", "provider", "created_at"}


def test_a_batch_of_different_changes_writes_each_of_them(usher: App) -> None:
    """One statement names the columns of all; who differs in fewer keeps the others."""
    ada, bob = account(email="ada@example.com"), account(email="bob@example.com")
    deliver(usher, [signed("signup", ada), signed("signup", bob)])
    moved = replace(ada, email="ada@example.org")
    deliver(usher, [signed("usermodified", moved, at=LATER), signed("login", bob, at=LATER)])
    users = {user.email: user for user in usher.store.users.page().items}
    assert sorted(users) == ["ada@example.org", "bob@example.com"]
    assert users["ada@example.org"].last_seen_at == NOON
    assert users["bob@example.com"].last_seen_at == LATER


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), (False, 0), (0.0, False)])
def test_what_only_python_takes_for_equal_is_written(
    usher: App, before: object, after: object
) -> None:
    """JSON's 1 and true are two values; 1.0 comes as 1, as Go writes it."""
    ada = account(user_metadata={"n": before})
    deliver(usher, [signed("signup", ada)])
    moved = replace(ada, user_metadata={"n": after})
    deliver(usher, [signed("usermodified", moved, at=LATER)])
    (found,) = usher.store.users.page().items
    kind = int if type(after) is float else type(after)
    assert (found.user_metadata["n"], type(found.user_metadata["n"])) == (after, kind)


def test_the_compiled_statements_are_those_of_the_tables() -> None:
    """`python -m usher.core.store.compile_statements` writes them anew."""
    assert compile_statements.FILE.read_text() == compile_statements.source()
