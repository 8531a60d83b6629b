"""``usher instance``: the Identity instance in use, and what the database holds of others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from usher.cli.environment import opened
from usher.cli.output import json_option, moment, print_json, print_table, say
from usher.core.domain.instances import How
from usher.core.store.instance_report import Adoption, OnRecord, adopted, on_record


@click.command()
@json_option
def instance(as_json: bool) -> None:
    """Show the Identity instance in use, how it was chosen, and what is kept of each instance.

    The first live event names it. USHER_INSTANCE_ID names another.
    """
    with opened() as app, app.store.database.read() as transaction:
        known, kept = app.store.instances.known(transaction), adopted(transaction)
        found = on_record(transaction, known)
    in_use = next(iter(known.accepted)) if len(known.accepted) == 1 else None
    if as_json:
        print_json(
            {
                "instance_id": str(in_use) if in_use else None,
                "how": known.how.value,
                "adopted": _adoption(kept) if kept else None,
                "on_record": [_document(each) for each in found],
            }
        )
        return
    if len(known.accepted) > 1:
        say("The records are of several instances: set USHER_INSTANCE_ID to the one that is meant.")
    else:
        say(f"In use: {in_words(in_use, known.how, kept)}")
    if found:
        click.echo()
        print_table(
            ("instance", "users", "events", "refused", "last refused (UTC)"),
            (
                (e.instance_id, e.users, e.events, e.refused, moment(e.newest) if e.newest else "-")
                for e in found
            ),
            "",
        )


def in_words(in_use: UUID | None, how: How, kept: Adoption | None) -> str:
    """Return the instance in use, how it was chosen, and by what."""
    if in_use is None:
        return "not known yet; the first event that Identity sends will name it"
    if how is How.RECORDS:
        return f"{in_use}, not adopted yet: all records are of it, but Identity sent no event"
    if how is How.SETTING or kept is None:
        return f"{in_use}, by USHER_INSTANCE_ID"
    by = f"by the event {(kept.delivery_id or '')[:20]}"
    if how is How.UPGRADE:
        by = "as all records were of it"
    return f"{in_use}, adopted at {moment(kept.at)} UTC {by}"


def _adoption(kept: Adoption) -> dict[str, Any]:
    return {
        "instance_id": str(kept.instance_id),
        "how": kept.how.value,
        "at": kept.at.isoformat(),
        "delivery_id": kept.delivery_id,
    }


def _document(each: OnRecord) -> dict[str, Any]:
    return {
        "instance_id": str(each.instance_id),
        "users": each.users,
        "events": each.events,
        "refused": each.refused,
        "last_refused": each.newest.isoformat() if each.newest else None,
    }
