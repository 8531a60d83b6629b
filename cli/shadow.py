"""``usher policy shadow``: what the shadow policy would have decided otherwise."""

from __future__ import annotations

from typing import Final

import click

from usher.cli.environment import opened
from usher.cli.output import (
    counted,
    cursor_option,
    json_option,
    limit_option,
    moment,
    print_json,
    print_table,
    say,
    say_more,
)
from usher.core.domain.documents import shadow_document
from usher.core.domain.shadow import MAX_COUNTED, Change, Group, Groups, Run
from usher.core.policy_source import is_absent

_WOULD: Final = {
    Change.REFUSED: "would have refused",
    Change.ADMITTED: "would have admitted",
    Change.WAITING: "would have let wait",
    Change.GAINS: "would have given",
    Change.LOSES: "would not have given",
    Change.FAILED: "failed at",
}
_BY_TODAYS: Final = (Change.ADMITTED, Change.LOSES)
"""Here the rule is one of the policy in force, which the shadow policy lacks."""


@click.command()
@limit_option
@cursor_option
@json_option
def shadow(limit: int, cursor: str | None, as_json: bool) -> None:
    """Show what USHER_POLICY_SHADOW would have decided otherwise since it is followed."""
    with opened(verifies=False) as app:
        source = app.settings.policy_shadow
        absent = bool(source) and is_absent(source)
        run = app.shadows.run(source) if source and not absent else None
        groups = app.shadows.groups(run) if run else Groups()
        page = app.shadows.page(run, limit=limit, cursor=cursor) if run else None
        newest = app.shadows.newest()
    if as_json:
        print_json(shadow_document(source, run, newest, groups, page, absent=absent))
        return
    if run is None or page is None:
        say(_nothing(source, absent=absent))
        return
    for group in groups.items:
        say(_sentence(run, group))
    if groups.more:
        say(f"Less frequent kinds that are not shown: {groups.more}.")
    if groups.counted == MAX_COUNTED:
        say(f"Only the newest {MAX_COUNTED} differences are counted.")
    if not groups.items:
        say(_alike(run))
    if behind := max(0, newest - run.position):
        say(f"{behind} newer events are still to be looked at.")
    if run.error:
        say(f"Its process ended at {moment(run.failed_at)} UTC: {run.error}.", fg="yellow")
    print_table(
        ("received (UTC)", "event", "change", "role", "rule", "why", "user", "id"),
        (
            (
                moment(each.at),
                each.event,
                each.difference.change,
                each.difference.role or "-",
                each.difference.rule,
                each.difference.text,
                each.user_id,
                each.delivery_id[:20],
            )
            for each in page.items
        ),
        "",
    )
    say_more(page)


def _nothing(source: str, *, absent: bool) -> str:
    if not source:
        return "USHER_POLICY_SHADOW is not set."
    if absent:
        return f"There is nothing to watch: {source} is not there. Put the next policy there."
    return f"No server follows {source} yet."


def _alike(run: Run) -> str:
    if not run.events:
        return f"{run.source} is watched{_since(run)}; no event came yet."
    return f"{run.source} would have decided alike: {counted(run.events, 'event')}{_since(run)}."


def _sentence(run: Run, group: Group) -> str:
    """As ``next.toml would have refused 3 of 214 events since Monday, …, by rule.2: …``."""
    role = f" {group.role!r} at" if group.role else ""
    would = _WOULD[group.change]
    by = "where today's policy has" if group.change in _BY_TODAYS else "by"
    said = f"{group.rule}: {group.text}"
    of = f"{group.events} of {counted(run.events, 'event')}"
    return f"{run.source} {would}{role} {of}{_since(run)}, {by} {said}"


def _since(run: Run) -> str:
    return f" since {run.begun_at:%A}, {moment(run.begun_at)} UTC"
