"""``usher policy reload`` and ``promote``: another policy in force, without a restart."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from usher.cli.environment import actor, dev_runs, environment, opened
from usher.cli.output import json_option, print_json, say
from usher.core.app import utc_now
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError, UsherError
from usher.core.policy_reload import former, read_next, undo
from usher.core.policy_reload import promote as move_into_place
from usher.core.policy_source import is_callable, load_policy
from usher.core.server_folder import ServerFolder, State, running
from usher.core.settings import Settings

PATIENCE_SECONDS: Final = 60.0
"""The longest time for all workers to take a policy up; a list of 100,000 domains takes one."""
LOOK_SECONDS: Final = 0.05
_DEV: Final = "`usher dev` takes a changed policy up by itself: it starts again."


@click.command()
@json_option
def reload(as_json: bool) -> None:
    """Have the running server read the policy again, in every worker, without a restart.

    The server checks it first, and keeps the policy in force where anything is wrong. Exits with 1
    when that is so, or a worker does not answer.
    """
    settings = Settings.from_env(environment(), verifies=False)
    servers = _servers(settings)
    if not servers:
        raise click.ClickException(
            _DEV
            if dev_runs()
            else f"No server runs that keeps its files in {settings.spool_folder} (USHER_SPOOL). "
            "A server reads the policy when it starts; kill -HUP has it read it again."
        )
    results = list(_reloaded(servers))
    if as_json:
        print_json(results)
    else:
        for result in results:
            _tell(result)
    sys.exit(int(any(result["rejected"] or not result["complete"] for result in results)))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--undo", "back", is_flag=True, help="Put the policy before the last one back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def promote(file: Path | None, back: bool, yes: bool) -> None:
    """Put FILE in the place of the policy, and reload.

    Unless told, FILE is the one that USHER_POLICY_SHADOW names, or next.toml beside the policy. It
    is checked first, as if it were in place. The policy of now is kept beside it, with the
    ending .before; --undo exchanges the two.
    """
    if back and file is not None:
        raise click.UsageError("--undo needs no file: the policy before the last one is kept.")
    settings = Settings.from_env(environment(), verifies=False)
    if is_callable(settings.policy):
        raise click.ClickException(
            f"{settings.policy} is code; deploy it, and restart the server. A file can be promoted."
        )
    source = Path(settings.policy)
    servers = _servers(settings)
    _require_same(source, servers)
    watched = _watched(settings)
    chosen = former(source) if back else file or watched or source.with_name("next.toml")
    if chosen.exists() and source.exists() and chosen.samefile(source):
        raise click.UsageError(f"{chosen} is the policy already.")
    before = _rules_of_now(source)
    after, _ = read_next(settings.policy, "", utc_now(), chosen)
    _show_change(before, after)
    if not yes:
        click.confirm(f"Move {chosen} to {source}?", abort=True, err=True)
    undoable = source.exists()
    _move(source, chosen, back=back)
    say(f"{source} is now what {chosen} was (fingerprint {after.fingerprint}).", fg="green")
    _note(before.fingerprint if before else "", after.fingerprint)
    results = list(_reloaded(servers, after.fingerprint))
    for result in results:
        _tell(result)
    if not servers:
        say(_DEV if dev_runs() else "No server runs here; the next one that starts reads it.")
    if watched is not None and watched.absolute() == chosen.absolute():
        say(f"Nothing is watched now. Write the next policy to {watched}, and it is.")
    failed = any(result["rejected"] or not result["complete"] for result in results)
    if undoable:
        does = "undoes that, too" if back else "puts the policy before back"
        say(f"usher policy promote --undo {does}.", err=failed)
    sys.exit(int(failed))


def _watched(settings: Settings) -> Path | None:
    """The file of the shadow policy, if there is one."""
    source = settings.policy_shadow
    return Path(source) if source and not is_callable(source) else None


def _servers(settings: Settings) -> list[ServerFolder]:
    """The running servers.

    Raises:
        click.ClickException: their policy is code.
    """
    found = running(settings.spool_folder)
    for server in found:
        state = server.state()
        if state is not None and state.files is None:
            raise click.ClickException(
                f"{state.source} is code, which a running process cannot read again. Restart the "
                "server."
            )
    return found


def _require_same(source: Path, servers: list[ServerFolder]) -> None:
    for server in servers:
        state = server.state()
        if state is not None and Path(state.path) != source.absolute():
            raise click.ClickException(
                f"The server reads {state.path}, and USHER_POLICY is {source.absolute()} here. "
                "Run this with the server's settings, in its folder."
            )


def _rules_of_now(source: Path) -> FilePolicy | None:
    """The policy in place; None where it is absent, or cannot be used."""
    try:
        found = load_policy(str(source))
    except PolicyError as error:
        say(f"The policy in place cannot be used: {error}", err=True)
        return None
    return found if isinstance(found, FilePolicy) else None


def _show_change(before: FilePolicy | None, after: FilePolicy) -> None:
    old, new = before.describe() if before else [], after.describe()
    for line in [line for line in old if line not in new]:
        say(f"- {line}", fg="red")
    for line in [line for line in new if line not in old]:
        say(f"+ {line}", fg="green")
    if old == new:
        say("The rules read the same in words; lists and constants may differ.")


def _move(source: Path, chosen: Path, *, back: bool) -> None:
    try:
        if back:
            undo(source)
        else:
            move_into_place(source, chosen)
    except OSError as error:
        raise click.ClickException(f"{error.filename or source}: {error.strerror}.") from None


def _note(before: str, after: str) -> None:
    try:
        with opened(verifies=False) as app:
            app.store.users.note_policy("policy.promoted", actor(), before, after)
    except UsherError as error:
        say(f"The audit could not be told: {error}", err=True)


def _reloaded(servers: list[ServerFolder], promoted: str = "") -> Iterator[dict[str, Any]]:
    """Ask each server to reload, and yield what came of it.

    Args:
        promoted: fingerprint of the policy that was promoted just now; empty: none was.
    """
    for server in servers:
        before = server.state()
        try:
            asked = server.ask(actor(), promoted)
        except OSError as error:
            raise click.ClickException(
                f"{server.path} cannot be written ({error.strerror}). Run this as the user that "
                "runs the server."
            ) from None
        yield _result(server, before, asked)


def _result(server: ServerFolder, before: State | None, asked: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state, workers = server.state(), server.workers()
        answered = state is not None and state.answered >= asked
        complete = bool(
            state and answered and workers and {state.fingerprint} == set(workers.values())
        )
        if complete or time.monotonic() > deadline:
            break
        time.sleep(LOOK_SECONDS)
    return {
        "before": before.fingerprint if before else None,
        "fingerprint": state.fingerprint if state else None,
        "rejected": (state.rejected or None) if state and answered else None,
        "complete": complete,
        "workers": [{"pid": pid, "fingerprint": found} for pid, found in workers.items()],
    }


def _tell(result: dict[str, Any]) -> None:
    fingerprint, workers = result["fingerprint"], result["workers"]
    for worker in workers:
        say(f"worker {worker['pid']}: {worker['fingerprint']}")
    if result["rejected"]:
        say(f"Refused: {result['rejected']}", fg="red", err=True)
        say(f"The policy before stays in force (fingerprint {fingerprint}).", err=True)
    elif not result["complete"]:
        say("Not all workers have answered; the server's log says why.", fg="red", err=True)
    elif result["before"] == fingerprint:
        say(f"This policy was in force already (fingerprint {fingerprint}).", fg="green")
    else:
        say(f"The policy is in force (fingerprint {fingerprint}).", fg="green")
