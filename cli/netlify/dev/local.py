"""The command's own server: the local Identity, its mails, and the console.

``front.mjs`` hands their requests over, so a page finds them beside the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import click

from usher.cli.environment import DEV_FOLDER
from usher.cli.secret import new_secret
from usher.core.settings import PREFIX
from usher.emulator.identity import Emulator
from usher.emulator.mail import Mail
from usher.emulator.options import MOUNT, Options, Webhook
from usher.emulator.server import serving
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, Response
from usher.functions._shared.loopback import for_own_pages, require_own_page
from usher.server.site import Site

ACCOUNTS: Final = DEV_FOLDER / "netlify-identity.db"
HOOK: Final = "/.netlify/functions/identity"
ATTEMPT_SECONDS: Final = 60.0
"""Netlify gives five; here Python starts anew for each event, on a machine that may be busy."""


@dataclass(frozen=True, slots=True)
class Day:
    """Addresses, and the secrets that are made up for this one run."""

    site: str
    database_url: str
    webhook_secret: str
    jwt_secret: str
    operator_token: str

    @classmethod
    def begin(cls, site: str, database_url: str) -> Day:
        """Make up the secrets."""
        return cls(site, database_url, new_secret(), new_secret(), new_secret())

    @property
    def variables(self) -> dict[str, str]:
        """The settings that the functions, and commands beside them, are given."""
        return {
            PREFIX + "DATABASE_URL": self.database_url,
            PREFIX + "WEBHOOK_SECRETS": self.webhook_secret,
            PREFIX + "JWT_SECRET": self.jwt_secret,
            PREFIX + "IDENTITY_URL": self.site + MOUNT,
            PREFIX + "IDENTITY_ADMIN_TOKEN": self.operator_token,
        }


def forget_accounts() -> None:
    """Remove all accounts of the local Identity."""
    for path in DEV_FOLDER.glob(f"{ACCOUNTS.name}*"):
        path.unlink()


@contextmanager
def local(day: Day, *, autoconfirm: bool) -> Iterator[int]:
    """Serve until the block ends; gives the port."""
    identity = Emulator(
        Options(
            database=ACCOUNTS,
            jwt_secret=day.jwt_secret.encode(),
            webhook=Webhook(url=HOOK, secret=day.webhook_secret.encode()),
            operator_token=day.operator_token,
            site_url=day.site,
            autoconfirm=autoconfirm,
            attempt_timeout_seconds=ATTEMPT_SECONDS,
            on_mail=_tell,
        )
    )
    try:
        with serving(_answers(identity, Site())) as url:
            yield int(url.rpartition(":")[2])
    finally:
        identity.close()


def _answers(identity: Emulator, console: Site) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        try:
            require_own_page(request)
            if identity.serves(request.path):
                response = identity.handle(request)
            else:
                response = console.answer(request)
        except Exception as error:  # noqa: BLE001 - ends as an answer
            response = failure(error)
        return for_own_pages(request, response)

    return answer


def _tell(mail: Mail) -> None:
    click.echo(f"mail to {mail.to}: {mail.subject}\n  {mail.link}")
