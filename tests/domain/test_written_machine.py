"""Handlers write keys of metadata while pushes, logins and the person themselves are at it.

The sender holds no lock: a login shows what was read before it was sent, its answer replaces
``app_metadata`` later still, and the person changes their own ``user_metadata`` without any event.
A model keeps the last word on each key. The record must hold a handler's word at every moment,
Identity in the end, and no event may tell a handler of what it wrote as though somebody else had.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from tests.domain.decide_support import NOON, POLICY, T0, after, event
from tests.profiles import examples
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, IdentityUser
from usher.core.domain.handler_writes import apply_write
from usher.core.domain.outbox import Write
from usher.core.domain.push import Prepared, conclude, prepare, same_view
from usher.core.domain.records import User
from usher.core.domain.reply import Reply
from usher.core.domain.written import with_keys
from usher.core.strict_json import equal

OURS = st.sampled_from(("seat", "team"))
"""Keys that handlers alone write."""
ALL = st.sampled_from(("seat", "team", "plan"))
"""With one that the person writes, too."""
VALUES = st.sampled_from((1, True, "a", None))
BACK = st.integers(0, 2)
LONGEST_HOOK_SECONDS = 15
ROLES = ["member", "staff"]


@dataclass
class Hook:
    """A login from the reading of the account to the end of its answer."""

    app: dict[str, Any]
    own: dict[str, Any]
    began: float
    reply: Reply | None = None


class Writing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.events = 0
        self.app: dict[str, Any] = {"provider": "email", "roles": ROLES}
        self.own: dict[str, Any] = {"full_name": "Ada"}
        first = after([self._event("login")])
        assert first is not None
        self.user: User = first
        self.said: dict[str, Any] = {}
        self.said_of_person: dict[str, Any] = {}
        self.hooks: list[Hook] = []
        self.found: tuple[IdentityUser, User] | None = None
        self.prepared: Prepared | None = None
        self.answer: IdentityUser | None = None

    # --- Identity ------------------------------------------------------------------------------

    def _event(self, name: str, app: Any = None, own: Any = None) -> Event:
        self.events += 1
        return event(
            name,
            int(self.now.timestamp()) - T0,
            app_metadata=self.app if app is None else app,
            user_metadata=self.own if own is None else own,
            confirmed_at=NOON,
            updated_at=self.now + timedelta(microseconds=self.events),
        )

    def _deliver(self, sent: Event) -> Reply:
        found = decide(sent, self.user, POLICY, self.now)
        assert found.user is not None
        self.user = found.user
        for part in () if found.audit is None else (found.audit.before or {}, found.audit.after):
            told = {*part.get("app_metadata", {}), *part.get("user_metadata", {})}
            assert not told & {"seat", "team"}, "a handler's own word, told as another's"
        return found.reply

    def _pass(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for hook in list(self.hooks):
            if self.now.timestamp() - hook.began > LONGEST_HOOK_SECONDS:
                self.hooks.remove(hook)

    @precondition(lambda self: len(self.hooks) < 3)
    @rule()
    def login_begins(self) -> None:
        """The account is read; the password is checked for a while."""
        self.hooks.append(Hook(dict(self.app), dict(self.own), self.now.timestamp()))

    @rule(back=BACK, seconds=st.sampled_from((0, 0.4, 1)))
    def login_is_sent(self, back: int, seconds: float) -> None:
        """The event shows what was read."""
        self._pass(seconds)
        waiting = [hook for hook in self.hooks if hook.reply is None]
        if waiting:
            hook = waiting[back % len(waiting)]
            hook.reply = self._deliver(self._event("login", hook.app, hook.own))

    @rule(back=BACK, applied=st.booleans())
    def answer_lands(self, back: int, applied: bool) -> None:
        """Over whatever was written since, or never."""
        answered = [hook for hook in self.hooks if hook.reply is not None]
        if answered:
            hook = answered[back % len(answered)]
            self.hooks.remove(hook)
            self._land(hook.reply, applied=applied)

    def _land(self, reply: Reply | None, *, applied: bool = True) -> None:
        if reply is not None and reply.app_metadata is not None and applied:
            self.app = reply.app_metadata

    @rule(value=VALUES)
    def the_person_writes(self, value: Any) -> None:
        """Their own metadata; no event tells of it."""
        self.own = dict(with_keys(self.own, {"plan": value}))
        if self.prepared is not None and "plan" in self.prepared.of_person:
            self.said_of_person.pop("plan", None)  # either may be the last to be stored
        elif not self._is_untold("plan"):
            self.said_of_person["plan"] = value

    @rule(seconds=st.sampled_from((0.4, 1, 3)))
    def moments_pass(self, seconds: float) -> None:
        self._pass(seconds)

    @precondition(lambda self: not self.hooks)
    @rule(seconds=st.sampled_from((21, 600)))
    def time_passes(self, seconds: int) -> None:
        self._pass(seconds)

    # --- handlers ------------------------------------------------------------------------------

    def _write(self, write: Write) -> None:
        changed = apply_write(self.user, write, "handler:site.plans", self.now)
        if changed is not self.user:
            changed = replace(changed, at_identity=changed.at_identity.marked_pending())
        self.user = changed

    @rule(key=OURS, value=VALUES)
    def a_handler_writes_app_metadata(self, key: str, value: Any) -> None:
        self._write(Write(app_metadata={key: value}))
        self.said[key] = value

    @rule(key=ALL, value=VALUES)
    def a_handler_writes_user_metadata(self, key: str, value: Any) -> None:
        self._write(Write(user_metadata={key: value}))
        if self._is_untold(key):  # else it said so before; the person may have written since
            self.said_of_person[key] = value

    def _is_untold(self, key: str) -> bool:
        notes = self.user.written.user_metadata if self.user.written is not None else {}
        return key in notes and not notes[key].told_at

    # --- pushes --------------------------------------------------------------------------------

    def _account(self) -> IdentityUser:
        return self._event("usermodified").user

    @rule()
    def look(self) -> None:
        """A push begins, or begins again: what Identity holds is read."""
        self._pass(1)
        self.found, self.prepared, self.answer = (self._account(), self.user), None, None

    @precondition(lambda self: self.found is not None)
    @rule()
    def merge(self) -> None:
        """What was read is merged, unless an event came in between."""
        assert self.found is not None
        found, seen = self.found
        self.found = None
        if same_view(self.user, seen):
            self.prepared = prepare(self.user, found, self.now)
            self.user = self.prepared.user
            if not self.prepared.writes:
                self.prepared = None

    @precondition(lambda self: self.prepared is not None and self.answer is None)
    @rule(lost=st.booleans())
    def store(self, lost: bool) -> None:
        """What was worked out is written; the event about it may be lost."""
        assert self.prepared is not None
        self._pass(1)
        self.app = dict(with_keys(self.app, self.prepared.patch))
        self.own = dict(with_keys(self.own, self.prepared.of_person))
        self.answer = self._account()
        if not lost:
            self._land(self._deliver(self._event("usermodified")))

    @precondition(lambda self: self.answer is not None)
    @rule(lost=st.booleans())
    def take_answer(self, lost: bool) -> None:
        """Identity's answer arrives, or does not."""
        assert self.answer is not None
        assert self.prepared is not None
        if not lost:
            self.user, _ = conclude(self.user, self.prepared, self.answer, self.now)
        self.prepared = self.answer = None

    # --- what must hold ------------------------------------------------------------------------

    @invariant()
    def the_record_has_what_handlers_wrote(self) -> None:
        """At every moment, whatever an event shows meanwhile."""
        for key, value in self.said.items():
            assert equal(self.user.extra_app_metadata[key], value)
        for key in ("seat", "team"):
            if key in self.said_of_person:
                assert equal(self.user.user_metadata.get(key), self.said_of_person[key])

    @invariant()
    def a_push_is_pending_while_something_is_untold(self) -> None:
        """No login settles what it cannot tell."""
        notes = self.user.written.user_metadata if self.user.written is not None else {}
        if any(not each.told_at for each in notes.values()):
            assert self.user.at_identity.pending

    def teardown(self) -> None:
        """Every answer lands; pushes are made until none is pending; Identity has it all."""
        for hook in self.hooks:
            hook.reply = hook.reply or self._deliver(self._event("login", hook.app, hook.own))
        if self.answer is not None:
            self.take_answer(lost=False)
        for _ in range(3):
            if self.user.at_identity.pending:
                self.look()
                self.merge()
                if self.prepared is not None:
                    self.store(lost=True)
                    self.take_answer(lost=False)
            while self.hooks:  # an answer that lands over the write
                self._land(self.hooks.pop().reply)
            self.now += timedelta(seconds=21)
        assert not self.user.at_identity.pending
        for key, value in self.said.items():
            assert equal(self.app.get(key), value), key
        for key, value in self.said_of_person.items():
            assert equal(self.own.get(key), value), key
        self._deliver(self._event("login"))
        assert equal(self.user.user_metadata, self.own)


Writing.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
TestWriting = Writing.TestCase
