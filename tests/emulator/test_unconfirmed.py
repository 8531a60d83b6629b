"""Pending records and Identity as it is: rolled back, unconfirmed, confirmed late."""

from __future__ import annotations

from uuid import UUID

from tests.emulator.pushes_support import Together


def pending(site: Together) -> list[str]:
    """The addresses of pending records."""
    return [user["email"] for user in site.api("GET", "/users?status=pending")["users"]]


def maintain(site: Together, **later: float) -> None:
    """Time passes, and maintenance does all that there is to do."""
    site.clock.advance(**later)
    while site.app.maintenance.step():
        pass


def test_a_signup_that_identity_rolled_back_goes_and_can_be_made_again(site: Together) -> None:
    """The second is another account, with another id, and is nobody's ghost."""
    rule = {"fault": "rollback", "event": "validate", "count": 1}
    assert site.world.call("PUT", "/_dev/faults", {"rules": [rule]}).status == 200
    assert site.world.sign_up("bea@example.com").status == 500
    assert pending(site) == ["bea@example.com"]
    maintain(site, days=1)
    assert pending(site) == []
    again = site.member("bea@example.com")
    maintain(site, days=400)
    assert site.api("GET", f"/users/{again}")["status"] == "active"


def test_whoever_confirms_late_comes_as_new(site: Together) -> None:
    """The record went with the month; a second mail brings the same account in."""
    waits = site.world.sign_up("bea@example.com").json["id"]
    maintain(site, days=29)
    assert pending(site) == ["bea@example.com"]
    maintain(site, days=1)
    assert site.app.store.users.look_up(UUID(waits)) is None
    assert site.world.sign_up("bea@example.com").json["id"] == waits
    site.clock.advance(seconds=1)
    assert site.world.confirm().status == 200
    user = site.api("GET", f"/users/{waits}")
    assert (user["status"], user["roles"]) == ("active", ["member", "staff"])
