"""Observe mode: the reason that names the answer, and what live answers would change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import POLICY, event
from tests.support import NOON
from usher.core.domain.decide import decide
from usher.core.domain.observation import RULE, Change, Effect, effects, note
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import DeniedError, PolicyError

ROLES = [f"r{number:02}" for number in range(23)]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(204), "204"),
        (Reply(202), "202"),
        (Reply.telling({"roles": ["b", "a"], "plan": "secret"}), "200 with the roles a, b"),
        (Reply.telling({"roles": ROLES}), f"200 with the roles {', '.join(ROLES[:20])} and 3 more"),
        (Reply.telling({"plan": "secret"}), "200 without roles"),
        (Reply.refusing(DeniedError("Not here.")), "403 Not here."),
        (Reply.refusing(PolicyError("rules:decide", "x@y.z")), "500 policy_invalid"),
    ],
)
def test_the_reason_names_the_answer_and_nothing_personal(reply: Reply, words: str) -> None:
    """Status, roles, and the policy's sentence or the code of the error."""
    reason = note(reply)
    assert (reason.rule, reason.text) == (RULE, f"204 in observe mode; live: {words}")


def user(*roles: str, **fields: object) -> User:
    """Ada after a login that showed these roles; the policy gives ``member`` and ``staff``."""
    found = decide(event("login", roles=list(roles)), None, POLICY, NOON, NO_CONTENT).user
    assert found is not None
    return replace(found, **fields)


def test_live_answers_give_what_the_records_give() -> None:
    """Gained, or kept for no other reason than that Identity shows it."""
    assert effects(user("member", "staff"), NOON) == ()
    assert effects(user("member", "editor"), NOON) == (
        Effect(Change.GAINS, "staff"),
        Effect(Change.KEEPS, "editor"),
    )


def test_a_denied_role_is_lost() -> None:
    """As long as the denial holds."""
    seen = user("member", "staff")
    end = NOON + timedelta(hours=1)
    denial = Grant("staff", Source.ADMINISTRATOR, NOON, denies=True, expires_at=end)
    denied = replace(seen, grants=(*seen.grants, denial))
    assert effects(denied, NOON) == (Effect(Change.LOSES, "staff"),)
    assert effects(denied, end) == ()


def test_a_suspended_person_is_refused_and_whoever_has_no_account_is_left_out() -> None:
    """By status."""
    assert effects(user("member", suspended_at=NOON), NOON) == (Effect(Change.REFUSED),)
    assert effects(user("member", confirmed_at=None), NOON) == ()
    assert effects(user("member", deleted_at=NOON), NOON) == ()
