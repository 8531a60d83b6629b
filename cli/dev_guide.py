"""What ``usher dev`` prints: what to open first, and what to try then."""

from __future__ import annotations

from emulator.people import OWNER


def guide(port: int, *, local: bool, people: str | None = None) -> str:
    """What to open and what to try.

    Args:
        local: there is an Identity of our own.
        people: what is to be said of those who were signed up; None: nobody was.
    """
    site = f"http://127.0.0.1:{port}"
    to = "" if port == 8888 else f" --url {site}/.netlify/functions/identity"
    parts = [_open(site, people) if local else f"Open the console: {site}/\n"]
    parts.append(f"""\
In a second terminal, from this folder:
  .venv/bin/usher trigger signup --email ada@example.com{to}
  .venv/bin/usher trigger signup --email x@mailinator.com{to}     (is refused, and says why)
  .venv/bin/usher users list
  .venv/bin/usher events list
  .venv/bin/usher policy explain ada@example.com
  curl -H "Authorization: Bearer $(.venv/bin/usher token ada@example.com)" {site}/api/me

A change of the code, of policy.toml or of .env starts this again.
""")
    return "\n".join(parts)


def _open(site: str, people: str | None) -> str:
    how = people or f"Sign up as {OWNER}, with any password."
    width = len(f"{site}/_dev/mail")
    return f"""\
Open
  {site + "/":<{width}}  the console. {how}
  {"":<{width}}  policy.toml makes this address an administrator.
  {site}/_dev/mail  the inbox: click the link in the mail that came.
In the console, Events shows what Identity sent and why Usher answered so; your own page says why
you have your roles. Sign up somebody at mailinator.com: Identity refuses them, for Usher does.
"""
