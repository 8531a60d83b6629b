"""A follower with the shadow policy, in this process."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from usher.core.app import App
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Applicant, Verdict
from usher.core.shadow import Shadow


def follower(
    app: App,
    *,
    lease: UUID | None = None,
    ended: str = "",
    rules: Callable[[Applicant], Verdict] | None = None,
) -> Shadow:
    """The follower of one server; ``rules`` take the place of the shadow policy's file."""
    found = app.shadow(lease or uuid4(), ended, lambda: None)
    if rules is not None:
        found._shadow._source = "rules:decide"
        found._shadow._policy = CallablePolicy("rules:decide", rules)
    return found


def follow(shadow: Shadow) -> None:
    """Until there is nothing new."""
    while shadow.step():
        pass
