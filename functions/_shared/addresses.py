"""The paths of the functions; a runtime knows them without loading any function."""

from __future__ import annotations

from typing import Final

FUNCTIONS_PREFIX: Final = "/.netlify/functions/"
API_BASES: Final = (FUNCTIONS_PREFIX + "api", "/api")
DOOR_PATHS: Final = tuple(base + "/door" for base in API_BASES)
HOOKS: Final = (
    "identity",
    "identity-validate",
    "identity-signup",
    "identity-login",
    "identity-usermodified",
    "identity-userdeleted",
)
"""Hyphens in the URL, underscores in the file, as Netlify does."""
