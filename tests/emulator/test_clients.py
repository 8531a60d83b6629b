"""The clients that sites use, as npm has them, unmodified, over HTTP against the emulator.

gotrue-js and @netlify/identity run in Node; their own code decides what they send and what they
accept.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.world import OPERATOR, World
from tests.npm import installed
from usher.emulator.server import serving

Make = Callable[..., World]
Walk = Callable[..., dict[str, Any]]
IDENTITY = pytest.mark.parametrize(
    "package", ["@netlify/identity", "@netlify/identity-2"], ids=["1.x", "2.x"]
)
CLIENTS = Path(__file__).parent / "clients"


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the packages installed."""
    return installed(CLIENTS, tmp_path_factory.getbasetemp().parent)


@pytest.fixture
def walk(make: Make, clients: Path) -> Walk:
    """Run one script against an emulator of its own; gives its report and the events sent."""

    def run(script: str, package: str = "") -> dict[str, Any]:
        world = make(lambda *_: 204, clock=lambda: datetime.now(UTC))
        with serving(world.emulator.handle) as site:
            done = subprocess.run(
                ["node", script, site, OPERATOR, package],
                check=False,
                cwd=clients,
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told | {"sent": world.events}

    return run


def test_gotrue_js(walk: Walk) -> None:
    """Signing up, logging in, refreshing, changing, moving, recovering, providers, leaving."""
    wrong = "invalid_grant: No user found with that email, or password invalid."
    assert walk("gotrue.js") == {
        "settings": [False, False, True],
        "signup": ["ada@example.com", None, "Ada Lövelace"],
        "too early": [400, "invalid_grant: Email not confirmed"],
        "confirm": ["ada@example.com", True],
        "login": ["ada@example.com", "email", "bearer"],
        "wrong": [400, wrong],
        "refresh": [True, True],
        "update": {"colour": "blue"},
        "pending": ["ada@example.com", "lovelace@example.com"],
        "moved": "lovelace@example.com",
        "recovered": "lovelace@example.com",
        "nobody": {},
        "external": ["grace@example.com", "github", "Grace"],
        "not admin": [401, "User not allowed"],
        "logout": None,
        "sent": ["validate", "signup", "login", "login", "validate", "signup"],
    }


def test_gotrue_js_as_an_administrator(walk: Walk) -> None:
    """Its whole admin object, and an invitation accepted."""
    assert walk("admin.js") == {
        "create": ["ada@example.com", True],
        "update": {"provider": "email", "roles": ["editor"]},
        "get": ["editor"],
        "list": ["ada@example.com", "boss@example.com"],
        "delete": {},
        "invite": ["eve@example.com", True, "Eve"],
        "sent": ["login", "usermodified", "userdeleted", "validate", "signup"],
    }


@IDENTITY
def test_netlify_identity_in_a_page(walk: Walk, package: str) -> None:
    """Every kind of link, cookies, events, a provider."""
    told = walk("browser.js", package)
    events = told.pop("events")
    assert told == {
        "settings": {
            "google": True,
            "github": True,
            "gitlab": True,
            "bitbucket": True,
            "facebook": True,
            "email": True,
        },
        "signup": ["ada@example.com", None, "Ada"],
        "confirmed": ["confirmation", "ada@example.com", ""],
        "cookies": ["nf_jwt", "nf_refresh"],
        "user": ["ada@example.com", True],
        "name": "Ada Lovelace",
        "moved": ["email_change", "lovelace@example.com", None],
        "logged out": [False, []],
        "recovery": "recovery",
        "external": ["oauth", "grace@example.com", "google", "Grace"],
        "sent": ["validate", "signup", "login", "login", "validate", "signup"],
    }
    assert {"login", "logout", "user_updated", "recovery"} <= set(events)


@IDENTITY
def test_netlify_identity_in_a_function(walk: Walk, package: str) -> None:
    """Its admin calls with the operator's token, and logins that set cookies."""
    assert walk("server.js", package) == {
        "create": ["ada@example.com", True, "editor", "Ada"],
        "update": [["editor", "member"], "email"],
        "get": ["editor", "member"],
        "list": ["bob@example.com"],
        "login": ["ada@example.com", ["nf_jwt", "nf_refresh"]],
        "me": "ada@example.com",
        "wrong": [400, "No user found with that email, or password invalid."],
        "signup": ["eve@example.com", None],
        "mail": True,
        "logout": [],
        "gone": [404, "User not found"],
        "sent": ["usermodified", "login", "validate", "userdeleted"],
    }
