"""``usher dev``: everything for a laptop, made up as it starts."""

from __future__ import annotations

import shutil

import click

from cli.environment import DEV_ENV, DEV_FOLDER, environment
from cli.local_identity import identity_variables
from cli.secret import new_secret
from cli.serve import run_server
from core.settings import PREFIX


@click.command()
@click.option(
    "--port", default=8888, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option("--fresh", is_flag=True, help="Forget users, events and secrets; start over.")
@click.option("--autoconfirm", is_flag=True, help="The local Identity confirms without a mail.")
@click.option("--invite-only", is_flag=True, help="The local Identity refuses signups.")
def dev(port: int, fresh: bool, autoconfirm: bool, invite_only: bool) -> None:
    """Run Usher here, with a local Identity, and secrets and databases kept in .usher/.

    Where USHER_IDENTITY_URL is set, that Identity is asked, and there is no local one.
    """
    if fresh and DEV_FOLDER.exists():
        shutil.rmtree(DEV_FOLDER)
    make_state()
    DEV_FOLDER.mkdir(mode=0o700, exist_ok=True)
    variables = environment()
    local = PREFIX + "IDENTITY_URL" not in variables
    more = {}
    if local:
        more = identity_variables(
            port,
            jwt_secret=variables.get(PREFIX + "JWT_SECRET") or new_secret(),
            operator_token=new_secret(),
            autoconfirm=autoconfirm,
            invite_only=invite_only,
        )
    click.echo(f"Usher listens at http://127.0.0.1:{port}  (Ctrl-C stops it)\n")
    click.echo(_what_to_try(port, local))
    application = "cli.dev_worker:application" if local else ""
    run_server("127.0.0.1", port, 1, application, more)


def _what_to_try(port: int, local: bool) -> str:
    to = "" if port == 8888 else f" --url http://127.0.0.1:{port}/.netlify/functions/identity"
    said = f"""\
In a second terminal, from this folder:
  .venv/bin/usher trigger signup --email ada@example.com{to}
  .venv/bin/usher trigger signup --email x@mailinator.com{to}     (is refused, and says why)
  .venv/bin/usher users list
  .venv/bin/usher events list
  curl -H "Authorization: Bearer $(.venv/bin/usher token ada@example.com)" \\
       http://127.0.0.1:{port}/api/me
"""
    if local:
        said += f"""
A local Netlify Identity is at http://127.0.0.1:{port}/.netlify/identity (docs/emulator.md):
  curl http://127.0.0.1:{port}/.netlify/identity/signup \\
       -d '{{"email": "eve@example.com", "password": "a password"}}'
  Its mails, with the links in them: http://127.0.0.1:{port}/_dev/mail
"""
    return said


def make_state() -> None:
    """Make the secrets and name the database, unless they are there already."""
    if DEV_ENV.exists() or PREFIX + "WEBHOOK_SECRETS" in environment():
        return
    DEV_FOLDER.mkdir(mode=0o700, exist_ok=True)
    DEV_ENV.touch(mode=0o600)
    DEV_ENV.write_text(
        "# Made by `usher dev`, for this folder only. Delete it to start over.\n"
        f"{PREFIX}WEBHOOK_SECRETS={new_secret()}\n"
        f"{PREFIX}JWT_SECRET={new_secret()}\n"
        f"{PREFIX}DATABASE_URL=sqlite:///{DEV_FOLDER}/usher.db\n",
        encoding="utf-8",
    )
