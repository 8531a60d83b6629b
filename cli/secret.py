"""``usher secret``."""

from __future__ import annotations

import secrets
from typing import Final

import click

SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Return 64 hex digits: 256 bits, and nothing that needs quoting."""
    return secrets.token_hex(SECRET_BYTES)


@click.command()
def secret() -> None:
    """Print a new secret for USHER_WEBHOOK_SECRETS or USHER_JWT_SECRET."""
    click.echo(new_secret())
