"""The keys of a policy.toml that are about counting: invitation codes and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from usher.core.bounds import MAX_CODE_KEY_CHARACTERS
from usher.core.domain.codes import STAND_INS, CodeState
from usher.core.domain.counting import Counting
from usher.core.domain.events import is_text
from usher.core.domain.quotas import read_quota
from usher.core.errors import PolicyError

COUNTED_KEYS: Final = ("invitation_code", "signups_per_domain")
"""Of the table ``[admission]``."""


def read_counting(table: Mapping[str, Any], where: str) -> Counting | None:
    """The counting that a policy asks for; None: it counts nothing.

    Args:
        table: ``[admission]``.

    Raises:
        PolicyError
    """
    if not any(key in table for key in COUNTED_KEYS):
        return None
    key = table.get("invitation_code", "")
    if "invitation_code" in table and not _is_key(key):
        raise PolicyError(
            f"{where} invitation_code",
            'must name the key of user_metadata that may hold a code, such as "code"',
        )
    quota = None
    if "signups_per_domain" in table:
        quota = read_quota(table["signups_per_domain"])
        if quota is None:
            raise PolicyError(
                f"{where} signups_per_domain",
                'must be a number of people a minute, hour or day, such as "20/h" (or /min, /d)',
            )
    return Counting(key, quota)


def read_test_code(table: Mapping[str, Any], where: str) -> CodeState | None:
    """The code that the person of a test gives; None: they give none.

    Args:
        table: one ``[[test]]``.

    Raises:
        PolicyError
    """
    code = table.get("code")
    if code is None:
        return None
    if not isinstance(code, str) or code not in STAND_INS:
        raise PolicyError(f"{where} code", 'must be "valid" or "invalid"')
    return STAND_INS[code]


def _is_key(value: object) -> bool:
    if not isinstance(value, str) or not is_text(value):
        return False
    return 0 < len(value.strip()) <= len(value) <= MAX_CODE_KEY_CHARACTERS
