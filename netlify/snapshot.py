"""What is imported for a snapshot of Python's memory. Nothing secret, and nothing of a site's."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Final

from usher.server import routes

FOR_EVENTS: Final = (
    "usher.core.policy_file",
    "usher.core.store.counters",
    "usher.core.store.database",
    "usher.core.store.instances",
    "usher.core.store.ledger",
    "usher.core.users",
    "usher.netlify.entry",
    "usher.netlify.wires",
)


def prepare(name: str) -> None:
    """Import what the function of this name needs."""
    for module in FOR_EVENTS:
        import_module(module)
    if name == "identity":
        for path in routes.HOOK_PATHS:
            routes.find_hook(path)
    else:
        routes.load()
        find_all()
    gc.collect()
    gc.freeze()


def find_all() -> None:
    """Load every operation of the API."""
    from usher.functions.api_methods import openapi  # noqa: F401, PLC0415
