"""Invitation codes and tallies as rows, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.store.store_support import deliver, execute, rows
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.domain.codes import CodeState, NewCodes, digest_of
from usher.core.domain.records import THE_SITE
from usher.core.errors import (
    CodeInvalidError,
    CodeNotFoundError,
    CodeTakenError,
    NotStorableError,
)
from usher.core.settings import Settings
from usher.core.store.filters import AuditFilters
from usher.core.store.history import History

DAY = timedelta(days=1)


def test_a_code_is_kept_as_its_digest_alone(usher: App) -> None:
    """Its spelling is nowhere in the database."""
    ((text, code),) = usher.codes.make(NewCodes(label="for Ada"), "cli:ada")
    assert code.digest == digest_of(text)
    kept = rows(usher.store.database, "SELECT * FROM codes")
    assert len(kept) == 1
    assert text not in str(kept)
    assert text.replace("-", "") not in str(kept)


def test_codes_are_made_listed_and_found_as_they_were_wanted(usher: App, clock: Clock) -> None:
    """Thirty for a class, all alike, and all different."""
    wanted = NewCodes(30, 2, ("pupil",), NOON + 90 * DAY, NOON + 7 * DAY, "Class 7b")
    made = usher.codes.make(wanted, "cli:ada")
    assert len({text for text, _ in made}) == len({code.digest for _, code in made}) == 30
    clock.advance(seconds=1)
    usher.codes.make(NewCodes(), "user:1")
    first = usher.codes.page(limit=20)
    second = usher.codes.page(limit=20, cursor=first.next_cursor)
    assert first.items[0].created_by == "user:1"
    listed = [*first.items[1:], *second.items]
    assert sorted(code.id for code in listed) == sorted(code.id for _, code in made)
    assert second.next_cursor is None
    code = made[3][1]
    assert usher.codes.get(code.id) == code
    assert (code.allowed, code.roles, code.label) == (2, ("pupil",), "Class 7b")


def test_a_code_of_ones_own_is_there_once(usher: App) -> None:
    """Also under another spelling, and after it was revoked."""
    ((text, code),) = usher.codes.make(NewCodes(spelling="Classes of 2026"), "cli:ada")
    assert text == "Classes of 2026"
    usher.codes.revoke(code.id, "cli:ada")
    with pytest.raises(CodeTakenError):
        usher.codes.make(NewCodes(spelling="c1asses-0f-2026"), "cli:ada")
    with pytest.raises(CodeInvalidError):
        usher.codes.make(NewCodes(spelling="short"), "cli:ada")
    assert len(usher.codes.page().items) == 1


def test_a_revoked_code_is_revoked_once(usher: App, clock: Clock) -> None:
    """The time is that of the first."""
    ((_, code),) = usher.codes.make(NewCodes(), "cli:ada")
    revoked = usher.codes.revoke(code.id, "cli:ada")
    assert revoked == replace(code, revoked_at=NOON)
    clock.advance(days=1)
    assert usher.codes.revoke(code.id, "cli:eve") == revoked
    assert usher.codes.get(code.id).state(NOON.timestamp()) is CodeState.REVOKED
    for ask in (usher.codes.get, usher.codes.uses, lambda one: usher.codes.revoke(one, "x")):
        with pytest.raises(CodeNotFoundError):
            ask(uuid4())


def test_the_audit_tells_who_made_and_who_revoked_codes(usher: App) -> None:
    """As entries of the site, once an instance is known; no exported act is made of them."""
    usher.codes.make(NewCodes(), "cli:before")
    deliver(usher, [signed("login", account())])
    ((_, code),) = usher.codes.make(NewCodes(roles=("pupil",)), "cli:ada")
    usher.codes.revoke(code.id, "cli:eve", "lost")
    usher.codes.revoke(code.id, "cli:again")
    entries = usher.store.users.audit_page(AuditFilters(user_id=THE_SITE)).items
    assert [(each.action, each.actor, each.reason) for each in entries] == [
        ("code.revoked", "cli:eve", "lost"),
        ("codes.made", "cli:ada", ""),
    ]
    assert entries[1].after["codes"]["gives"] == ["pupil"]
    assert entries[1].after["codes"]["ids"] == [str(code.id)]
    assert list(History(usher.store.database).acts(None, None)) == []


def test_no_row_says_that_a_code_was_used_more_often_than_it_may(usher: App) -> None:
    """The database itself refuses it, whatever a program believes."""
    usher.codes.make(NewCodes(), "cli:ada")
    database = usher.store.database
    execute(database, "UPDATE codes SET used = used + 1")
    with pytest.raises(NotStorableError):
        execute(database, "UPDATE codes SET used = used + 1")
    assert rows(database, "SELECT used FROM codes") == [(1,)]


# --- used by events ------------------------------------------------------------------------------


@pytest.fixture
def invited(
    make_settings: Callable[..., Settings], database_url: str, clock: Clock, tmp_path: Path
) -> Iterator[App]:
    """A site that codes open."""
    policy = tmp_path / "codes.toml"
    policy.write_text(
        '[admission]\ndefault = "deny"\ninvitation_code = "code"\n'
        'allow_email_domains = ["example.com"]\nsignups_per_domain = "1/h"\n'
    )
    app = App(make_settings(database_url=database_url, policy=str(policy)), clock)
    yield app
    app.close()


def test_the_accounts_that_used_a_code_are_found(invited: App) -> None:
    """Their ids, in order; also after one of them was deleted."""
    ((text, code),) = invited.codes.make(NewCodes(allowed=2), "cli:ada")
    ids: list[UUID] = []
    for number in range(2):
        who = account(email=f"p{number}@school.example", user_metadata={"code": text})
        ids.append(who.id)
        deliver(invited, [signed("signup", who)])
        deliver(invited, [signed("userdeleted", who, at=NOON + timedelta(seconds=9))])
    uses = invited.codes.uses(code.id)
    assert {each.user_id for each in uses.items} == set(ids)
    assert uses.items[0].used_at == NOON
    assert invited.codes.get(code.id).used == 2
    page = invited.codes.uses(code.id, limit=1)
    rest = invited.codes.uses(code.id, limit=1, cursor=page.next_cursor)
    assert [*page.items, *rest.items] == list(uses.items)


def test_tallies_of_ended_windows_are_removed(invited: App) -> None:
    """Step by step, and none of a window that may still be asked for."""
    hour = timedelta(hours=1)
    for number in range(3):
        who = account(email=f"p{number}@d{number}.example", created_at=NOON - number * hour)
        deliver(invited, [signed("validate", replace(who, email=f"x{number}@example.com"))])
    assert len(rows(invited.store.database, "SELECT * FROM tallies")) == 3
    assert invited.codes.prune_tallies(NOON, step=1) == 1
    assert invited.codes.prune_tallies(NOON, step=9) == 0
    assert invited.codes.prune_tallies(NOON + 2 * hour, step=9) == 2
    assert rows(invited.store.database, "SELECT * FROM tallies") == []
