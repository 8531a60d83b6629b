"""The findings of ``usher doctor``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``remedy`` says what to do where it is not well."""

    name: str
    well: bool
    text: str
    remedy: str = ""
