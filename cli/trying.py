"""Policy trials on a ledger: a small one in this process, a large one in a process per core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.cli.output import collecting_less
from usher.core.app import App
from usher.core.domain.counting import Counts
from usher.core.domain.recount import UNCOUNTED, PastCounts, recount
from usher.core.domain.trial import Trial, try_on_past, try_on_records
from usher.core.policy_source import load_policy
from usher.core.settings import Settings
from usher.core.store.past import Past

SMALL: Final = 20_000
"""Events or records. With fewer, starting processes takes longer than they save."""
SHARES: Final = 16


class Question(Struct, frozen=True):
    """A policy to try, and on what.

    Attributes:
        source: the policy, as a path or ``package.module:function``.
        since: only events received then or later.
        records: on the records as they are ``now``, and not on events.
    """

    source: str
    since: datetime | None
    records: bool
    now: datetime


def try_policy(app: App, question: Question, count: int, tell: Callable[[int], None]) -> Trial:
    """Try a policy on the ledger or the records of ``app``.

    Args:
        count: of events or records, roughly.
        tell: called with the number done since the last call.
    """
    total = Trial()
    counts = _counts(app, question)
    if count < SMALL:
        for share in range(SHARES):
            found = _try_share(app, question, share, counts[share])
            total.add(found)
            tell(found.count)
        return total
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=context) as pool:
        started = [
            pool.submit(_in_process, app.settings, question, share, counts[share])
            for share in range(SHARES)
        ]
        try:
            for done in as_completed(started):
                tell(done.result().count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for each in started:  # in order, so that the examples are the same every time
        total.add(each.result())
    return total


def _counts(app: App, question: Question) -> list[list[PastCounts]]:
    """The word of codes and quotas on the past, for both policies, by share."""
    past = Past(app.store.database, app.store.instance())
    policies = app.policy, load_policy(question.source)
    if question.records or not any(each.counting for each in policies):
        return [[UNCOUNTED, UNCOUNTED]] * SHARES
    shares: list[list[dict[UUID, Mapping[str, Counts]]]] = [[{}, {}] for _ in range(SHARES)]
    with collecting_less():
        counted = recount(past.arrivals(question.since), past.codes(), policies)
    for number, of_policy in enumerate(counted):
        for user_id, mine in of_policy.items():
            shares[user_id.int >> 124][number][user_id] = mine
    return [list(share) for share in shares]


def _in_process(
    settings: Settings, question: Question, share: int, counts: list[PastCounts]
) -> Trial:
    app = App(settings)
    try:
        with collecting_less():
            return _try_share(app, question, share, counts)
    finally:
        app.close()


def _try_share(app: App, question: Question, share: int, counts: list[PastCounts]) -> Trial:
    """Try the policy on the users in one sixteenth of all ids; version 4 UUIDs spread evenly."""
    first, last = UUID(int=share << 124), UUID(int=((share + 1) << 124) - 1)
    past = Past(app.store.database, app.store.instance())
    old, new = app.policy, load_policy(question.source)
    if question.records:
        return try_on_records(past.records(first, last), old, new, question.now)
    return try_on_past(past.histories(question.since, first, last), old, new, counts)
