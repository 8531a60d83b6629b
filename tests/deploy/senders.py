"""What the tests of running Usher share: people who sign up one after the other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Final

import urllib3
from sqlalchemy import text

from tests.support import account, signed
from usher.core.store.database import Database

_USERS: Final = "SELECT id FROM users WHERE status = 'active'"


class Senders:
    """Signups as Identity sends them, from eight threads, each on a connection of its own.

    Attributes:
        accepted: whose signup was answered 200.
        lost: what became of each other one.
    """

    def __init__(self, url: str) -> None:
        self.accepted: list[str] = []
        self.lost: list[str] = []
        self._url = f"{url}/.netlify/functions/identity"
        self._stop = Event()
        self._threads = [Thread(target=self._run) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):  # the servers start on the same machine
            delivery = signed("signup", account(), at=datetime.now(UTC))
            headers = delivery.headers | {"Connection": "close"}
            try:
                answer = urllib3.request(
                    "POST", self._url, body=delivery.body, headers=headers, retries=False, timeout=5
                )
            except urllib3.exceptions.HTTPError as error:
                self.lost.append(repr(error))
                continue
            if answer.status == 200:
                self.accepted.append(json.loads(delivery.body)["user"]["id"])
            else:
                self.lost.append(f"{answer.status} {answer.data!r}")

    def finish(self) -> None:
        """Stop sending."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def known(url: str) -> set[str]:
    """Whom the database has."""
    database = Database(url)
    with database.read() as transaction:
        found = {str(row[0]).replace("-", "") for row in transaction.sql.execute(text(_USERS))}
    database.dispose()
    return found
