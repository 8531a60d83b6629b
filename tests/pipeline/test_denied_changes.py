"""Changes for events that were refused, where a site asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from tests.store.store_support import checked, deliver
from tests.support import Clock, Signed, account, signed
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change as By
from usher.core.domain.outbox import Kind, Person
from usher.core.domain.records import AuditEntry, Outcome
from usher.core.domain.reply import NO_CONTENT
from usher.core.settings import Settings
from usher.core.store.feed import BEGINNING

Make = Callable[..., Settings]
ADDRESS = "blocked.canary@mailinator.com"


@pytest.fixture
def site(database_url: str, make_settings: Make, clock: Clock) -> Iterator[App]:
    """A site that asks for them."""
    app = App(make_settings(database_url=database_url, denied_changes=True), clock)
    yield app
    app.close()


def denied(app: App) -> list[AuditEntry]:
    """The entries of refusals, the oldest first."""
    entries = app.store.users.audit_page(limit=50).items
    return [each for each in reversed(entries) if each.action == "event.denied"]


def blocked() -> Signed:
    """A signup that the policy refuses."""
    return signed("signup", account(email=ADDRESS))


def test_a_refused_signup_makes_one_change_without_an_address(site: App) -> None:
    """It tells event, rule and delivery; a retry of the delivery makes no other."""
    delivery = blocked()
    deliver(site, [delivery, delivery])
    deliver(site, [delivery])
    [entry] = denied(site)
    [kept] = site.store.ledger.page().items
    assert (kept.outcome, kept.id) == (Outcome.DENIED, entry.delivery_id)
    assert (entry.actor, entry.before) == ("identity", {})
    assert entry.after == {"event": "signup", "rule": kept.reasons[0].rule}
    assert "canary" not in repr(entry)
    [change] = site.feed.page(BEGINNING, frozenset({"event.*"}), 10, full=True).changes
    assert (change.kind, change.delivery_id) == (Kind.EVENT_DENIED, kept.id)
    assert kept.user_id is not None
    assert change.user == Person(id=kept.user_id, status="")


def test_a_login_of_somebody_suspended_makes_one_too(site: App, clock: Clock) -> None:
    """The change has the person on record; the record has it not as a change of its own."""
    who = account(email="ada@a.example")
    deliver(site, [signed("signup", who)])
    users = site.store.users
    users.change(users.get(who.id), administration.suspend(), By("cli:ada"))
    before = users.get(who.id)
    deliver(site, [signed("login", who, at=clock())])
    [entry] = denied(site)
    assert entry.after == {"event": "login", "rule": "user.suspended"}
    assert users.get(who.id) == before
    deliver(site, [signed("userdeleted", who, at=clock())])
    [erased] = denied(site)
    assert erased.after == {}


def test_where_nobody_was_turned_away_there_is_none(
    site: App, make_settings: Make, clock: Clock
) -> None:
    """Not in observe mode, not for an answer that was given in an outage, and not unasked."""
    database_url = site.settings.database_url
    for options in ({"mode": "observe", "denied_changes": True}, {}):
        other = App(make_settings(database_url=database_url, **options), clock)
        deliver(other, [blocked()])
        other.close()
    held = [replace(each, given=NO_CONTENT) for each in checked(site, [blocked()])]
    site.webhooks.apply(held)
    assert [one.outcome for one in site.store.ledger.page().items] == [Outcome.DENIED] * 3
    assert denied(site) == []
