"""The variables that tell the functions of a site, and its build, the address of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from usher.core.settings import PREFIX

DATABASE_URL: Final = PREFIX + "DATABASE_URL"
NAMES: Final = (DATABASE_URL, "NETLIFY_DATABASE_URL", "NETLIFY_DB_URL")
"""Ours, then Netlify's for the site's own database; the first one that is not blank counts."""


def told_by(environment: Mapping[str, str]) -> str:
    """The address as it is told; empty where none is."""
    return next((environment[name] for name in NAMES if environment.get(name, "").strip()), "")
