"""The local Identity of ``usher dev``: behind the same port, with the same secrets."""

from __future__ import annotations

import json
from typing import Final

from cli.environment import DEV_FOLDER
from core.settings import PREFIX, Settings
from emulator.identity import Emulator
from emulator.options import MOUNT, Options, Webhook

OPTIONS_VARIABLE: Final = "LOCAL_IDENTITY_OF_USHER_DEV"
"""How the command tells its worker process what was asked for; no setting of anybody's."""
HOOK: Final = "/.netlify/functions/identity"


def identity_variables(
    port: int, *, jwt_secret: str, operator_token: str, autoconfirm: bool, invite_only: bool
) -> dict[str, str]:
    """What the worker needs in its environment.

    Args:
        operator_token: opens the admin endpoints of the local Identity to Usher.
    """
    site = f"http://127.0.0.1:{port}"
    asked = {"site_url": site, "autoconfirm": autoconfirm, "disable_signup": invite_only}
    return {
        OPTIONS_VARIABLE: json.dumps(asked),
        PREFIX + "JWT_SECRET": jwt_secret,
        PREFIX + "IDENTITY_URL": site + MOUNT,
        PREFIX + "IDENTITY_ADMIN_TOKEN": operator_token,
    }


def local_identity(settings: Settings, asked: str) -> Emulator:
    """Identity as it was asked for; its accounts are kept in ``.usher/identity.db``.

    Args:
        settings: with ``jwt_secret``; events are signed with the newest webhook secret.
    """
    if settings.jwt_secret is None:
        raise AssertionError("unreachable")
    return Emulator(
        Options(
            database=DEV_FOLDER / "identity.db",
            jwt_secret=settings.jwt_secret,
            webhook=Webhook(url=HOOK, secret=settings.webhook_secrets[0]),
            operator_token=settings.identity_admin_token or "",
            **json.loads(asked),
        )
    )
