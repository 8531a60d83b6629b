"""Counting: the parts of a policy that are counted, and the uses that a decision makes. Pure.

A policy decides about one applicant alone, so ``Counts`` tells it what codes and quotas say
(``usher.core.domain.book`` works that out).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from usher.core.domain.codes import Code, CodeState
from usher.core.domain.quotas import Place, Quota


class Counting(Struct, frozen=True, gc=False):
    """The parts of a policy that need the store.

    Attributes:
        code_key: the key of ``user_metadata`` that may hold an invitation code; empty: none does.
        per_domain: how many people of one domain may sign up; None: as many as want to.
    """

    code_key: str = ""
    per_domain: Quota | None = None


class Counts(Struct, frozen=True, gc=False):
    """The word of codes and quotas on one event.

    Attributes:
        code: the code that the person gave, if there is such a one.
        state: of what they gave; None: they gave nothing.
        place: where the person is counted; None: no quota counts.
        full: whether no place is left there.
    """

    code: Code | None = None
    state: CodeState | None = None
    place: Place | None = None
    full: bool = False


class Uses(Struct, frozen=True, gc=False):
    """The things that a decision uses up: a use of a code, a place in a window, or both."""

    code: Code | None = None
    place: Place | None = None


NOTHING: Final = Counts()
"""For events that nothing is counted for."""
