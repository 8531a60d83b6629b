"""A sender that holds no lock during its login hook: answers land late, over later changes.

The person logs in as often as they like, several times at once. Each login reads the account, some
moments later it is sent, and its answer replaces the whole map later still. Administrators write at
Identity and here meanwhile, and changes made here are pushed. A model keeps the last clear word on
each role; Usher must hold it at every moment, and Identity in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.domain.decide_support import (
    NOON,
    POLICY,
    T0,
    after,
    by_handler,
    event,
    nobody_could_tell,
)
from tests.profiles import examples
from usher.core.domain.administration import grant_role, revoke_role
from usher.core.domain.decide import decide
from usher.core.domain.events import Event
from usher.core.domain.push import conclude, prepare
from usher.core.domain.records import Decision, Source, User
from usher.core.domain.repeat import decide_again, tells_roles
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective

ROLES = ("editor", "author", "member", "staff")
BACK = st.integers(0, 2)
LONGEST_HOOK_SECONDS = 15


@dataclass
class Hook:
    """One event from the reading of the account to the end of its answer.

    Attributes:
        roles: as they were read.
        began: when; the sender gives up 15 s later.
        sent: the event, once it was sent.
        reply: once answered.
        stored: the answer that was given first.
    """

    roles: list[str]
    began: float
    sent: Event | None = None
    reply: Reply | None = None
    stored: Reply | None = None


class Unlocked(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.events = 0
        self.identity = {"member", "staff"}
        first = after([event("login", roles=["member", "staff"])])
        assert first is not None
        self.user: User = first
        self.said: dict[str, bool] = {}
        self.hooks: list[Hook] = []

    def _event(self, name: str, roles: list[str]) -> Event:
        self.events += 1
        updated_at = self.now + timedelta(microseconds=self.events)
        at = int(self.now.timestamp()) - T0
        return event(name, at, roles=roles, confirmed_at=NOON, updated_at=updated_at)

    def _deliver(self, sent: Event) -> Reply:
        return self._decided(decide(sent, self.user, POLICY, self.now))

    def _decided(self, found: Decision) -> Reply:
        assert found.user is not None
        self.user = found.user
        return found.reply

    def _one(self, back: int, *, answered: bool) -> Hook | None:
        hooks = [hook for hook in self.hooks if (hook.reply is not None) is answered]
        return hooks[back % len(hooks)] if hooks else None

    @precondition(lambda self: len(self.hooks) < 3)
    @rule()
    def login_begins(self) -> None:
        """The account is read; the password is checked for a while."""
        self.hooks.append(Hook(sorted(self.identity), self.now.timestamp()))

    @rule(back=BACK, seconds=st.sampled_from((0, 0.4, 1)))
    def login_is_sent(self, back: int, seconds: float) -> None:
        """The event shows what was read."""
        self._pass(seconds)
        hook = self._one(back, answered=False)
        if hook is not None:
            hook.sent = self._event("login", hook.roles)
            hook.reply = hook.stored = self._deliver(hook.sent)

    @precondition(lambda self: len(self.hooks) < 3)
    @rule(back=BACK)
    def login_is_sent_again(self, back: int) -> None:
        """Another login of the same second, with the same bytes, or a retry."""
        hook = self._one(back, answered=True)
        if hook is not None and hook.sent is not None and hook.stored is not None:
            reply = hook.stored
            if tells_roles(hook.sent, reply):
                again = decide_again(hook.sent, self.user, reply, POLICY, self.now)
                reply = self._decided(again)
            self.hooks.append(replace(hook, reply=reply))

    @rule(back=BACK, applied=st.booleans())
    def answer_lands(self, back: int, applied: bool) -> None:
        """Over whatever was written since, or never."""
        hook = self._one(back, answered=True)
        if hook is not None:
            self.hooks.remove(hook)
            self._land(hook.reply, applied=applied)

    def _land(self, reply: Reply | None, *, applied: bool = True) -> None:
        if reply is not None and reply.app_metadata is not None and applied:
            self.identity = set(reply.app_metadata["roles"])

    @rule(seconds=st.sampled_from((0.4, 0.4, 1, 3)))
    def moments_pass(self, seconds: float) -> None:
        self._pass(seconds)

    @precondition(lambda self: not self.hooks)
    @rule(seconds=st.sampled_from((21, 600)))
    def time_passes(self, seconds: int) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for hook in list(self.hooks):
            if self.now.timestamp() - hook.began > LONGEST_HOOK_SECONDS:
                self.hooks.remove(hook)  # the sender has given up

    @rule(role=st.sampled_from(ROLES), pushed=st.booleans())
    def grant_here(self, role: str, pushed: bool) -> None:
        self.user = grant_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = True
        self._push(pushed)

    @rule(role=st.sampled_from(ROLES), pushed=st.booleans())
    def revoke_here(self, role: str, pushed: bool) -> None:
        self.user = revoke_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = False
        self._push(pushed)

    @rule(role=st.sampled_from(ROLES), give=st.booleans(), pushed=st.booleans())
    def a_handler_says(self, role: str, give: bool, pushed: bool) -> None:
        self.user = by_handler(self.user, self.said, role, give, self.now)
        self._push(pushed)

    @rule()
    def push(self) -> None:
        """What is pending is told; the event comes before the answer to the write."""
        self._push(True)

    def _push(self, pushed: bool) -> None:
        account = event("usermodified", roles=sorted(self.identity)).user
        prepared = prepare(self.user, account, self.now) if pushed else None
        if prepared is None:
            return
        self.user = prepared.user
        if prepared.patch:
            self.identity = set(prepared.patch["roles"])
            written = event("usermodified", roles=sorted(self.identity)).user
            self._land(self._deliver(self._event("usermodified", sorted(self.identity))))
            self.user, _ = conclude(self.user, prepared, written, self.now)

    @rule(role=st.sampled_from(ROLES), give=st.booleans())
    def change_there(self, role: str, give: bool) -> None:
        """An administrator at Identity changes one role; the event comes at once."""
        if (role in self.identity) is give:
            return
        if nobody_could_tell(self.user, self.identity, role, give):
            self.said.pop(role, None)
        elif not (give and self._denied(role)):  # a denial of ours beats a grant at Identity
            self.said[role] = give
        if not give:
            # It may undo what an answer did, or that answer never came: then the rest is unclear.
            for one in self.user.at_identity.in_flight:
                if one.told is not None and role in one.told - one.held:
                    self.said = {r: given for r, given in self.said.items() if r in one.told}
        self.identity ^= {role}
        self._land(self._deliver(self._event("usermodified", sorted(self.identity))))

    def _denied(self, role: str) -> bool:
        return any(
            g.role == role and g.denies and g.source is Source.ADMINISTRATOR
            for g in self.user.grants
        )

    @invariant()
    def the_last_word_counts(self) -> None:
        """No revoked role comes back, and nobody's grant is lost."""
        roles = effective(self.user.grants, self.now)
        for role, given in self.said.items():
            assert (role in roles) is given, (role, given)

    def teardown(self) -> None:
        """Every answer lands; later one login, and both sides agree."""
        for hook in self.hooks:
            if hook.reply is None:
                hook.reply = self._deliver(self._event("login", hook.roles))
        for hook in self.hooks:
            self._land(hook.reply)
        self.the_last_word_counts()
        self.now += timedelta(seconds=30)
        for _ in range(2):
            self._land(self._deliver(self._event("login", sorted(self.identity))))
            self.now += timedelta(seconds=1)
        self.the_last_word_counts()
        assert self.identity == effective(self.user.grants, self.now)


Unlocked.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
TestUnlocked = Unlocked.TestCase
