"""The guide that ``usher dev`` prints: pages to open, and commands to try."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from usher.cli.environment import dev_environment
from usher.core.app import utc_now
from usher.core.domain.policy import Verdict, somebody
from usher.core.domain.rules import FilePolicy
from usher.core.policy_source import load_policy
from usher.core.settings import PREFIX
from usher.emulator.people import DENIED_DOMAIN, OWNER


def guide(port: int, *, local: bool, people: str | None = None) -> str:
    """Return the guide's text.

    Args:
        port: of the server.
        local: Identity is the local one.
        people: a sentence on the people who were signed up; None: nobody was.
    """
    site = f"http://127.0.0.1:{port}"
    to = "" if port == 8888 else f" --url {site}/.netlify/functions/identity"
    usher = program()
    parts = [_open(site, usher, people) if local else f"Open the console: {site}/\n"]
    # `usher token` needs the secret; that of another Identity is unknown here.
    token = (
        f'  curl -H "Authorization: Bearer $({usher} token ada@example.com)" {site}/api/me\n'
        if PREFIX + "JWT_SECRET" in dev_environment()
        else ""
    )
    parts.append(f"""\
In a second terminal, from this folder:
  {usher} trigger signup --email ada@example.com{to}
  {usher} events list
  {usher} users list
  {usher} policy explain ada@example.com
{token}
A change of the code, the console, policy.toml or .env starts this again.
""")
    return "\n".join(parts)


def _open(site: str, usher: str, people: str | None) -> str:
    width = len(f"{site}/_dev/mail")
    how = people or f'Press "Make an account", for {OWNER}.'
    inbox = "The inbox." if people else "The inbox. Click the link in the mail."
    told = [
        "Open",
        f"  {site + '/':<{width}}  The console. {how}",
        f"  {site}/_dev/mail  {inbox}",
        *rules(usher),
    ]
    return "\n".join(told) + "\n"


def rules(usher: str) -> list[str]:
    """Return the policy's verdict on the addresses that we propose. Callables are not asked."""
    found = dev_environment()
    source = found.get(PREFIX + "POLICY") or "policy.toml"
    role = found.get(PREFIX + "ADMIN_ROLE") or "admin"
    policy = load_policy(source)
    told = []
    if isinstance(policy, FilePolicy):
        if role in _verdict(policy, OWNER).roles:
            told.append(f"{source} makes {OWNER} an administrator.")
        else:
            told.append(f"No rule of the policy makes {OWNER} an administrator. After signing up:")
            told.append(f"  {usher} users grant {OWNER} {role}")
        if not _verdict(policy, f"somebody@{DENIED_DOMAIN}").admitted:
            told.append(f"Signups from {DENIED_DOMAIN} are refused; Events says why.")
    return told


def _verdict(policy: FilePolicy, address: str) -> Verdict:
    return policy.evaluate(somebody(address, at=utc_now()))


def program() -> str:
    """Return the words that run ``usher`` here."""
    called = sys.argv[0]
    found = shutil.which("usher")
    return called if Path(called).name == "usher" and called != found else "usher"
