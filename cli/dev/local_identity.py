"""The local Identity of ``usher dev``, behind the same port and with the same secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from usher.cli.environment import DEV_FOLDER
from usher.core.secret_files import SUFFIX
from usher.core.settings import PREFIX, Settings
from usher.emulator.options import MOUNT, Options, Webhook

if TYPE_CHECKING:
    from usher.emulator.identity import Emulator

HOOK: Final = "/.netlify/functions/identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that the command hands to each server process.

    Attributes:
        local: start a local Identity.
        jwt_secret: signs access tokens where the settings name no secret.
        operator_token: opens the admin endpoints of the local Identity to Usher.
    """

    port: int
    local: bool
    autoconfirm: bool
    invite_only: bool
    jwt_secret: str
    operator_token: str

    @classmethod
    def from_json(cls, text: str) -> Asked:
        """Read the text of ``to_json``."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Return a text for the environment."""
        return json.dumps(asdict(self))

    @property
    def site(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def identity_url(self) -> str:
        """The address of the local Identity."""
        return self.site + MOUNT

    def variables(self, found: Mapping[str, str]) -> dict[str, str]:
        """Return the settings with which Usher knows the local Identity."""
        secret, token = PREFIX + "JWT_SECRET", PREFIX + "IDENTITY_ADMIN_TOKEN"
        known = bool(found.get(secret + SUFFIX))
        return ({} if known else {secret: found.get(secret) or self.jwt_secret}) | {
            PREFIX + "IDENTITY_URL": self.identity_url,
            token: self.operator_token,
            token + SUFFIX: "",
        }


def local_identity(settings: Settings, asked: Asked) -> Emulator:
    """Build the local Identity; its accounts are kept in ``.usher/identity.db``.

    Args:
        settings: with ``jwt_secret``. The newest webhook secret signs events.
        asked: the command's options.
    """
    from usher.emulator.identity import Emulator  # noqa: PLC0415 - for the server's process alone

    if settings.jwt_secret is None:
        raise AssertionError("unreachable")
    return Emulator(
        Options(
            database=DEV_FOLDER / "identity.db",
            jwt_secret=settings.jwt_secret,
            webhook=Webhook(url=HOOK, secret=settings.webhook_secrets[0]),
            operator_token=asked.operator_token,
            site_url=asked.site,
            autoconfirm=asked.autoconfirm,
            disable_signup=asked.invite_only,
        )
    )
