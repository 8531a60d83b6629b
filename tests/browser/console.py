"""``usher dev`` with people in it: the console, the API, Identity and its inbox on one port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4, uuid5

from tests.api.api_support import JWT_SECRET
from tests.browser.people import HOME, NEWCOMER, OWNER, PLAIN, seed
from tests.browser.waiting import let_wait
from tests.dev_process import Site, usher_dev
from tests.emulator.world import OPERATOR
from tests.support import SECRET, account, signed, verified
from usher import migrations
from usher.core.app import App, use
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.emulator.identity import Emulator
from usher.emulator.options import MOUNT, Options
from usher.functions._shared.http import Request

OLIVIA: Final = ("Olivia Wren", OWNER)
BOB: Final = ("Bob Plain", PLAIN)
WANDA: Final = ("Wanda Newcomer", NEWCOMER)
LOOPBACK: Final = ip_network("127.0.0.0/8")
"""Receivers of webhooks live there."""
PASSWORD: Final = "the right password"
DENIED: Final = "Please use an address that lasts."
TRIES: Final = 8
"""Questions at the door: on a slow machine a look-up may come too late for its answer."""
POLICY: Final = """
[admission]
default = "allow"
invitation_code = "code"
deny_email_domains = { values = ["mailinator.com"], message = "Please use an address that lasts." }

[[rule]]
ask = true
email_domains = ["newcomers.example"]

[[role]]
grant = "member"

[[role]]
grant = "staff"
email_domains = ["example.com"]

[[role]]
grant = "contributor"
providers = ["github", "gitlab"]

[[role]]
grant = "admin"
emails = ["owner@example.com"]

[app_metadata]
plan = "free"

[[test]]
who = "x@mailinator.com"
expect = "refused"

[[test]]
who = "ada@example.com"
expect = "staff"
"""
Fill = Callable[[App, datetime], None]


class Console(Site):
    """A running ``usher dev``, and its database beside it.

    Attributes:
        app: reads and writes the same database as the server does.
    """

    def __init__(self, site: Site, app: App) -> None:
        super().__init__(site.url)
        self.app = app


def alone(*people: tuple[str, str]) -> Fill:
    """These people, as name and address, and nobody else."""

    def fill(app: App, now: datetime) -> None:
        for name, email in people:
            who = account(
                user_id=uuid5(HOME, email), email=email, at=now, user_metadata={"full_name": name}
            )
            for event in ("validate", "signup"):
                app.webhooks.process([verified(app.webhooks, signed(event, who, at=now), now)])

    return fill


def believable(count: int) -> Fill:
    """So many people with a month behind them."""

    def fill(app: App, now: datetime) -> None:
        seed(app, now, count)
        let_wait(app)

    return fill


@contextmanager
def console(
    folder: Path, fill: Fill | None = None, *options: str, **more: str
) -> Iterator[Console]:
    """The console with databases of its own, until the block ends.

    Args:
        fill: puts people on record before the start; the owner, Bob and Wanda can then log in.
        more: further settings.
    """
    (folder / ".usher").mkdir()
    (folder / "policy.toml").write_text(POLICY)
    url = f"sqlite:///{folder / '.usher' / 'usher.db'}"
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
    settings = Settings(
        webhook_secrets=(SECRET,),
        database_url=url,
        jwt_secret=JWT_SECRET,
        policy=str(folder / "policy.toml"),
        sink_networks=(LOOPBACK,),
    )
    variables = {
        "USHER_WEBHOOK_SECRETS": SECRET.decode(),
        "USHER_JWT_SECRET": JWT_SECRET.decode(),
        "USHER_DATABASE_URL": url,
        "USHER_SINK_NETWORKS": str(LOOPBACK),
        "USHER_PENDING_DAYS": "0",  # those on record have no accounts, and are to stay
    }
    with use(App(settings)) as app:
        if fill:
            fill(app, datetime.now(UTC).replace(microsecond=0))
            _make_accounts(folder / ".usher" / "identity.db")
        with usher_dev(folder, *options, **variables, **more) as site:
            yield Console(site, app)


def _make_accounts(database: Path) -> None:
    """Accounts at Identity for the three who may be on record already, under the same ids."""
    ids: list[UUID] = []
    emulator = Emulator(
        Options(
            database=database,
            jwt_secret=JWT_SECRET,
            site_url="http://127.0.0.1",
            operator_token=OPERATOR,
            new_id=lambda: ids.pop() if ids else uuid4(),
        )
    )
    for name, email in (OLIVIA, BOB, WANDA):
        ids.append(uuid5(HOME, email))
        body = {
            "email": email,
            "password": PASSWORD,
            "confirm": True,
            "user_metadata": {"full_name": name},
        }
        headers = {"authorization": (f"Bearer {OPERATOR}",)}
        sent = json.dumps(body).encode()
        answer = emulator.handle(Request("POST", f"{MOUNT}/admin/users", headers, sent))
        assert json.loads(answer.body)["id"] == str(uuid5(HOME, email)), answer
    emulator.close()
