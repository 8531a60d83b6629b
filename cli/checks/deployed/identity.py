"""Identity of a deployed site: it is enabled, and how people come to an account."""

from __future__ import annotations

from usher.cli.checks.deployed.asking import Site
from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine

ABSENT = Kind(
    "accounts.absent",
    "Identity does not answer at {site}/.netlify/identity: the answer is {status}",
    (Advice("Identity is not enabled for the site.", "Enable Identity at Netlify."),),
)
AUTOCONFIRM = Kind(
    "accounts.autoconfirm",
    "Identity confirms accounts without a mail (autoconfirm)",
    (
        Advice(
            "Anybody can sign up with another's address, and get the roles that rules give it.",
            "Turn autoconfirm off at Netlify, under Identity; or give no roles by address.",
        ),
    ),
    Severity.WARNING,
)


def findings(site: Site) -> list[Finding]:
    """Return one finding, by Identity's public settings."""
    answer = site.ask("GET", "/.netlify/identity/settings")
    told = answer.document
    if answer.status != 200 or "autoconfirm" not in told:
        return [ABSENT.found(site=site.url, status=answer.status)]
    if told["autoconfirm"] is True:
        return [AUTOCONFIRM.found()]
    external = told.get("external")
    ways = [name for name, on in external.items() if on] if isinstance(external, dict) else []
    closed = told.get("disable_signup") is True
    by = ", ".join(ways) or "nothing"
    text = f"{'nobody signs up by themselves' if closed else 'people sign up'}; they come by {by}"
    return [fine("accounts", text, ways=ways, signups_closed=closed)]
