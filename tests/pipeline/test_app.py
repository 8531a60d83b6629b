"""What the composition root makes of the settings."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support import SECRET
from usher.core.app import App
from usher.core.errors import SettingsError
from usher.core.settings import Settings

URL = "https://site.example/.netlify/identity"
OPTIONAL = {
    "USHER_IDENTITY_URL": URL,
    "USHER_IDENTITY_ADMIN_TOKEN": "operator",
    "USHER_JWT_SECRET": SECRET.decode(),
    "USHER_BRIDGE_URL": "https://site.example/.netlify/functions/usher-bridge",
    "USHER_BRIDGE_SECRET": SECRET.decode(),
}


@pytest.mark.parametrize("chosen", list(product([False, True], repeat=len(OPTIONAL))))
def test_changes_are_marked_for_identity_exactly_where_there_is_a_way_to_it(
    chosen: tuple[bool, ...],
) -> None:
    """Nothing is pending that nobody could ever push, and nothing is forgotten that could be."""
    environ = {"USHER_WEBHOOK_SECRETS": SECRET.decode()}
    environ |= {
        name: value for (name, value), used in zip(OPTIONAL.items(), chosen, strict=True) if used
    }
    try:
        settings = Settings.from_env(environ)
    except SettingsError:
        assert ("USHER_BRIDGE_URL" in environ) is not ("USHER_BRIDGE_SECRET" in environ)
        return
    assert settings.tells_identity is bool(App(settings).admin_ways)
