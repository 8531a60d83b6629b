"""``usher doctor --netlify``: a deployed site with Usher in its functions, seen from outside.

Nothing that is asked for is stored or counted there: no event in Identity's form, no token, and no
file's content.
"""

from __future__ import annotations

from usher.cli.checks.deployed import api, hook, identity, reachable, strangers
from usher.cli.checks.deployed.asking import Site
from usher.cli.checks.findings import Finding
from usher.core.http.interface import AnswerCutError, HttpError


def deployed_findings(url: str) -> list[Finding]:
    """Return all findings on the site at a URL; those alone on the way to it where that fails.

    The function of events is asked first, so that its first answer is a cold one where it can be.
    """
    site = Site(url)
    try:
        first = hook.deliver(site)
        if moved := reachable.moved_finding(site, first):
            return [moved]
        return [
            *reachable.findings(site),
            *hook.findings(site, first),
            *api.findings(site),
            *identity.findings(site),
            *strangers.findings(site),
        ]
    except (HttpError, AnswerCutError) as error:
        return [reachable.away_finding(site, error)]
