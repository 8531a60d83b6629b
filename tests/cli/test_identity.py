"""Commands and Identity, which is the emulator over HTTP: what they tell it, what doctor says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.cli.test_doctor import bad, findings
from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World, world
from tests.stub import answering
from tests.support import free_port
from usher.emulator.server import serving


class Site:
    """The program and an Identity that it reaches."""

    def __init__(self, program: Program, identity: World, folder: Path) -> None:
        self.program = program
        self.identity = identity
        self.port = free_port()
        self._up = ExitStack()
        folder.mkdir(exist_ok=True)

    def start(self) -> None:
        """Identity is there."""
        self._up.enter_context(serving(self.identity.emulator.handle, self.port))

    def stop(self) -> None:
        """Identity is away."""
        self._up.close()

    def bob(self) -> str:
        """Somebody with an account there and a record here."""
        user_id = self.identity.member("bob@example.com")
        self.program.deliver("signup", "bob@example.com", user_id=UUID(user_id))
        answered = {"app_metadata": {"roles": ["member", "staff"]}}
        self.identity.admin("PUT", f"/admin/users/{user_id}", answered)
        return user_id

    def held(self, user_id: str) -> Any:
        """The ``app_metadata`` at Identity."""
        return self.identity.admin("GET", f"/admin/users/{user_id}").json.get("app_metadata")


@pytest.fixture
def site(on_both: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The program with the operator's token."""
    folder = tmp_path / "identity"
    folder.mkdir()
    with world(folder, clock=lambda: datetime.now(UTC)) as identity:
        found = Site(on_both, identity, folder)
        monkeypatch.setenv("USHER_IDENTITY_URL", f"http://127.0.0.1:{found.port}{MOUNT}")
        monkeypatch.setenv("USHER_IDENTITY_ADMIN_TOKEN", OPERATOR)
        found.start()
        yield found
        found.stop()


def test_a_grant_says_that_identity_knows(site: Site) -> None:
    """At once; so does a revocation."""
    user_id = site.bob()
    said = site.program("users", "grant", "bob@example.com", "editor").stdout
    assert "Roles: editor, member, staff\nIdentity: in step\n" in said
    assert site.held(user_id)["roles"] == ["editor", "member", "staff"]
    site.program("users", "revoke", "bob@example.com", "staff")
    assert site.held(user_id)["roles"] == ["editor", "member"]


def test_a_grant_says_that_identity_is_away_and_why(site: Site) -> None:
    """The role holds here; the exit code is that of something done."""
    site.bob()
    site.stop()
    said = site.program("users", "grant", "bob@example.com", "editor").stdout
    assert "Identity: pending (identity_unavailable: Identity could not be reached: " in said
    assert "The server tries again by itself." in said
    shown = site.program("users", "show", "bob@example.com").stdout
    assert "identity   pending (identity_unavailable" in shown
    as_json = site.program.json("users", "grant", "bob@example.com", "author")
    assert as_json["identity"] == "pending"


def test_a_deleted_user_is_deleted_at_identity(site: Site) -> None:
    """And a suspended one has no roles there."""
    user_id = site.bob()
    site.program("users", "suspend", "bob@example.com")
    assert site.held(user_id)["roles"] == []
    site.program("users", "delete", "bob@example.com", "--yes")
    assert site.identity.admin("GET", f"/admin/users/{user_id}").status == 404


def test_without_credentials_nothing_is_said_of_identity(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roles come with the next login."""
    user_id = site.bob()
    monkeypatch.delenv("USHER_IDENTITY_ADMIN_TOKEN")
    assert "Identity:" not in site.program("users", "grant", "bob@example.com", "x").stdout
    assert site.held(user_id)["roles"] == ["member", "staff"]
    assert "with the next login" in site.program("users", "show", "bob@example.com").stdout
    assert "with the next login" in findings(site.program)["identity"]["text"]


# --- doctor ---------------------------------------------------------------------------------------


def identity_lines(program: Program, code: int) -> list[str]:
    """What doctor says of Identity, a line for each kind of credentials, with its remedy."""
    return [
        f"{'ok' if each['well'] else 'BAD'} {each['text']} {each['remedy']}".strip()
        for each in program.json("doctor", code=code)
        if each["name"] == "identity"
    ]


@pytest.mark.parametrize(
    ("operator", "secret", "expected"),
    [
        (OPERATOR, JWT_SECRET.decode(), ["ok", "ok"]),
        (OPERATOR, None, ["ok"]),
        (None, JWT_SECRET.decode(), ["ok"]),
        ("wrong", JWT_SECRET.decode(), ["BAD", "ok"]),
        (OPERATOR, "w" * 20 + "another secret", ["ok", "BAD"]),
    ],
)
def test_doctor_says_which_credentials_identity_takes(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    operator: str | None,
    secret: str | None,
    expected: list[str],
) -> None:
    """Each by its setting, none by its value."""
    for name, value in (("IDENTITY_ADMIN_TOKEN", operator), ("JWT_SECRET", secret)):
        monkeypatch.delenv(f"USHER_{name}", raising=False)
        if value is not None:
            monkeypatch.setenv(f"USHER_{name}", value)
    lines = identity_lines(site.program, int("BAD" in expected))
    assert [line.split()[0] for line in lines] == expected
    named = ["USHER_IDENTITY_ADMIN_TOKEN"] * (operator is not None)
    named += ["USHER_JWT_SECRET"] * (secret is not None)
    assert all(name in line for name, line in zip(named, lines, strict=True))
    assert not any(value in str(lines) for value in (operator, secret) if value)


def test_doctor_says_that_identity_is_away(site: Site) -> None:
    """Once, whatever credentials there are."""
    site.stop()
    (line,) = identity_lines(site.program, 1)
    assert line.startswith("BAD Identity could not be reached: ")
    assert "USHER_IDENTITY_URL" in line


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (20, True), (90, False), (-90, False)])
def test_doctor_compares_the_clocks(
    site: Site, monkeypatch: pytest.MonkeyPatch, seconds: int, well: bool
) -> None:
    """By the Date of Identity's answer."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    with answering((200, {"Date": date}, b'{"users": []}')) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url)
        found = findings(site.program, 0 if well else 1)["skew"]
    assert found["well"] is well
    if not well:
        assert ("behind" if seconds > 0 else "ahead") in found["text"]
        assert "NTP" in found["remedy"]
    with answering((200, {"Date": "yesterday"}, b'{"users": []}')) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url)
        assert findings(site.program)["skew"]["well"]


def test_doctor_says_what_is_pending_since_when_and_why(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how to mend it, by the last error."""
    assert findings(site.program)["pushes"]["well"]
    site.bob()
    site.stop()
    site.program("users", "grant", "bob@example.com", "editor")
    found = bad(site.program)["pushes"]
    assert found["text"].startswith(f"pending for 1 user since {datetime.now(UTC):%Y-%m-%d} ")
    assert "identity_unavailable: Identity could not be reached" in found["text"]
    assert "tried again every minute" in found["remedy"]
    site.start()
    monkeypatch.setenv("USHER_IDENTITY_ADMIN_TOKEN", "wrong")
    site.program("users", "grant", "bob@example.com", "author")
    found = bad(site.program)["pushes"]
    assert "identity_credentials: Identity answered GET" in found["text"]
    assert "Mend the credentials" in found["remedy"]
