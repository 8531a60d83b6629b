"""``usher users prune-pending``: tried, done, and refused where Identity is a stranger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.cli.conftest import Program, at_identity
from tests.emulator.world import World
from tests.support import account, call, signed
from usher.core.app import utc_now
from usher.emulator.accounts import Record
from usher.emulator.store import Work
from usher.functions._shared.http import Request, Response

PRUNE = ("users", "prune-pending")


def ghost(program: Program, email: str = "ada@example.com", *, days: float = 31) -> UUID:
    """Somebody who began to sign up so many days ago, and whom nobody saw again."""
    then = utc_now() - timedelta(days=days)
    who = account(email=email, at=then)
    with program.app(lambda: then):
        assert call(signed("validate", who, at=then))["statusCode"] == 204
    return who.id


def pending(program: Program) -> set[str]:
    """The ids of all pending records."""
    return {user["id"] for user in program.json("users", "list", "--status", "pending")["users"]}


def test_a_dry_run_says_who_would_go_and_removes_nobody(on_both: Program) -> None:
    """As a table and as JSON; then it is done, and told by the audit."""
    old, young = ghost(on_both), ghost(on_both, "bea@example.com", days=29)
    said = on_both(*PRUNE, "--dry-run").stdout
    assert str(old) in said
    assert "not confirmed within 30 days" in said
    assert str(young) not in said
    found = on_both.json(*PRUNE, "--dry-run")
    assert (found["dry_run"], found["looked_at"]) == (True, 1)
    assert [(one["id"], one["reason"]) for one in found["removed"]] == [
        (str(old), "not confirmed within 30 days")
    ]
    assert found["removed"][0]["created_at"].endswith("Z")
    assert pending(on_both) == {str(old), str(young)}
    assert on_both(*PRUNE, "--yes").stdout == "1 pending record removed.\n"
    assert pending(on_both) == {str(young)}
    [entry] = on_both.json("audit", "--action", "user.removed")["audit"]
    assert (entry["user_id"], entry["actor"]) == (str(old), "cli:operator")
    assert "status pending → removed" in on_both("audit").stdout
    assert on_both(*PRUNE, "--yes").stdout == "No pending record is to be removed.\n"
    assert on_both.json(*PRUNE, "--yes")["removed"] == []


def test_it_asks_first(program: Program) -> None:
    """No, and nothing was done."""
    old = ghost(program)
    assert "for good" in program(*PRUNE, input="n\n", code=1).stderr
    assert pending(program) == {str(old)}
    assert program(*PRUNE, input="y\n").stdout.endswith("1 pending record removed.\n")


def test_never_is_never(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """USHER_PENDING_DAYS=0."""
    monkeypatch.setenv("USHER_PENDING_DAYS", "0")
    old = ghost(program, days=4_000)
    assert program.json(*PRUNE, "--yes") == {"dry_run": False, "looked_at": 0, "removed": []}
    assert pending(program) == {str(old)}


def test_a_replay_of_the_ledger_buries_nobody(program: Program, tmp_path: Path) -> None:
    """The erased body of a removed record is no sign of a deletion, with or without the audit."""
    old = ghost(program)
    program(*PRUNE, "--yes")
    program.deliver("signup", "ada@example.com", user_id=old)
    for more in ([], ["--with-audit"]):
        captured = tmp_path / f"captured{len(more)}.jsonl"
        captured.write_text(program("events", "export", *more).stdout)
        url = f"sqlite:///{tmp_path}/again{len(more)}.db"
        program("replay", str(captured), "--into", url, "--resign")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("USHER_DATABASE_URL", url)
            assert program.json("users", "show", str(old))["status"] == "active"
            assert program.json("users", "list")["users"][0]["id"] == str(old)


def test_a_replay_removes_what_was_removed(program: Program, tmp_path: Path) -> None:
    """Where an export of before is played, and then one of after."""
    old = ghost(program)
    files = [tmp_path / "before.jsonl", tmp_path / "after.jsonl"]
    files[0].write_text(program("events", "export", "--with-audit").stdout)
    program(*PRUNE, "--yes")
    files[1].write_text(program("events", "export", "--with-audit").stdout)
    monkey, url = pytest.MonkeyPatch(), f"sqlite:///{tmp_path}/again.db"
    with monkey.context() as patch:
        patch.setenv("USHER_DATABASE_URL", url)
        for file, left in ((files[0], {str(old)}), (files[1], set()), (files[1], set())):
            program("replay", str(file), "--resign")
            assert pending(program) == left
        actions = [entry["action"] for entry in program.json("audit")["audit"]]
        assert actions == ["user.removed", "user.created"]


class Site:
    """Identity over HTTP, and the program with credentials for it."""

    def __init__(self, program: Program, identity: World) -> None:
        self.program = program
        self.identity = identity
        self.nobody = False

    def handle(self, request: Request) -> Response:
        """As a wrong address, which answers 404 to everything, or as Identity."""
        if self.nobody:
            return Response(404, "<html>Not Found</html>", "text/html")
        return self.identity.emulator.handle(request)


@pytest.fixture
def site(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Somebody active, on both sides."""
    with at_identity(partial(Site, program), tmp_path / "identity", monkeypatch) as found:
        found.identity.member("owner@example.com")
        program("sync", "--pull", code=(0, 3))
        yield found


def test_with_credentials_a_day_is_enough(site: Site) -> None:
    """Where Identity has no such account; one that waits there stays."""
    gone = ghost(site.program, days=1.1)
    site.identity.sign_up("waits@example.com")
    waits = UUID(site.identity.admin("GET", "/admin/users?filter=waits").json["users"][0]["id"])
    then = utc_now() - timedelta(days=2)
    who = account(user_id=waits, email="waits@example.com", at=then)
    with site.program.app(lambda: then):
        call(signed("validate", who, at=then))
    found = site.program.json(*PRUNE, "--yes")
    assert [one["reason"] for one in found["removed"]] == ["Identity has no such account"]
    assert pending(site.program) == {str(waits)} != {str(gone)}


def test_a_wrong_address_removes_nobody(site: Site) -> None:
    """Exit code 1, and the setting that is probably wrong."""
    old = ghost(site.program, days=400)
    site.nobody = True
    for options in (["--yes"], ["--dry-run"]):
        said = site.program(*PRUNE, *options, code=1).stderr
        assert "USHER_IDENTITY_URL" in said
    assert pending(site.program) == {str(old)}


def test_a_sync_does_not_bring_back_what_was_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it a difference. Of two accounts that wait, the younger one gets a record."""
    work, ids, now = Work(), [], datetime.now(UTC)
    for days in (29, 31):
        at = now - timedelta(days=days)
        ids.append(uuid4())
        email, data = f"{days}@example.com", {"provider": "email"}
        work.create(
            Record(id=ids[-1], aud="", email=email, app_metadata=data, created_at=at, updated_at=at)
        )
    site.identity.emulator._instance.store.commit(work)
    site.program("sync", "--both", code=(0, 3))
    assert pending(site.program) == {str(ids[0])}
    assert site.program.json("sync")["left"] == {}
    assert site.program.json(*PRUNE, "--yes")["removed"] == []
    monkeypatch.setenv("USHER_PENDING_DAYS", "0")
    site.program("sync", "--both", code=(0, 3))
    assert pending(site.program) == {str(one) for one in ids}
