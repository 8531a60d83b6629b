"""A role of PostgreSQL with the rights that docs/storage.md asks to give, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.engine import make_url

from tests.support import ROOT

ROLE = "usher_app"


def documented() -> str:
    """The statements of the page, for tables that are there already."""
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    section = page.partition("### Roles and grants")[2].partition("\n### ")[0]
    found = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


def plain(url: str) -> str:
    """The URL for psycopg."""
    return url.replace("postgresql+psycopg", "postgresql")


def run(url: str, *statements: str) -> None:
    """Statements of an administrator."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        for each in statements:
            connection.execute(each.encode())


@contextmanager
def least_privileged(url: str) -> Iterator[str]:
    """The URL for that role, as long as it is there; the tables' owner is the URL's own user."""
    owner = make_url(url).username or ""
    run(url, documented().replace("usher_owner", owner))
    try:
        yield make_url(url).set(username=ROLE).render_as_string(hide_password=False)
    finally:
        run(url, f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")
