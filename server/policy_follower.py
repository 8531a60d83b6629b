"""Each worker decides by the policy that its server has accepted, and takes up a new one in place.

A request to reload is answered by one worker: it reads the files, checks them, and keeps their
content in the server's folder. All others take up that, not the files, which may have changed
again by then. So does a worker that starts later: beside others that decide by a good policy, a
file that has become wrong is not read.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Final

from msgspec.structs import replace

from usher.core.app import App
from usher.core.domain.failures import shown
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError, UsherError
from usher.core.log import Recurring, describe, get_logger
from usher.core.policy_reload import Files, from_files, read_again
from usher.core.policy_source import is_callable, load_file
from usher.core.server_folder import Change, ServerFolder, State, own_folder

LOOK_SECONDS: Final = 0.2
"""How often a worker looks for a request, and for what another worker has accepted."""
FAILED_SECONDS: Final = 2.0
"""Pause after a failure."""
AUDIT_SECONDS: Final = 2.0
"""Pause between two tries to write a reload into the audit."""
RESTART: Final = "is code, which a running process cannot read again; restart the server"


class PolicyFollower:
    """The policy of one worker.

    Args:
        usher: its policy is assigned here.
    """

    def __init__(self, usher: App, folder: ServerFolder) -> None:
        self._usher = usher
        self._folder = folder
        self._version = (-1, -1)
        self._fingerprint = ""
        self._answered = 0
        self._audit_at = 0.0
        self._end = Event()
        self._thread = Thread(target=self._run, name="policy", daemon=True)

    def establish(self) -> None:
        """Decide by what the server decides by; as its first worker, read the policy.

        Raises:
            PolicyError: this is the first worker, and the policy cannot be used.
        """
        with self._folder.turn(wait=True):
            if self._folder.state() is None:
                self._folder.keep(self._first())
        self._take_up()

    def start(self) -> None:
        """Follow, in a thread: neither a full loop nor a silent database may delay it."""
        self._folder.report(self._fingerprint)
        self._thread.start()

    def close(self) -> None:
        """Follow no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._folder.close()

    def step(self) -> None:
        """Answer a request, if there is one; take up what was accepted; write it to the audit."""
        if (asked := self._folder.asked()) > self._answered:
            with self._folder.turn() as ours:
                if ours:
                    self._answer(asked)
        self._take_up()
        if monotonic() >= self._audit_at:
            self._audit()

    def _run(self) -> None:
        failing, pause = Recurring(), LOOK_SECONDS
        while not self._end.wait(pause):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - a full disk, say: the policy stays
                what, pause = describe(error), FAILED_SECONDS
                if failing.again((what["code"], what["detail"])):
                    get_logger().error("policy.not_followed", times=failing.times, **what)
            else:
                failing.over()
                pause = LOOK_SECONDS

    def _first(self) -> State:
        source, now = self._usher.settings.policy, self._usher.clock()
        if is_callable(source):
            return State(source, source, self._usher.policy.fingerprint, now, None)
        files = Files()
        policy = load_file(source, files.read)
        return State(source, str(Path(source).absolute()), policy.fingerprint, now, files)

    def _answer(self, asked: int) -> None:
        """Answer all requests up to now; needs the turn."""
        state = self._folder.state()
        if state is None or asked <= state.answered:  # another worker was faster
            return
        actor, now = self._folder.actor(asked), self._usher.clock()
        try:
            policy, files = _read_again(state, now, self._folder.promoted(state.answered, asked))
        except Exception as error:  # noqa: BLE001 - the policy in force outlives any error
            problem = error.detail if isinstance(error, UsherError) else type(error).__name__
            self._folder.keep(replace(state, rejected=problem, rejected_at=now, answered=asked))
            get_logger().error(
                "policy.rejected", actor=actor, policy=state.fingerprint, detail=shown(problem)
            )
            return
        before, after = state.fingerprint, policy.fingerprint
        if before == after:
            same = replace(state, rejected="", rejected_at=None, answered=asked)
            self._folder.keep(same)
            get_logger().info("policy.unchanged", actor=actor, policy=after)
            return
        self._folder.add_change(asked, Change(now, actor, before, after))
        self._folder.keep(State(state.source, state.path, after, now, files, answered=asked))
        self._decide_by(policy)
        get_logger().info("policy.reloaded", actor=actor, before=before, after=after)

    def _take_up(self) -> None:
        version = self._folder.version()
        if version == self._version or (state := self._folder.state()) is None:
            return
        if state.files is None:
            self._fingerprint = self._usher.policy.fingerprint
        elif state.fingerprint != self._fingerprint:
            self._decide_by(from_files(state.source, state.files))
        self._usher.policy_in_force.rejected = state.rejected
        self._answered, self._version = state.answered, version
        if self._thread.is_alive():
            self._folder.report(self._fingerprint)

    def _decide_by(self, policy: FilePolicy) -> None:
        self._usher.policy_in_force.current = policy
        self._fingerprint = policy.fingerprint

    def _audit(self) -> None:
        """Write what was reloaded to the audit, once; again later where that cannot be done now."""
        if not self._folder.has_changes():
            return
        self._audit_at = monotonic() + AUDIT_SECONDS
        with self._folder.auditing() as ours:
            if not ours:
                return
            for path, change in self._folder.changes(self._answered):
                try:
                    written = self._usher.store.users.note_policy(
                        "policy.reloaded", change.actor, change.before, change.after, change.at
                    )
                except UsherError:  # the database is away, or the instance is not known
                    return
                if written:
                    path.unlink(missing_ok=True)


def _read_again(state: State, now: datetime, promoted: Collection[str]) -> tuple[FilePolicy, Files]:
    if state.files is None:
        raise PolicyError(state.source, RESTART)
    return read_again(state.source, state.fingerprint, now, state.files, promoted)


def start(usher: App) -> PolicyFollower | None:
    """Follow the policy of the server that this process is a worker of.

    Returns:
        None where there is no such server, or its folder cannot be used: then the policy stays that
        of the start.

    Raises:
        PolicyError: as ``PolicyFollower.establish``.
    """
    folder = own_folder()
    if folder is None:
        return None
    follower = PolicyFollower(usher, folder)
    try:
        follower.establish()
    except OSError as error:
        get_logger().error("policy.not_followed", times=1, **describe(error))
        return None
    return follower
