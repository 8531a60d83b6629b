"""Ids that people type."""

from __future__ import annotations

from uuid import UUID

from usher.core.errors import UsherError
from usher.core.texts import read_uuid


def read_id(text: str, noun: str, missing: type[UsherError]) -> UUID:
    """The id of a thing that ``usher NOUNs list`` shows.

    Raises:
        UsherError: of the type ``missing``: it is no UUID.
    """
    found = read_uuid(text)
    if found is None:
        raise missing(f"A {noun}'s id is a UUID, as `usher {noun}s list` shows: {text[:40]!r}.")
    return found
