"""An existing site for tests of ``usher sync``: accounts at the emulator, asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from tests.emulator.world import MOUNT, World
from usher.core.domain import sync_place
from usher.emulator.accounts import Record
from usher.emulator.store import Work
from usher.functions._shared.http import Request, Response

if TYPE_CHECKING:
    from tests.cli.conftest import Program

START = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """An existing site: accounts at Identity, which sends no events, and the program."""

    def __init__(self, program: Program, identity: World) -> None:
        self.program = program
        self.identity = identity
        self.calls: list[str] = []
        self.filled = 0
        self.before: Callable[[str], None] | None = None
        self.answer: Callable[[str, Response], Response] = lambda _, answer: answer

    def handle(self, request: Request) -> Response:
        """A request to Identity, which tests can watch, spoil or come before."""
        query = f"?{request.query}" if request.query else ""
        what = f"{request.method} {request.path.removeprefix(MOUNT)}{query}"
        self.calls.append(what)
        if self.before is not None:
            self.before(what)
        return self.answer(what, self.identity.emulator.handle(request))

    def fill(self, count: int, **fields: Any) -> list[UUID]:
        """So many more accounts, without a password, as an existing site has them."""
        work, ids = Work(), []
        self.filled += count
        for number in range(self.filled - count, self.filled):
            at = START + timedelta(seconds=number)
            roles = ["member", "staff", "vip"] if number % 10 else []
            usual = {
                "email": f"user{number}@example.com",
                "app_metadata": {"provider": "email", "roles": roles},
                "user_metadata": {"full_name": f"User {number}"},
                "confirmed_at": at,
                "confirmation_sent_at": at,
            }
            values: dict[str, Any] = {**usual, **fields}
            ids.append(uuid4())
            work.create(Record(id=ids[-1], aud="", created_at=at, updated_at=at, **values))
        self.identity.emulator._instance.store.commit(work)
        return ids

    def put(self, user_id: UUID, **body: Any) -> None:
        """An administrator changes an account at Identity."""
        assert self.identity.admin("PUT", f"/admin/users/{user_id}", body).status == 200

    def held(self, user_id: UUID) -> Any:
        """The ``app_metadata`` at Identity; None where there is no account."""
        return self.identity.admin("GET", f"/admin/users/{user_id}").json.get("app_metadata")

    def pages(self) -> list[int]:
        """Which whole pages were asked for."""
        asked = [call for call in self.calls if f"per_page={sync_place.SIZES[0]}&" in call]
        return [int(call.partition("page=")[2].partition("&")[0]) for call in asked]

    def sync(self, *options: str, code: int = 0) -> Any:
        """Run it; the JSON."""
        self.calls.clear()
        return self.program.json("sync", *options, code=code)
