"""The check of the Identity instance in use, and of events of others."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.instance import in_words
from usher.cli.output import counted, moment
from usher.core.app import App
from usher.core.errors import SeveralInstancesError
from usher.core.store.instance_report import OnRecord, adopted, on_record, others

TOLD_DAYS: Final = 7
"""Refused events of other instances that are older are no reason to act any more."""

SEVERAL = Kind(
    "instance.several",
    "there are records of {count} Identity instances, and none is chosen: {listed}",
    (
        Advice(
            "Another Identity than the site's, such as a local one, sent events to this database.",
            "Set USHER_INSTANCE_ID to the site's own: most likely {largest}, which has the most "
            "users. Its events name it (`instance_id`); `usher instance` shows what is of each.",
            settings=("USHER_INSTANCE_ID",),
        ),
    ),
)
OTHER = Kind(
    "instance.other",
    "{count:event} of the instance {instance} refused, the last at {at} UTC; in use is {in_use}",
    (
        Advice(
            "Another site sends its events here, with the same secret.",
            "Take this server's address out of that site's settings, or change the secret. "
            "`usher events list --instance {instance}` shows them. This is told for "
            f"{TOLD_DAYS} days.",
        ),
        Advice(
            "That instance is yours, and the one in use was adopted by mistake.",
            "Set USHER_INSTANCE_ID to {instance}, and restart the server.",
            settings=("USHER_INSTANCE_ID",),
        ),
    ),
)


def instance_findings(app: App) -> list[Finding]:
    """Return which instance is in use, or what is wrong with that."""
    with app.store.database.read() as transaction:
        known, kept = app.store.instances.known(transaction), adopted(transaction)
        try:
            in_use = known.one
        except SeveralInstancesError:
            return [_several(on_record(transaction, known))]
        strangers = others(transaction, known)
    since = app.clock() - timedelta(days=TOLD_DAYS)
    recent = [(one.newest, one) for one in strangers if one.newest and one.newest >= since]
    return [
        OTHER.found(
            instance=str(one.instance_id),
            count=one.refused,
            at=moment(newest),
            in_use=str(in_use),
        )
        for newest, one in sorted(recent, key=lambda each: each[0], reverse=True)
    ] or [fine("instance", in_words(in_use, known.how, kept), how=known.how.value)]


def _several(found: list[OnRecord]) -> Finding:
    users = {str(each.instance_id): each.users for each in found}
    events = {str(each.instance_id): each.events for each in found}  # a guess has none
    by_size = sorted(users, key=lambda one: (-users[one], -events[one], one))
    listed = ", ".join(f"{one} ({counted(users[one], 'user')})" for one in by_size)
    return SEVERAL.found(count=len(users), listed=listed, largest=by_size[0], users=users)
