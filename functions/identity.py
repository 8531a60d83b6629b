"""``/.netlify/functions/identity``: takes any event, by the name in its signed body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usher.functions._shared.identity_hook import IdentityHook

hook = IdentityHook()


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one delivery from Identity."""
    return hook.handle(event)
