"""The rest, on Netlify itself, after the files are written: variables, and the webhook."""

from __future__ import annotations

from typing import Any, Final

import click

from usher.cli.netlify import redirects, variables
from usher.cli.output import say

EVENTS: Final = "every event that is offered (validate, signup, login, and those that are to come)"


class Rest:
    """Variables and the outgoing webhook, set or told."""

    def __init__(
        self,
        site: str | None,
        host: str | None,
        bridge: bool,
        cli: variables.NetlifyCli | None,
        *,
        fresh: bool,
    ) -> None:
        self._site = site or variables.EXAMPLE_SITE
        self._host = host
        self._bridge = bridge
        self._set: list[str] = []
        self._kept: list[str] = []
        self._problems: list[str] = []
        wanted = variables.wanted(
            site=self._site, host=host is not None, bridge=bridge, fresh=fresh
        )
        if cli is not None:
            there = cli.names()
            self._kept = [each.name for each in wanted if each.name in there]
            wanted = [each for each in wanted if each.name not in there]
            for each in wanted:  # all of them: a secret that is set must be shown
                if problem := cli.set(each):
                    self._problems.append(problem)
                else:
                    self._set.append(each.name)
        self._wanted = wanted
        self._ran = cli is not None

    @property
    def webhook(self) -> str:
        """The address that Identity shall send its events to."""
        path = redirects.HOOK if self._host else "/.netlify/functions/identity"
        return f"{self._site}{path}"

    @property
    def next(self) -> list[tuple[str, str]]:
        """The commands that come next."""
        found = []
        if self._bridge:
            found.append(("npm install @netlify/identity", "the package that the bridge needs"))
        if not self._host:
            found += [
                ("usher netlify dev", "try it on this machine first"),
                ("netlify database init", "a PostgreSQL, unless USHER_DATABASE_URL is set"),
            ]
        return [*found, ("git add -A && git commit && git push", "deploy it")]

    def document(self) -> dict[str, Any]:
        """Return it for programs. Each secret is in it once."""
        return {
            "variables": [
                {
                    "name": each.name,
                    "value": each.value,
                    "secret": each.secret,
                    "context": "production",
                    "scopes": list(variables.SCOPES) if each.secret else None,
                    "set": each.name in self._set,
                }
                for each in self._wanted
            ],
            "kept_variables": self._kept,
            "problems": self._problems,
            "webhook": {"url": self.webhook, "secret_of": "USHER_WEBHOOK_SECRETS"},
            "next": [command for command, _ in self.next],
        }

    def tell(self) -> None:
        """Print it for people. Each secret is printed once."""
        if self._ran:
            for name in self._kept:
                say(f"{name} is set on Netlify already, and kept.")
            for each in self._wanted:
                once = f": {each.value}  (shown once)" if each.secret else ""
                if each.name in self._set:
                    say(f"{each.name} was set on Netlify{once}")
            for problem in self._problems:
                say(problem, fg="red", err=True)
        else:
            click.echo("\nVariables on Netlify, of the production context (--run-env sets them):")
            for each in self._wanted:
                say(f"  {each.command}")
        if self._host:
            names = " and ".join(each.name for each in self._wanted if each.secret)
            if names:
                click.echo(f"\nOn Usher's host, set the same {names}, and restart Usher.")
            owner = f"the newest of USHER_WEBHOOK_SECRETS at {self._host}"
        else:
            owner = "the value of USHER_WEBHOOK_SECRETS"
        click.echo("\nIdentity's settings on Netlify, outgoing webhook:")
        say(f"  URL     {self.webhook}")
        say(f"  secret  {owner}")
        say(f"  events  {EVENTS}")
        click.echo("\nNext:")
        for command, what in self.next:
            say(f"  {command:<40} {what}")
