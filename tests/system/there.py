"""Identity in memory: accounts, its admin API, and the events that follow from changes there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from tests.support import Clock
from tests.system.model import Reply, Sent
from usher.core.errors import IdentityUnavailableError
from usher.core.identity.http import AdminAnswer
from usher.emulator.payload import Account, event_body, go_json, user_document


class Identity:
    """All accounts by id, as they are there.

    Attributes:
        tell: sends an event of a change by the admin API.
        arrive: called before and after each admin call.
        away: nothing answers.
        loses: events of such changes get lost.
    """

    def __init__(self, clock: Clock) -> None:
        self.accounts: dict[UUID, dict[str, Any]] = {}
        self.clock = clock
        self.tell: Callable[[Sent], Reply | None] = lambda _sent: None
        self.arrive: Callable[[str], None] = lambda _name: None
        self.away = False
        self.loses = False
        self._events = 0

    def create(
        self, user_id: UUID, email: str, provider: str, *, mailed: bool, code: str = ""
    ) -> None:
        """Somebody signs up, perhaps with a code."""
        now = self.clock()
        self.accounts[user_id] = {
            "email": email,
            "app_metadata": {"provider": provider},
            "user_metadata": {"name": email, **({"code": code} if code else {})},
            "confirmation_sent_at": now if mailed else None,
            "created_at": now,
        }

    def event(
        self, name: str, user_id: UUID, *, ahead: int = 0, read: dict[str, Any] | None = None
    ) -> Sent:
        """An event of an account as it is now; no two are alike.

        Args:
            read: the account as it was read some moments ago.
            ahead: so many seconds, for whoever signs it has a clock that is fast.
        """
        self._events += 1
        now = self.clock()
        moment = now + timedelta(microseconds=self._events)
        account = Account(id=user_id, updated_at=moment, **(read or self.accounts[user_id]))
        return Sent(event_body(name, account), int(now.timestamp()) + ahead)

    def take(self, user_id: UUID, reply: Reply | None) -> None:
        """Store what an event was answered."""
        if reply is not None and reply[1] is not None and user_id in self.accounts:
            self.accounts[user_id]["app_metadata"] = dict(reply[1])

    def patch(self, user_id: UUID, app_metadata: Mapping[str, Any]) -> None:
        """Merge metadata key by key; None takes one away."""
        held = {**self.accounts[user_id]["app_metadata"], **app_metadata}
        kept = {key: value for key, value in held.items() if value is not None}
        self.accounts[user_id]["app_metadata"] = kept

    def document(self, user_id: UUID) -> dict[str, Any]:
        """An account as the admin API shows it."""
        account = Account(id=user_id, updated_at=self.clock(), **self.accounts[user_id])
        found: dict[str, Any] = json.loads(go_json(user_document(account)))
        return found

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``usher.core.identity.http.AdminTransport``."""
        if self.away:
            raise IdentityUnavailableError("away")
        self.arrive("before Identity is asked")
        answer = self._request(method, path, body)
        self.arrive("after Identity answered")
        return answer

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        path, _, query = path.partition("?")
        if path == "/admin/users":
            asked = {name: int(v[0]) for name, v in parse_qs(query).items() if name != "sort"}
            start = (asked["page"] - 1) * asked["per_page"]
            ids = list(self.accounts)[start : start + asked["per_page"]]
            documents = [self.document(user_id) for user_id in ids]
            return AdminAnswer(200, {}, json.dumps({"users": documents}).encode())
        user_id = UUID(path.rpartition("/")[2])
        if user_id not in self.accounts:
            return AdminAnswer(404, {}, b"")
        if method == "PUT":
            assert body is not None
            self.patch(user_id, body["app_metadata"])
        answer = AdminAnswer(200, {}, json.dumps(self.document(user_id)).encode())
        if method != "GET":
            sent = self.event("usermodified" if method == "PUT" else "userdeleted", user_id)
            if method == "DELETE":
                del self.accounts[user_id]
            if not self.loses:
                self.take(user_id, self.tell(sent))
        return answer
