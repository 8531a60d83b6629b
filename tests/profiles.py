"""Hypothesis: how many examples, and whether always the same.

``default`` tries the same examples each time, so that a run says something about the change and
not about luck, and a failure in CI is everybody's. ``thorough`` tries ten times as many, others
each time: ``HYPOTHESIS_PROFILE=thorough make test-all ARGS=tests/domain``, or
``--hypothesis-profile=thorough``. Neither has a deadline: the machine may be busy.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

DEFAULT_EXAMPLES: Final = 50
THOROUGH_EXAMPLES: Final = 10 * DEFAULT_EXAMPLES


def register() -> None:
    """Make both known, and take the one that ``HYPOTHESIS_PROFILE`` names."""
    settings.register_profile(
        "default", max_examples=DEFAULT_EXAMPLES, derandomize=True, deadline=None, database=None
    )
    settings.register_profile(
        "thorough", max_examples=THOROUGH_EXAMPLES, deadline=None, print_blob=True
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(usual: int) -> int:
    """As many as a test wants by default, and as many times more as the profile does."""
    assert settings.default is not None
    return max(1, usual * settings.default.max_examples // DEFAULT_EXAMPLES)
