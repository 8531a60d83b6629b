"""``usher policy observed``: what live answers would change, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from usher.cli.environment import opened
from usher.cli.output import collecting_less, json_option, moment, print_json, print_table, say
from usher.core.app import App
from usher.core.domain.observation import RULE, Change, effects
from usher.core.domain.records import Delivery, Outcome, User
from usher.core.store.filters import DeliveryFilters
from usher.core.store.keyset import MAX_PAGE
from usher.core.webhooks import event_of

EXAMPLES: Final = 3
_MEANINGS: Final = {
    Change.REFUSED: "is suspended here, and would be refused at the next login",
    Change.GAINS: "would gain",
    Change.LOSES: "would lose",
    Change.KEEPS: "would keep, as Identity alone shows it,",
}
_HAND_OVER: Final = (
    "At the hand-over, set USHER_MODE to live, restart, and take the old function away.",
    "Everybody gets these roles with their next login or token; nothing is told before.",
    "A refused person who has an account by then is not asked again at a login: suspend them.",
    "A role that Identity shows stays theirs until somebody takes it away, here or there.",
)


@click.command()
@click.option(
    "--limit",
    default=1_000,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="People that --json names, and refused people.",
)
@json_option
def observed(limit: int, as_json: bool) -> None:
    """Show what would change for whom if Usher answered live, and not as an observer.

    Compares what the records give with what Identity shows, and lists whom the policy would have
    refused. It is meant for USHER_MODE=observe; nothing is changed. Exits with 1 when anything
    would change.
    """
    with opened(verifies=False) as app, collecting_less():
        report = _report(app, limit)
    if as_json:
        print_json(report)
    else:
        _tell(report)
    raise SystemExit(int(bool(report["refused"] or report["changes"])))


def _report(app: App, limit: int) -> dict[str, Any]:
    refused = [_refusal(app, each) for _, each in zip(range(limit), _refused(app), strict=False)]
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    people: list[dict[str, Any]] = []
    looked_at = affected = 0
    for user in _everybody(app):
        looked_at += 1
        found = effects(user, app.clock())
        for each in found:
            fresh = {"change": each.change, "role": each.role, "count": 0, "examples": []}
            group = groups.setdefault((each.change, each.role), fresh)
            group["count"] += 1
            if len(group["examples"]) < EXAMPLES:
                group["examples"].append(user.email or str(user.id))
        affected += bool(found)
        if found and len(people) < limit:
            roles = {
                change.value: [each.role for each in found if each.change is change]
                for change in (Change.GAINS, Change.LOSES, Change.KEEPS)
            }
            person = {"id": user.id, "email": user.email, "status": user.status}
            people.append(person | roles)
    return {
        "mode": app.settings.mode,
        "refused": refused,
        "looked_at": looked_at,
        "affected": affected,
        "changes": sorted(groups.values(), key=lambda each: (-each["count"], each["role"])),
        "people": people,
        "pending_pushes": app.pushes.backlog().count,
    }


def _everybody(app: App) -> Iterator[User]:
    cursor = None
    while True:
        page = app.store.users.page(limit=MAX_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _refused(app: App) -> Iterator[Delivery]:
    """The newest refusal of each person while Usher observed, the newest first."""
    seen, cursor = set(), None
    while True:
        page = app.store.ledger.page(
            DeliveryFilters(outcome=Outcome.DENIED.value), limit=MAX_PAGE, cursor=cursor
        )
        for each in page.items:
            person = each.address_key or each.user_id
            if person not in seen and any(reason.rule == RULE for reason in each.reasons):
                seen.add(person)
                yield each
        cursor = page.next_cursor
        if cursor is None:
            return


def _refusal(app: App, delivery: Delivery) -> dict[str, Any]:
    event = event_of(delivery)
    user = app.store.users.look_up(delivery.user_id) if delivery.user_id else None
    answer, *reasons = delivery.reasons
    return {
        "delivery_id": delivery.id,
        "event": delivery.event,
        "received_at": delivery.received_at,
        "user_id": delivery.user_id,
        "email": event.user.email if event else "",
        "answer": answer.text,
        "rules": [reason.rule for reason in reasons],
        "status": user.status if user else None,
    }


def _tell(report: dict[str, Any]) -> None:
    if report["mode"] != "observe":
        say("Usher answers live now. This is about the time when it observed.")
    say(f"Refused while Usher observed: {len(report['refused'])}")
    print_table(
        ("received (UTC)", "event", "who", "rules", "the person now"),
        (
            (
                moment(each["received_at"]),
                each["event"],
                each["email"] or each["user_id"],
                ", ".join(each["rules"]),
                each["status"] or "no record",
            )
            for each in report["refused"]
        ),
        "",
    )
    if report["changes"]:
        say(f"\nOf {report['looked_at']} people on record, {report['affected']} would be affected:")
    else:
        say(f"\nOf {report['looked_at']} people on record, none would be affected.")
    print_table(
        ("people", "change", "role", "for instance"),
        (
            (each["count"], _MEANINGS[each["change"]], each["role"], ", ".join(each["examples"]))
            for each in report["changes"]
        ),
        "Everybody would keep the roles that Identity shows.",
    )
    if count := report["pending_pushes"]:
        say(f"\nChanges by administrators, pushed to Identity once Usher is live: {count}")
    if report["mode"] == "observe":
        say("")
        for line in _HAND_OVER:
            say(line)
