"""The site's own code, a policy or handlers, loaded by the build as the functions will."""

from __future__ import annotations

import json

from usher.core.errors import UsherError
from usher.core.outbox.handlers import load_handlers
from usher.core.policy_source import PolicyInForce


def problem(asked: str) -> str:
    """Load it, and return what is wrong with it; nothing, where the functions can use it.

    Args:
        asked: JSON of ``policy`` and ``handlers``, as the settings have them.
    """
    wanted = json.loads(asked)
    try:
        _ = PolicyInForce(wanted["policy"]).current
        load_handlers(wanted["handlers"])
    except UsherError as error:
        return str(error)
    return ""
