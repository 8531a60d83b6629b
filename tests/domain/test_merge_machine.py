"""People on both sides change roles while replies are applied, delayed or rolled back.

A model keeps, for each role, what the last person said; Usher must end there. Where a person at
Identity says what an unconfirmed answer of ours also said, nobody can tell the two apart, and the
model expects nothing until the next clear word.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.domain.decide_support import NOON, POLICY, T0, event, nobody_could_tell
from tests.profiles import examples
from usher.core.domain.administration import grant_role, revoke_role
from usher.core.domain.decide import decide
from usher.core.domain.records import Source, User
from usher.core.domain.roles import effective

ROLES = ("editor", "author", "member", "staff")
POLICY_ROLES = {"member", "staff"}


class Merge(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.identity: set[str] = set()
        self.user: User | None = None
        self.spoken: set[str] = set()
        self.said: dict[str, bool] = {}  # role -> whether the last clear word gave it
        self.login(applied=True)

    @rule(applied=st.booleans())
    def login(self, applied: bool) -> None:
        """The person logs in; the reply is applied, or rolled back at Identity."""
        self._send("login", applied)

    @rule()
    def looked_at(self) -> None:
        """An administrator at Identity saves the user without changing roles."""
        self._send("usermodified", applied=True)

    def _send(self, name: str, applied: bool) -> None:
        self.now += timedelta(seconds=2)
        at = int(self.now.timestamp()) - T0
        found = decide(
            event(name, at, roles=sorted(self.identity), confirmed_at=NOON),
            self.user,
            POLICY,
            self.now,
        )
        self.user = found.user
        if found.reply.app_metadata is not None and applied:
            self.identity = set(found.reply.app_metadata["roles"])

    @rule(hours=st.sampled_from((0.2, 2)))
    def time_passes(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @rule(role=st.sampled_from(ROLES))
    def grant_here(self, role: str) -> None:
        assert self.user is not None
        self.user = grant_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = True

    @rule(role=st.sampled_from(ROLES))
    def revoke_here(self, role: str) -> None:
        assert self.user is not None
        self.user = revoke_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = False

    @precondition(lambda self: self.user is not None)
    @rule(role=st.sampled_from(ROLES), give=st.booleans())
    def change_there(self, role: str, give: bool) -> None:
        """An administrator at Identity changes one role; the event comes at once."""
        assert self.user is not None
        if (role in self.identity) is give:
            return
        unclear = nobody_could_tell(self.user, self.identity, role, give)
        denied = any(
            g.role == role and g.denies and g.source is Source.ADMINISTRATOR
            for g in self.user.grants
        )
        self.identity ^= {role}
        if unclear:
            self.said.pop(role, None)
        elif not (give and denied):  # a denial of ours beats a grant at Identity
            self.said[role] = give
        self._send("usermodified", applied=True)

    @invariant()
    def the_last_word_counts(self) -> None:
        """Nobody's change is lost, and none of our own echoes counts as one."""
        if self.user is None:
            return
        roles = effective(self.user.grants, self.now)
        for role, given in self.said.items():
            assert (role in roles) is given, (role, given)

    @invariant()
    def untouched_roles_follow_the_policy(self) -> None:
        """A role of which nobody ever said anything is exactly the policy's."""
        if self.user is None:
            return
        self.spoken |= set(self.said)
        roles = effective(self.user.grants, self.now)
        assert roles - self.spoken == POLICY_ROLES - self.spoken


Merge.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=25)
TestMerge = Merge.TestCase
