"""The migration of address keys to A-labels, with data, on both databases."""

from __future__ import annotations

from uuid import UUID

from msgspec.structs import replace

from tests.store.store_support import deliver, execute
from tests.store.test_users import user
from tests.support import account, signed
from usher import migrations
from usher.core.app import App
from usher.core.domain.records import User
from usher.core.store.filters import Sort, UserFilters

MANY = 1_010
"""More than one step of the migration."""


def old(number: int, email: str, *proven: str) -> User:
    """A user as an older version has written them: keys in lower case, as typed."""
    made = user(email, minutes=number)
    return replace(
        made, id=UUID(int=number), email_key=email.lower(), proven=frozenset(proven), version=3
    )


def test_b1_keys_and_proofs_are_written_anew(usher: App) -> None:
    """Those that change, and those only; a second run finds nothing to do."""
    people = [
        old(1, "Ada@MÜNCHEN.example", "ada@münchen.example", "ada@old-ü.example"),
        old(2, "ΑΔΑ@ΕΛΛΆΣ.gr", "ΑΔΑ@ΕΛΛΆΣ.gr".lower()),
        old(3, "bob@example.com", "bob@straße.example", "bob@example.com"),
        old(4, "a@☃.example", "a@☃.example"),
        old(5, "", ""),
        *(old(number, f"u{number}@ü.example") for number in range(6, MANY)),
        old(MANY, "zoe@xn--mnchen-3ya.example"),
        old(MANY + 1, "zoë@Münster.example", "zoë@münster.example"),
    ]
    database = usher.store.database
    with database.write() as connection:
        after = {(one.instance_id, one.id): one for one in people}
        usher.store.users.store(connection, {}, after, [])
    for _ in range(2):
        execute(database, "UPDATE alembic_version SET version_num = '0005'")
        migrations.upgrade(database, to="0006")
        execute(database, f"UPDATE alembic_version SET version_num = '{migrations.newest()}'")
        changed = {
            1: ("ada@xn--mnchen-3ya.example",
                {"ada@xn--mnchen-3ya.example", "ada@xn--old--3ra.example"}),
            2: ("αδα@xn--hxarsa5b.gr", {"αδα@xn--hxarsa5b.gr"}),
            3: ("bob@example.com", {"bob@example.com", "bob@xn--strae-oqa.example"}),
            MANY + 1: ("zoë@xn--mnster-3ya.example", {"zoë@xn--mnster-3ya.example"}),
        }  # fmt: skip
        changed |= {number: (f"u{number}@xn--tda.example", set[str]()) for number in range(6, MANY)}
        for before in people:
            found = usher.store.users.get(before.id)
            key, proven = changed.get(before.id.int, (before.email_key, set(before.proven)))
            assert found == replace(before, email_key=key, proven=frozenset(proven))


def test_b1_a_search_finds_both_spellings(usher: App) -> None:
    """By the whole label in either spelling, and by what follows it."""
    emails = ("ada@münchen.example", "ada@xn--mnchen-3ya.example.com", "ada@munchen.example")
    deliver(usher, [signed("signup", account(email=email)) for email in emails])
    for prefix, count in {
        "ada@münchen.ex": 2, "ada@münchen": 2, "ADA@MÜNCHEN.example.": 1, "ada@xn--mnch": 2,
        "ada@": 3, "ada@m": 1, "ada@münch": 0,
    }.items():  # fmt: skip
        for sort in Sort:
            page = usher.store.users.page(UserFilters(email_prefix=prefix), sort=sort)
            assert len(page.items) == count, (prefix, sort)
