"""Handlers of a made-up site, for tests of the fixtures that projects have."""

from __future__ import annotations

from usher import Change, Write, after

away: list[str] = []
"""Addresses of people about whom a system of the site does not answer."""


@after("role.granted")
async def greet(change: Change) -> None:
    """Welcome somebody to a role."""


@after("user.confirmed")
def open_account(change: Change) -> Write:
    """Write a number back, and give a role."""
    if change.user.email in away:
        raise ConnectionError("nobody answers")
    return Write(app_metadata={"customer": f"cus_{change.user.email}"}, grant=["customer"])


@after("user.changed")
def grasp(change: Change) -> Write | None:
    """Give a role that no handler may give, to people who ask for it."""
    return Write(grant=["admin"]) if change.user.user_metadata.get("asks") else None


@after("user.deleted")  # type: ignore[type-var]
def forget(change: Change) -> str:
    """Return what is no ``Write``, as somebody may who runs no type checker."""
    return "forgotten"
