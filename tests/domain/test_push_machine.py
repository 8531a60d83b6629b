"""People on both sides change roles at every moment of a push; events and answers may be lost.

A model keeps what the last person said of each role, as the merge's own machine does. When all is
settled, Identity holds exactly the roles that hold here, and those are what people said last.
"""

from __future__ import annotations

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
from usher.core.domain.events import IdentityUser
from usher.core.domain.push import Prepared, conclude, patch_for, prepare, same_view
from usher.core.domain.records import Source, User
from usher.core.domain.roles import effective

ROLES = ("editor", "author", "member", "staff")


class Pushing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.identity = {"member", "staff"}
        first = after([event("login", roles=["member", "staff"])])
        assert first is not None
        self.user: User = first
        self.said: dict[str, bool] = {}
        self.found: tuple[IdentityUser, User] | None = None
        self.prepared: Prepared | None = None
        self.answer: IdentityUser | None = None

    def _account(self) -> IdentityUser:
        return event("usermodified", self._at(), roles=sorted(self.identity)).user

    def _at(self) -> int:
        return int(self.now.timestamp()) - T0

    def _tell(self, lost: bool) -> None:
        """The event of a change at Identity, whose answer is stored there."""
        self.now += timedelta(seconds=2)
        if lost:
            return
        told = event("usermodified", self._at(), roles=sorted(self.identity), confirmed_at=NOON)
        outcome = decide(told, self.user, POLICY, self.now)
        assert outcome.user is not None
        self.user = outcome.user
        if outcome.reply.app_metadata is not None:
            self.identity = set(outcome.reply.app_metadata["roles"])

    @rule(role=st.sampled_from(ROLES))
    def grant_here(self, role: str) -> None:
        self.user = grant_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = True

    @rule(role=st.sampled_from(ROLES))
    def revoke_here(self, role: str) -> None:
        self.user = revoke_role(self.user, role, actor="cli", now=self.now)
        self.said[role] = False

    @rule(role=st.sampled_from(ROLES), give=st.booleans())
    def a_handler_says(self, role: str, give: bool) -> None:
        self.user = by_handler(self.user, self.said, role, give, self.now)

    @rule(role=st.sampled_from(ROLES), give=st.booleans())
    def change_there(self, role: str, give: bool) -> None:
        """An administrator at Identity changes one role; the event comes at once."""
        if (role in self.identity) is give:
            return
        noted = self.user.at_identity
        unclear = nobody_could_tell(self.user, self.identity, role, give)
        denied = any(
            g.role == role and g.denies and g.source is Source.ADMINISTRATOR
            for g in self.user.grants
        )
        self.identity ^= {role}
        ours = noted.pushing is not None and give is (role in noted.pushing)
        if unclear or ours:
            self.said.pop(role, None)  # nobody could tell it from our own writing
        elif not (give and denied):
            self.said[role] = give
        self._tell(lost=False)

    @rule()
    def look(self) -> None:
        """A push begins, or begins again: what Identity holds is read."""
        self.now += timedelta(seconds=1)
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
            if not self.prepared.patch:
                self.prepared = None

    @precondition(lambda self: self.prepared is not None and self.answer is None)
    @rule(lost=st.booleans())
    def write(self, lost: bool) -> None:
        """What was worked out is written; the event about it may be lost."""
        assert self.prepared is not None
        self.now += timedelta(seconds=1)
        self.identity = set(self.prepared.patch.get("roles", self.identity))
        self.answer = self._account()
        self._tell(lost)

    @precondition(lambda self: self.answer is not None)
    @rule(lost=st.booleans())
    def take_answer(self, lost: bool) -> None:
        """Identity's answer arrives, or does not."""
        assert self.answer is not None
        assert self.prepared is not None
        if not lost:
            self.user, done = conclude(self.user, self.prepared, self.answer, self.now)
            if done:
                assert self.identity == effective(self.user.grants, self.now)
        self.prepared = self.answer = None

    @invariant()
    def the_last_word_counts(self) -> None:
        """Nobody's change is lost, and none of our own echoes counts as one."""
        roles = effective(self.user.grants, self.now)
        for role, given in self.said.items():
            assert (role in roles) is given, (role, given)

    def teardown(self) -> None:
        """A last push from the beginning, with nobody else at it."""
        for _ in range(3):
            self.look()
            self.merge()
            if self.prepared is not None:
                self.write(lost=True)
                self.take_answer(lost=False)
        self.the_last_word_counts()
        assert self.identity == effective(self.user.grants, self.now)
        assert not patch_for(self.user, self._account(), self.now)


Pushing.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=25)
TestPushing = Pushing.TestCase
