"""The checks of events: their age, size and signatures, and codes that failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.core.app import App
from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.domain.refused_events import Mark

MAX_LATE_SECONDS: Final = 60
LATEST: Final = 20
"""Deliveries among which the newest one from Identity itself is looked for."""
TOLD_DAYS: Final = 7
"""Days for which refused requests are told of."""

LATE = Kind(
    "clock.late",
    "the newest event came {seconds} s after it was signed",
    (
        Advice(
            "This machine's clock is ahead.",
            "Set it by NTP (timedatectl set-ntp true; of a container, on its host). The next login "
            "shows whether it is right.",
        ),
        Advice("The clock of Identity's server is behind.", "If it is yours, set it by NTP."),
        Advice(
            "The event was held up: by a proxy, a queue, or a server that was suspended.",
            "Look at the log of the proxy for that time. The next login shows whether it is over.",
        ),
    ),
)
EARLY = Kind(
    "clock.early",
    "the newest event came {seconds} s before it was signed",
    (
        Advice(
            "This machine's clock is behind.",
            "Set it by NTP (timedatectl set-ntp true; of a container, on its host). The next login "
            "shows whether it is right.",
        ),
        Advice("The clock of Identity's server is ahead.", "If it is yours, set it by NTP."),
    ),
)
EVENTS_TOO_LARGE = Kind(
    "requests.events_too_large",
    "{count:event} of Identity's, over {limit_mib} MiB, refused in the last {days} days, the last "
    "on {last_day}: what they told is not on record",
    (
        Advice(
            "Somebody's metadata at Identity has grown beyond all use. The event's body was not "
            "read, so Usher does not know whose.",
            "Look for the largest user_metadata at Identity, and have it shortened there (by its "
            "admin API); `usher sync` then tells whether that record is in step. Proxies in front "
            "have limits of their own, which are not seen here (docs/http.md). Wait: this is told "
            f"for {TOLD_DAYS} days.",
        ),
    ),
    Severity.WARNING,
)
TOO_LARGE = Kind(
    "requests.too_large",
    "{count:request} over {limit_bytes} bytes refused in the last {days} days, the last on "
    "{last_day}",
    (
        Advice(
            "A page or program of yours sends more than the API takes.",
            "Look at the log line request.too_large, and send less. Wait: this is told for "
            f"{TOLD_DAYS} days.",
        ),
        Advice(
            "Identity signs with another secret, or a clock is off: its large events then count "
            "as a stranger's, and its small ones are answered 401.",
            "Look at the log line signature.rejected; its reason says what to mend. Wait: this is "
            f"told for {TOLD_DAYS} days.",
        ),
        Advice(
            "Somebody tries what happens. No harm was done: such a body is not read.",
            f"Limit rates in the proxy in front. Wait: this is told for {TOLD_DAYS} days.",
        ),
    ),
    Severity.WARNING,
)

_WEBHOOK: Final = (
    "At Netlify (Identity, outgoing webhooks) have the events sent to the address of Usher's "
    "identity function, with the secret of USHER_WEBHOOK_SECRETS"
)
_WAIT: Final = f"Wait: this is told for {TOLD_DAYS} days."
_ANYBODY: Final = Advice(
    "Somebody tries what happens. No harm was done: nothing in such a request is believed.",
    f"Limit rates in the proxy in front. {_WAIT}",
)
UNSIGNED = Kind(
    "signatures.unsigned",
    "{count:event} without a signature refused in the last {days} days, the last on {last_day}",
    (
        Advice(
            "Identity's webhook has no secret, so it signs nothing.",
            f"{_WEBHOOK}. {_WAIT}",
        ),
        Advice(
            "A function of the site takes events of Netlify's (userSignup and the like), and "
            "passes them on.",
            f"{_WEBHOOK}, and remove that function. {_WAIT}",
        ),
        _ANYBODY,
    ),
    Severity.WARNING,
)
FUNCTION_HOOK = Kind(
    "signatures.function_hook",
    "{count:event} of Identity's, signed with the secret of access tokens, refused in the last "
    "{days} days, the last on {last_day}",
    (
        Advice(
            "Identity sends events by function hooks, which have no secret of their own.",
            f"{_WEBHOOK}; no function may have a name such as identity-signup. {_WAIT}",
        ),
        Advice(
            "The webhook has the secret that signs access tokens.",
            f"Give it one of its own: whoever learns it could sign tokens. {_WEBHOOK}. {_WAIT}",
        ),
    ),
    Severity.WARNING,
)
OTHER_SECRET = Kind(
    "signatures.other_secret",
    "{count:event} in Identity's form, signed with a secret unknown here, refused in the last "
    "{days} days, the last on {last_day}",
    (
        Advice(
            "The webhook's secret at Identity is none of USHER_WEBHOOK_SECRETS.",
            f"{_WEBHOOK}; during a change list both. {_WAIT}",
        ),
        Advice(
            "Netlify calls a function by its name, such as identity-signup, and signs with a "
            "secret that nobody is shown.",
            f"{_WEBHOOK}, and remove functions with such a name. {_WAIT}",
        ),
        _ANYBODY,
    ),
    Severity.WARNING,
)
_MARKED: Final = {
    Mark.UNSIGNED: UNSIGNED,
    Mark.FUNCTION_HOOK: FUNCTION_HOOK,
    Mark.OTHER_SECRET: OTHER_SECRET,
}


CODES_REFUSED = Kind(
    "codes.refused",
    "{count:code} that cannot be used given at sign-up in the last {days} days",
    (
        Advice(
            "People mistype their codes, or give ones that have ended or are used up.",
            "The newest refusals say which; `usher codes list` shows the state of each code. "
            f"Wait: this is told for {TOLD_DAYS} days.",
            commands=("usher events list --outcome denied",),
        ),
        Advice(
            "Somebody tries codes. Those that Usher made cannot be found so.",
            "Revoke codes of your own that are easy to guess, and let Usher make others. Limit "
            "sign-ups where Identity stands, or by signups_per_domain in the policy.",
        ),
    ),
    Severity.WARNING,
)
FEW_CODES: Final = 20
"""So many mistakes are made in any week."""


def clock_finding(app: App, *, agrees: bool) -> Finding:
    """Compare Identity's clock with ours, by the newest event from it.

    Args:
        agrees: Identity was asked for its time just now, and has ours.
    """
    live = [each for each in app.store.ledger.page(limit=LATEST).items if each.origin == "live"]
    if not live:
        return fine("clock", f"{app.clock():%Y-%m-%d %H:%M:%S} UTC; no event to compare with yet")
    # By arrival: times of receipt are from the very clock that is in question.
    newest = max(live, key=lambda each: each.sequence or 0)
    seconds = round(newest.received_at.timestamp() - newest.issued_at)
    if abs(seconds) > MAX_LATE_SECONDS and not agrees:
        return (LATE if seconds > 0 else EARLY).found(seconds=abs(seconds))
    text = f"the newest event came {seconds} s after it was signed"
    return fine("clock", text, seconds=seconds)


def size_findings(app: App) -> list[Finding]:
    """Return the findings on requests that were answered 413."""
    since = app.clock() - timedelta(days=TOLD_DAYS - 1)  # today is one of them
    refused = app.oversized.since(since)
    found = []
    facts = {"days": TOLD_DAYS}
    if events := refused.get("event"):
        found.append(
            EVENTS_TOO_LARGE.found(
                count=events.count,
                last_day=events.last_day,
                limit_mib=MAX_EVENT_BYTES // 2**20,
                **facts,
            )
        )
    if others := refused.get("request"):
        found.append(
            TOO_LARGE.found(
                count=others.count,
                last_day=others.last_day,
                limit_bytes=app.settings.max_body_bytes,
                **facts,
            )
        )
    return found or [
        fine("requests", f"Usher refused none for its size in {TOLD_DAYS} days", **facts)
    ]


def signature_findings(app: App) -> list[Finding]:
    """Return a finding for each mark of refused events; strangers may have made them."""
    refused = app.oversized.since(app.clock() - timedelta(days=TOLD_DAYS - 1))
    return [
        kind.found(count=refused[mark].count, last_day=refused[mark].last_day, days=TOLD_DAYS)
        for mark, kind in _MARKED.items()
        if mark in refused
    ]


def code_findings(app: App) -> list[Finding]:
    """Return the finding on invitation codes that could not be used, where there are many."""
    since = app.clock() - timedelta(days=TOLD_DAYS - 1)
    count = app.codes.refused_since(f"{since:%Y-%m-%d}")
    return [CODES_REFUSED.found(count=count, days=TOLD_DAYS)] if count > FEW_CODES else []
