"""``usher replay``: captured events through the real pipeline, and what comes out differently."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

import migrations
from cli.capture_files import Reader, Step, opened_file
from cli.environment import opened, upgrade_if_local
from cli.output import (
    collecting_less,
    difference_documents,
    json_option,
    print_differences,
    print_json,
    progress,
    say,
)
from core import log
from core.app import App
from core.captures import Capture, from_delivery
from core.differences import Differences, answer_in_words, user_differences
from core.errors import UsherError
from core.history import History
from core.records import Delivery
from core.replay import Played, Replayer

BATCH = 2_000


@click.command()
@click.argument("file", required=False)
@click.option("--ledger", is_flag=True, help="Replay the ledger of the configured database.")
@click.option("--into", metavar="URL", help="Another database to replay into.")
@click.option("--dry-run", is_flag=True, help="Into a database that is thrown away.")
@click.option("--with-audit", is_flag=True, help="With --ledger: what people did, as well.")
@click.option("--resign", is_flag=True, help="Sign again what no known secret verifies.")
@click.option("--diff", is_flag=True, help="Tell what is answered differently now.")
@click.option("--keep-going", is_flag=True, help="Tell of wrong lines, and go on.")
@json_option
def replay(
    file: str | None,
    ledger: bool,
    into: str | None,
    dry_run: bool,
    with_audit: bool,
    resign: bool,
    diff: bool,
    keep_going: bool,
    as_json: bool,
) -> None:
    """Play captured events back through the real pipeline, each at its own recorded time.

    FILE has captures, a HAR log or one event's body; - is standard input. What is known already
    changes nothing, so an interrupted replay can be begun again. Nothing is sent anywhere. Exits
    with 1 when a step failed, a line was wrong or, with --diff, something differs.
    """
    if (file is None) != ledger:
        raise click.UsageError("Give a FILE or --ledger, and not both.")
    if into and dry_run:
        raise click.UsageError("Give --into or --dry-run, not both.")
    if ledger and not (into or dry_run):
        raise click.UsageError("A ledger is replayed --into another database, or as a --dry-run.")
    with opened() as app, ExitStack() as stack:
        log.configure(level=logging.WARNING)  # not a line for each of perhaps a million events
        target = stack.enter_context(_target(app, into, dry_run))
        reader = None
        if file is None:
            steps = _of_ledger(app, with_audit)
        else:
            reader = Reader(stack.enter_context(opened_file(file)), keep_going=keep_going)
            steps = reader.steps()
        run = _Run(Replayer(target, resign=resign), diff)
        try:
            with collecting_less():
                run.all(steps)
        except KeyboardInterrupt:
            say(
                f"Interrupted after {run.played} steps. Begin again: they change nothing.", err=True
            )
            raise SystemExit(1) from None
        if diff and ledger:
            _compare_users(app, target, run.differences)
    wrong = reader.wrong if reader else 0
    _report(run, wrong, as_json)
    raise SystemExit(1 if run.failed or wrong or (diff and run.differences) else 0)


class _Run:
    """Plays steps in batches, and keeps count."""

    def __init__(self, replayer: Replayer, diff: bool) -> None:
        self._replayer = replayer
        self._diff = diff
        self.played = self.failed = 0
        self.differences = Differences()

    def all(self, steps: Iterator[tuple[int, Step]]) -> None:
        with progress() as bar:
            task = bar.add_task("Replaying", total=None)
            batch: list[tuple[int, Step]] = []
            try:
                for each in steps:
                    batch.append(each)
                    if len(batch) >= BATCH:
                        bar.advance(task, self._play(batch))
            finally:
                self._play(batch)

    def _play(self, batch: list[tuple[int, Step]]) -> int:
        done = self._replayer.play([step for _, step in batch])
        for (number, _), played in zip(batch, done, strict=True):
            self._note(number, played)
        self.played += len(done)
        batch.clear()
        return len(done)

    def _note(self, number: int, played: Played) -> None:
        if isinstance(played.result, Exception):
            self.failed += 1
            shown = played.result if isinstance(played.result, UsherError) else UsherError()
            reason = getattr(shown, "reason", "")
            say(f"step {number}: {shown}{f' ({reason})' if reason else ''}", err=True, fg="red")
        elif self._diff and isinstance(played.step, Capture) and played.step.answer:
            decided = played.step.decided
            self.differences.note(
                f"answer to {decided.event or 'no event' if decided else 'a request'}",
                answer_in_words(played.step.answer),
                answer_in_words(played.result),
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


def _of_ledger(app: App, with_audit: bool) -> Iterator[tuple[int, Step]]:
    history = History(app.store.database, app.settings.instance_id)
    for number, step in enumerate(history.merged(with_acts=with_audit), 1):
        yield number, from_delivery(step) if isinstance(step, Delivery) else step


def _compare_users(source: App, target: App, differences: Differences) -> None:
    """Every user of the source against the one that the replay made."""
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
    groups = difference_documents(run.differences)
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
