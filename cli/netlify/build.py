"""``usher netlify build``: the functions of a site, made by its build on Netlify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from usher.cli.environment import installation
from usher.cli.netlify.migrate import migrate
from usher.cli.output import json_option, print_json
from usher.netlify.build import build as build_functions

MEGA: Final = 1_000_000


@click.command()
@click.option("--no-migrate", is_flag=True, help="Leave the database alone.")
@click.option("--plain", is_flag=True, help="No snapshots of memory: Python starts slower.")
@json_option
def build(no_migrate: bool, plain: bool, as_json: bool) -> None:
    """Build the functions of the site in this folder, for its build on Netlify.

    Python, Usher and the site's policy go into netlify/usher; the functions themselves are a few
    lines each. In the context production the database is brought up to date, too. It needs Node.js,
    npm and pip.
    """
    settings = installation()
    told = build_functions(
        Path.cwd(), settings, lambda step: click.echo(f"{step} …", err=True), plain=plain
    )
    # Last: the tables are changed for functions that there are.
    click.echo(migrate({**os.environ, **settings}, wanted=not no_migrate), err=True)
    if as_json:
        print_json(told)
        return
    for name, size in told["files"].items():
        click.echo(f"{size / MEGA:8.2f} MB  {told['folder']}/{name}")
    click.echo(f"{told['bytes'] / MEGA:8.2f} MB in all; functions: {', '.join(told['functions'])}")
