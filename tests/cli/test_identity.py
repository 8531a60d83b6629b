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
from tests.support import account, call, free_port, signed
from usher.cli.checks.identity import BY_PLATFORM
from usher.core.app import utc_now
from usher.core.domain import administration
from usher.core.domain.administration import Change
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
    assert ".)" not in said + shown
    as_json = site.program.json("users", "grant", "bob@example.com", "author")
    assert as_json["identity"] == "pending"


def test_a_deleted_user_is_deleted_at_identity(site: Site) -> None:
    """And a suspended one has no roles there."""
    user_id = site.bob()
    site.program("users", "suspend", "bob@example.com")
    assert site.held(user_id)["roles"] == []
    site.program("users", "delete", "bob@example.com", "--yes")
    assert site.identity.admin("GET", f"/admin/users/{user_id}").status == 404


def test_with_the_platforms_token_commands_leave_the_telling_to_functions(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change waits, and who runs a command learns for what; doctor does not try it."""
    user_id = site.bob()
    monkeypatch.delenv("USHER_IDENTITY_ADMIN_TOKEN")
    monkeypatch.setenv("USHER_USE_PLATFORM_TOKEN", "on")
    said = site.program("users", "grant", "bob@example.com", "editor").stdout
    assert "Identity: pending until a function on Netlify is given a token for it\n" in said
    assert site.held(user_id)["roles"] == ["member", "staff"]
    refused = site.program("sync", "--push", code=1)
    assert "Netlify gave no token for Identity" in refused.stderr
    found = findings(site.program)
    assert found["identity"]["text"] == BY_PLATFORM
    assert found["pushes"]["well"]


def test_without_credentials_nothing_is_said_of_identity(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roles come with the next login."""
    user_id = site.bob()
    monkeypatch.delenv("USHER_IDENTITY_ADMIN_TOKEN")
    assert "Identity:" not in site.program("users", "grant", "bob@example.com", "x").stdout
    assert site.held(user_id)["roles"] == ["member", "staff"]
    assert "with the next login" in site.program("users", "show", "bob@example.com").stdout
    assert findings(site.program)["identity"]["key"] == "identity.ok"


# --- doctor ---------------------------------------------------------------------------------------


def identity_lines(program: Program, code: int) -> list[str]:
    """What doctor says of Identity, a line for each kind of credentials: key and text."""
    return [
        f"{each['key'].partition('.')[2]} {each['text']}"
        for each in program.json("doctor", code=code)
        if each["name"] == "identity"
    ]


@pytest.mark.parametrize(
    ("operator", "secret", "expected"),
    [
        (OPERATOR, JWT_SECRET.decode(), ["ok", "ok"]),
        (OPERATOR, None, ["ok"]),
        (None, JWT_SECRET.decode(), ["ok"]),
        ("wrong", JWT_SECRET.decode(), ["admin_token", "ok"]),
        (OPERATOR, "w" * 20 + "another secret", ["ok", "jwt_secret"]),
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
    lines = identity_lines(site.program, int({*expected} != {"ok"}))
    assert [line.split()[0] for line in lines] == expected
    named = ["USHER_IDENTITY_ADMIN_TOKEN"] * (operator is not None)
    named += ["USHER_JWT_SECRET"] * (secret is not None)
    assert all(name in line for name, line in zip(named, lines, strict=True))
    assert not any(value in str(lines) for value in (operator, secret) if value)


def test_doctor_says_that_identity_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, whatever credentials there are."""
    monkeypatch.setenv("USHER_JWT_SECRET", JWT_SECRET.decode())
    site.stop()
    (line,) = identity_lines(site.program, 1)
    assert line.startswith("unreachable ")


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (20, True), (90, False), (-90, False)])
def test_doctor_compares_the_clocks(
    site: Site, monkeypatch: pytest.MonkeyPatch, seconds: int, well: bool
) -> None:
    """By the Date of Identity's answer."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    with answering((200, {"Date": date}, b'{"users": []}')) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url)
        found = findings(site.program, 0 if well else 1)["skew"]
    expected = "ok" if well else "behind" if seconds > 0 else "ahead"
    assert found["key"] == f"skew.{expected}"
    with answering((200, {"Date": "yesterday"}, b'{"users": []}')) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url)
        assert findings(site.program)["skew"]["well"]


def test_h2_clocks_that_agree_now_are_not_blamed_for_an_older_event(site: Site) -> None:
    """Identity says what time it has, which counts for more than how long an event took."""
    now = utc_now().replace(microsecond=0)
    with site.program.app(lambda: now + timedelta(seconds=120)):
        call(signed("signup", account(at=now), at=now))
    assert findings(site.program)["clock"]["facts"] == {"seconds": 120}
    site.stop()
    assert bad(site.program)["clock"]["key"] == "clock.late"


def test_doctor_says_what_is_pending_since_when_and_why(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how to mend it, by the last error."""
    assert findings(site.program)["pushes"]["well"]
    site.bob()
    site.stop()
    site.program("users", "grant", "bob@example.com", "editor")
    found = bad(site.program)["pushes"]
    assert found["key"] == "pushes.identity_away"
    assert found["facts"]["count"] == 1
    assert found["facts"]["since"].startswith(f"{datetime.now(UTC):%Y-%m-%d} ")
    assert found["facts"]["error"].startswith("identity_unavailable: ")
    site.start()
    monkeypatch.setenv("USHER_IDENTITY_ADMIN_TOKEN", "wrong")
    site.program("users", "grant", "bob@example.com", "author")
    found = bad(site.program)["pushes"]
    assert found["key"] == "pushes.credentials"
    assert found["facts"]["code"] == "identity_credentials"


def test_a_push_that_was_not_tried_yet_is_no_finding(site: Site) -> None:
    """A server does so within seconds; after ten minutes nobody does."""
    user_id = UUID(site.bob())
    with site.program.app() as app:
        users = app.store.users
        users.change(users.get(user_id), administration.grant("editor"), Change("cli:eve"))
    found = findings(site.program)["pushes"]
    assert (found["key"], found["facts"]["count"]) == ("pushes.ok", 1)


def test_h2_pushes_that_fail_in_two_ways_are_two_findings(site: Site) -> None:
    """Each with the number of users and one of them; none hides behind the latest error."""
    gone = site.bob()
    site.program("users", "grant", "bob@example.com", "editor")
    site.identity.admin("DELETE", f"/admin/users/{gone}")
    site.program("users", "grant", "bob@example.com", "author")
    here = []
    for name in ("ada", "pia"):
        here.append(site.identity.member(f"{name}@example.com"))
        site.program.deliver("signup", f"{name}@example.com", user_id=UUID(here[-1]))
    site.stop()
    for user_id in here:
        site.program("users", "grant", user_id, "editor")
    found = [each for each in site.program.json("doctor", code=1) if each["name"] == "pushes"]
    facts = {each["key"]: each["facts"] for each in found}
    assert list(facts) == ["pushes.identity_away", "pushes.account_missing"]
    assert facts["pushes.identity_away"]["count"] == 2
    assert facts["pushes.account_missing"]["user"] == gone
