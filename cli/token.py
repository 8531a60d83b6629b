"""``usher token``: make an access token as Identity does, to try the API with."""

from __future__ import annotations

from datetime import timedelta

import click

from usher.cli.environment import opened
from usher.cli.output import json_option, print_json
from usher.core.domain.documents import utc
from usher.core.domain.roles import effective
from usher.core.errors import SettingsError
from usher.core.jws import sign_compact
from usher.core.strict_json import dumps

HEADER = b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}'


@click.command()
@click.argument("user")
@click.option(
    "--minutes", default=60, show_default=True, type=click.IntRange(1, 1_440), help="Lifetime."
)
@json_option
def token(user: str, minutes: int, as_json: bool) -> None:
    """Print an access token for a user, to try the API with. USHER_JWT_SECRET signs it."""
    with opened() as app:
        secret = app.settings.jwt_secret
        if secret is None:
            raise SettingsError(("USHER_JWT_SECRET is not set, so no access token can be signed.",))
        found = app.store.users.find(user)
        now = app.clock()
        expires_at = now + timedelta(minutes=minutes)
        claims = {
            "exp": int(expires_at.timestamp()),
            "sub": str(found.id),
            "aud": app.settings.jwt_audience or "",
            "email": found.email,
            "app_metadata": {
                **found.app_metadata,
                "roles": sorted(effective(found.grants, now)),
            },
            "user_metadata": found.user_metadata,
        }
    made = sign_compact(HEADER, dumps(claims).encode(), secret)
    if as_json:
        print_json({"access_token": made, "token_type": "bearer", "expires_at": utc(expires_at)})
        return
    click.echo(made)
