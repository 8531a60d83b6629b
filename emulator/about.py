"""``GET /health`` and ``GET /settings``. Source: GoTrue ``api/api.go``, ``api/settings.go``."""

from __future__ import annotations

from typing import Final

from usher.emulator.call import Call, answer
from usher.emulator.instance import Instance
from usher.functions._shared.http import Response

VERSION: Final = "usher-emulator"


def health(_identity: Instance, _call: Call) -> Response:
    """The server is up."""
    return answer(
        {
            "description": "GoTrue is a user registration and authentication API",
            "name": "GoTrue",
            "version": VERSION,
        }
    )


def settings(identity: Instance, _call: Call) -> Response:
    """The facts that a login form needs."""
    options = identity.options
    external = {
        name: name in options.providers
        for name in ("bitbucket", "github", "gitlab", "google", "facebook")
    }
    return answer(
        {
            "external": external | {"email": True, "saml": False},
            "external_labels": {},
            "disable_signup": options.disable_signup,
            "autoconfirm": options.autoconfirm,
        }
    )
