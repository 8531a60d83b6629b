"""``usher replay``: play captured events through the real pipeline, and show differences."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import click
from msgspec.structs import replace

from usher import migrations
from usher.cli.capture_files import opened_file, reader_of
from usher.cli.environment import log_for_command, opened, upgrade_if_local
from usher.cli.moments import PAST
from usher.cli.output import (
    collecting_less,
    json_option,
    print_differences,
    print_json,
    say,
    working,
)
from usher.cli.replay_http import HttpReplayer
from usher.core.app import App
from usher.core.captures.files import Step
from usher.core.captures.format import Capture, from_delivery
from usher.core.captures.replay import Played, Replayer
from usher.core.database_url import database_url
from usher.core.domain.differences import Differences, replies_in_words, user_differences
from usher.core.domain.records import Delivery
from usher.core.errors import CaptureError, SignatureError, UsherError
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History
from usher.core.webhooks import failed_decision

BATCH = 2_000


def _database(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    try:
        return url and database_url(url)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@click.argument("file", required=False)
@click.option("--ledger", is_flag=True, help="Replay the ledger of the configured database.")
@click.option("--since", type=PAST, help="Only events received since: a time, or a span (30d).")
@click.option("--until", type=PAST, help="Only events received before this time.")
@click.option("--into", metavar="URL", callback=_database, help="Replay into another database.")
@click.option("--dry-run", is_flag=True, help="Replay into a temporary database.")
@click.option("--to", metavar="URL", help="Send to a server, each event signed anew.")
@click.option("--at-recorded-time", is_flag=True, help="With --to: keep each event's own time.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="With --to: events a second, at most."
)
@click.option("--with-audit", is_flag=True, help="With --ledger: include changes by people.")
@click.option("--resign", is_flag=True, help="Sign events again that no known secret verifies.")
@click.option("--with-effects", is_flag=True, help="Tell handlers and sinks of the changes.")
@click.option("--diff", is_flag=True, help="Show what is answered differently now.")
@click.option("--keep-going", is_flag=True, help="Report wrong lines and continue.")
@json_option
def replay(
    file: str | None,
    ledger: bool,
    since: datetime | None,
    until: datetime | None,
    into: str | None,
    dry_run: bool,
    to: str | None,
    at_recorded_time: bool,
    rate: float | None,
    with_audit: bool,
    resign: bool,
    with_effects: bool,
    diff: bool,
    keep_going: bool,
    as_json: bool,
) -> None:
    """Play captured events through the real pipeline, each at its own recorded time.

    FILE holds captures, a HAR log or one event's body; - is standard input. Events that are
    already known change nothing, so an interrupted replay can be started again. Nothing is sent
    anywhere, except to the server of --to. Exits with 1 when a step failed, a line was wrong or,
    with --diff, something differs.
    """
    targets = bool(into), dry_run, bool(to)
    _check_options(file, ledger, targets, at_recorded_time or bool(rate), with_effects)
    filters = DeliveryFilters(since=since, until=until)
    with ExitStack() as stack:
        app = stack.enter_context(opened())
        log_for_command(logging.WARNING)  # no line for each of perhaps a million events
        reader = None
        if file is None:
            history = History(app.store.database, app.store.instance())
            total: int | None = history.count(filters)
            steps = _of_ledger(history, filters, with_audit)
        else:
            reader = reader_of(stack.enter_context(opened_file(file)), keep_going=keep_going)
            total = reader.size
            steps = _within(reader.steps(), filters)
        target: App | None = None
        player: _Player
        if to:
            secret = app.settings.webhook_secrets[0]
            player = HttpReplayer(to, secret, at_recorded_time=at_recorded_time, rate=rate or 0)
            batch = 1
        else:
            target = stack.enter_context(_target(app, into, dry_run))
            player = Replayer(
                target.settings,
                target.policy_in_force,
                target.store,
                resign=resign,
                effects=with_effects,
            )
            batch = BATCH
        run = _Run(player, batch, diff)
        bar = stack.enter_context(working("Replaying", total))
        try:
            with collecting_less():
                for count in run.all(steps):
                    bar.add(count, reader.bytes_read if reader else None)
        except KeyboardInterrupt:
            say(
                f"Interrupted after {run.played} steps. Begin again: they change nothing.", err=True
            )
            raise SystemExit(1) from None
        if diff and ledger and target:
            _compare_users(app, target, run.differences)
    wrong = reader.wrong if reader else 0
    _report(run, wrong, as_json)
    raise SystemExit(1 if run.failed or wrong or (diff and run.differences) else 0)


def _check_options(
    file: str | None,
    ledger: bool,
    targets: tuple[bool, bool, bool],
    timed: bool,
    with_effects: bool,
) -> None:
    """Refuse options that mean nothing together.

    Args:
        targets: whether there is ``--into``, ``--dry-run`` and ``--to``.
    """
    _, dry_run, to = targets
    if (file is None) != ledger:
        raise click.UsageError("Give a FILE or --ledger, and not both.")
    if sum(targets) > 1:
        raise click.UsageError("Give only one of --into, --dry-run and --to.")
    if ledger and not any(targets):
        raise click.UsageError("A ledger is replayed --into another database, --to a server, "
                               "or as a --dry-run.")  # fmt: skip
    if timed and not to:
        raise click.UsageError("--at-recorded-time and --rate need --to.")
    if with_effects and (to or dry_run):
        raise click.UsageError("--with-effects is for a database that stays: a FILE, or --into.")


class _Player(Protocol):
    """Plays steps, into a database or to a server."""

    def play(self, steps: Sequence[Step]) -> list[Played]:
        """Play the steps in order; return one result for each."""


class _Run:
    """Plays steps in batches, and counts steps, failures and differences."""

    def __init__(self, player: _Player, size: int, diff: bool) -> None:
        self._player = player
        self._size = size
        self._diff = diff
        self.played = self.failed = 0
        self.differences = Differences()

    def all(self, steps: Iterator[tuple[int, Step]]) -> Iterator[int]:
        """Play all steps; yield the size of each batch."""
        batch: list[tuple[int, Step]] = []
        try:
            for each in steps:
                batch.append(each)
                if len(batch) >= self._size:
                    yield self._play(batch)
        finally:
            self._play(batch)

    def _play(self, batch: list[tuple[int, Step]]) -> int:
        now = list(batch)
        batch.clear()  # first, so that a failed batch is not played again
        done = self._player.play([step for _, step in now])
        for (number, _), played in zip(now, done, strict=True):
            self._note(number, played)
        self.played += len(done)
        return len(done)

    def _note(self, number: int, played: Played) -> None:
        recorded = played.step.answer if isinstance(played.step, Capture) else None
        result = played.result
        if isinstance(result, Exception):
            if recorded is None or recorded.status < 500:  # else it failed at its receipt, too
                self.failed += 1
                shown = result if isinstance(result, UsherError) else UsherError()
                reason = getattr(shown, "reason", "")
                said = f"step {number}: {shown}{f' ({reason})' if reason else ''}"
                say(said, err=True, fg="red")
            if isinstance(result, CaptureError | SignatureError):
                return
            result = failed_decision(result).reply
        if self._diff and recorded is not None and isinstance(played.step, Capture):
            decided = played.step.decided
            self.differences.note(
                f"answer to {decided.event or 'no event' if decided else 'a request'}",
                *replies_in_words(recorded, result),
                f"step {number}" + (f" ({decided.id[:20]})" if decided else ""),
            )


@contextmanager
def _target(app: App, into: str | None, dry_run: bool) -> Iterator[App]:
    if not (into or dry_run):
        yield app
        return
    with tempfile.TemporaryDirectory() as folder:
        url = into or f"sqlite:///{Path(folder) / 'replay.db'}"
        target = App(replace(app.settings, database_url=url), app.clock)
        try:
            upgrade_if_local(target)
            if migrations.pending(target.store.database):
                raise click.ClickException("The database of --into is not migrated.")
            yield target
        finally:
            target.close()


def _of_ledger(
    history: History, filters: DeliveryFilters, with_audit: bool
) -> Iterator[tuple[int, Step]]:
    for number, step in enumerate(history.merged(filters, with_acts=with_audit), 1):
        yield number, from_delivery(step) if isinstance(step, Delivery) else step


def _within(
    steps: Iterator[tuple[int, Step]], filters: DeliveryFilters
) -> Iterator[tuple[int, Step]]:
    """Yield the steps that happened in the wanted time."""
    for number, step in steps:
        at = step.received_at if isinstance(step, Capture) else step.at
        if (filters.since is None or at >= filters.since) and (
            filters.until is None or at < filters.until
        ):
            yield number, step


def _compare_users(source: App, target: App, differences: Differences) -> None:
    """Compare each user of the source with the one that the replay made."""
    now = source.clock()
    cursor = None
    while True:
        page = source.store.users.page(limit=200, cursor=cursor)
        for user in page.items:
            made = target.store.users.look_up(user.id)
            for what, was, is_now in user_differences(user, made, now):
                differences.note(f"user's {what}", was, is_now, str(user.id))
        cursor = page.next_cursor
        if cursor is None:
            return


def _report(run: _Run, wrong: int, as_json: bool) -> None:
    groups = run.differences.documents()
    if as_json:
        print_json(
            {"played": run.played, "failed": run.failed, "wrong": wrong, "differences": groups}
        )
        return
    if groups:
        print_differences(groups, "")
    say(
        f"{run.played} played, {run.failed} failed, {wrong} wrong lines, {len(groups)} differences."
    )
