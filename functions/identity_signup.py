"""``/.netlify/functions/identity-signup``: takes only ``signup``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usher.core.domain.events import EventName
from usher.functions._shared.identity_hook import IdentityHook

hook = IdentityHook(EventName.SIGNUP)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one delivery from Identity."""
    return hook.handle(event)
