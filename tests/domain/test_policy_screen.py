"""What people type: a screen may refuse or ask by it, and never give anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.decide_support import event, message, outcome
from tests.support import NOON, ROOT
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.decide import decide, welcome
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Ask, Reason, Refuse, Rules, Verdict, somebody
from usher.core.domain.records import Outcome, Status
from usher.core.domain.sync import adopt
from usher.core.domain.trial import try_on_past
from usher.core.errors import PolicyError
from usher.core.policy_source import load_policy

SIGNUP = event("signup", user_metadata={"full_name": "Ada"})
MEMBER = Verdict(roles=frozenset({"member"}))


def code(word: Any, verdict: Verdict = MEMBER) -> CallablePolicy:
    """A policy with this verdict, whose screen says this."""
    return CallablePolicy("rules:rules", lambda _: verdict, lambda _: word)


SCREENED = "rules:rules.screen"
# word, admitted, asks, message, the screen's reason
WORDS = [
    (None, True, False, "", None),
    (Refuse(), False, False, "This site does not admit this account.", "refused by what was typed"),
    (Refuse("Your own name.", "junk"), False, False, "Your own name.", "junk"),
    (Ask(), True, True, "", "asks an administrator, by what was typed"),
    (Ask("no name"), True, True, "", "no name"),
]


@pytest.mark.parametrize(("word", "admitted", "asks", "said", "reason"), WORDS)
def test_a_screen_refuses_or_asks(
    word: Any, admitted: bool, asks: bool, said: str, reason: str | None
) -> None:
    """With its reason beside that of the verdict."""
    policy = code(word)
    verdict = policy.evaluate(somebody("ada@a.example", at=NOON))
    found = policy.screen(SIGNUP, verdict)
    assert (found.admitted, found.asks, found.message) == (admitted, asks, said)
    assert found.reasons == (*verdict.reasons, *([Reason(SCREENED, reason)] if reason else []))
    assert (found.roles, found.role_reasons) == (verdict.roles, verdict.role_reasons)


VERDICTS = st.builds(
    Verdict,
    admitted=st.booleans(),
    message=st.sampled_from(["", "No."]),
    roles=st.frozensets(st.sampled_from(["member", "admin"])),
    app_metadata=st.sampled_from([{}, {"plan": "free"}]),
    asks=st.booleans(),
)
SAID = st.none() | st.builds(Refuse, st.text("ab"), st.text("ab")) | st.builds(Ask, st.text("ab"))


@given(VERDICTS, SAID)
def test_a_screen_can_only_make_an_answer_stricter(verdict: Verdict, word: Any) -> None:
    """It opens nothing, and gives nothing: no role, no end of one, no constant."""
    policy = code(word, verdict)
    before = policy.evaluate(somebody("ada@a.example", at=NOON))
    after = policy.screen(SIGNUP, before)
    assert after.admitted <= before.admitted
    assert after.asks >= before.asks
    assert (after.roles, after.ends, after.app_metadata) == (
        before.roles, before.ends, before.app_metadata,
    )  # fmt: skip
    assert after.admitted or after.message


@pytest.mark.parametrize("word", [None, Refuse(), Ask()])
def test_a_refusal_lets_nobody_in_whom_the_rules_make_wait(word: Any) -> None:
    """At a login it comes too late to refuse, and no role comes before an approval."""
    policy = code(word, Verdict(roles=frozenset({"member"}), asks=True))
    user = decide(event("login", email="ada@other.org"), None, policy, NOON).user
    assert user is not None
    assert (user.status, user.grants) == (Status.WAITING, ())


@pytest.mark.parametrize(("word", "status"), [(Ask(), Status.WAITING), (None, Status.ACTIVE)])
def test_an_account_that_comes_before_its_events_is_screened_too(word: Any, status: Status) -> None:
    """By its token, or by a sync: neither is a way around the question."""
    seen: list[Event] = []

    def screen(asked: Event) -> Any:
        seen.append(asked)
        return word

    policy = CallablePolicy("rules:rules", lambda _: MEMBER, screen)
    login = event("login", user_metadata={"full_name": "Ada"}, confirmed_at=NOON)
    instance, person = login.instance_id, login.user
    assert welcome(instance, person, None, policy, NOON).status is status
    synced = adopt(instance, person, None, policy, NOON)
    assert synced.status is status
    assert [each.user.user_metadata for each in seen] == [{"full_name": "Ada"}] * 2
    changed = event("login", email="other@example.com", confirmed_at=NOON).user
    assert adopt(instance, changed, synced, policy, NOON).status is status
    assert len(seen) == 2  # settled, or waiting: neither is asked about again


def test_its_words_have_no_roles() -> None:
    """What a screen answers has nowhere to put one."""
    assert (Refuse.__struct_fields__, Ask.__struct_fields__) == (("message", "reason"), ("reason",))


def test_a_screen_is_asked_where_admission_is() -> None:
    """With the whole event; neither after a refusal, nor at an active person's login."""
    seen: list[Event] = []

    def screen(what: Event) -> None:
        seen.append(what)

    policy = CallablePolicy("rules:rules", lambda _: MEMBER, screen)
    validate = event("validate", user_metadata={"full_name": "Ada"})
    outcome(validate, policy=policy)
    active = outcome(SIGNUP, policy=policy).user
    outcome(event("login", 5), active, policy)
    outcome(event("usermodified", 6), active, policy)
    assert seen == [validate, SIGNUP]
    assert (seen[0].user.user_metadata or {})["full_name"] == "Ada"
    outcome(SIGNUP, policy=CallablePolicy("r:r", lambda _: Verdict(admitted=False), screen))
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["validate", "signup"])
def test_a_refusal_by_the_screen_is_one_of_the_policy(name: str) -> None:
    """403, with its sentence and both reasons; nothing is put on record."""
    found = outcome(event(name), policy=code(Refuse("Your own name.", "junk")))
    assert (found.outcome, found.user, found.reply.status) == (Outcome.DENIED, None, 403)
    assert message(found.reply) == "Your own name."
    assert [reason.rule for reason in found.reasons] == ["rules:rules", SCREENED]
    assert found.address_key == "ada@example.com"


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("no", "screen must return Refuse, Ask or None, not str"),
        (True, "screen must return Refuse, Ask or None, not bool"),
        (MEMBER, "screen must return Refuse, Ask or None, not Verdict"),
        (Refuse, "screen must return Refuse, Ask or None, not "),
        (Refuse(message=7), "message and reason of the screen must be texts"),  # type: ignore[arg-type]
        (Refuse(reason="\x00"), "message and reason of the screen must be texts"),
        (Ask(reason=None), "message and reason of the screen must be texts"),  # type: ignore[arg-type]
    ],
)
def test_a_screen_that_breaks_its_contract_is_a_policy_error(word: Any, problem: str) -> None:
    """A verdict with roles is no answer of a screen."""
    with pytest.raises(PolicyError) as caught:
        code(word).screen(SIGNUP, MEMBER)
    assert caught.value.where == "rules:rules"
    assert caught.value.problem.startswith(problem)
    assert caught.value.at is not None


def fails(_event: Event) -> None:
    """A screen that raises."""
    raise KeyError("full_name")


def test_a_screen_that_fails_is_a_policy_error() -> None:
    """Named as that of the policy; the cause leads to its own line."""
    with pytest.raises(PolicyError, match="rules:rules: raised KeyError") as caught:
        CallablePolicy("rules:rules", lambda _: MEMBER, fails).screen(SIGNUP, MEMBER)
    assert isinstance(caught.value.__cause__, KeyError)


SOON = datetime(2026, 12, 24, 18, tzinfo=timezone(timedelta(hours=1)))
ENDS: list[tuple[Any, str]] = [
    ({"admin": SOON}, "ends must map roles that are given"),
    ({"member": "tomorrow"}, "ends must map roles that are given"),
    ({"member": datetime(2026, 12, 24)}, "ends must map roles that are given"),  # noqa: DTZ001
    (["member"], "ends must map roles that are given"),
    ({"member": datetime.min.replace(tzinfo=SOON.tzinfo)}, "ends has a time that is out of range"),
]


@pytest.mark.parametrize(("ends", "problem"), ENDS)
def test_ends_of_a_callable_are_checked(ends: Any, problem: str) -> None:
    """They go into grants."""
    with pytest.raises(PolicyError) as caught:
        code(None, Verdict(roles=frozenset({"member"}), ends=ends)).evaluate(
            somebody("ada@a.example", at=NOON)
        )
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("verdict", "admitted", "asks", "text"),
    [
        (Verdict(asks=True), True, True, "asks an administrator"),
        (Verdict(admitted=False, asks=True), False, True, "not admitted"),
    ],
)
def test_a_callable_may_ask(verdict: Verdict, admitted: bool, asks: bool, text: str) -> None:
    """With a refusal, too: it counts where nobody can be refused any more."""
    found = code(None, verdict).evaluate(somebody("ada@a.example", at=NOON))
    assert (found.admitted, found.asks, found.reasons[0].text) == (admitted, asks, text)


def test_a_callables_ends_are_utc_and_its_asks_a_boolean() -> None:
    """As those of the file are."""
    given = Verdict(roles=frozenset({"member"}), ends={"member": SOON})
    found = code(None, given).evaluate(somebody("ada@a.example", at=NOON))
    assert found.ends["member"] == SOON
    assert found.ends["member"].tzinfo is UTC
    with pytest.raises(PolicyError, match="asks must be True or False"):
        code(None, Verdict(asks="yes")).evaluate(somebody("a@b.example", at=NOON))  # type: ignore[arg-type]


def differences(old: CallablePolicy, new: CallablePolicy) -> list[str]:
    """What a trial of the new policy tells of one signup."""
    trial = try_on_past([[(SIGNUP, NOON)]], old, new)
    assert trial.count == 1
    return [group.what for group in trial.differences.groups()]


def test_a_trial_asks_the_screens_of_both_policies() -> None:
    """A difference of the screens alone is one, and so is a fault."""
    refusing = code(Refuse())
    assert differences(code(None), code(None)) == []
    assert differences(refusing, code(Refuse())) == []
    assert "admission at signup" in differences(code(None), refusing)
    assert "admission at signup" in differences(refusing, code(None))
    assert "admission at signup" in differences(code(None), code("nonsense"))


PYTHON = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
EXAMPLES = PYTHON.findall((ROOT / "docs" / "policy.md").read_text())


@pytest.mark.parametrize(("number", "name"), [(0, "decide"), (1, "rules")])
def test_the_pages_code_is_a_policy(
    number: int, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/policy.md shows can be copied into rules.py."""
    module = f"page_{number}_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(EXAMPLES[number])
    monkeypatch.syspath_prepend(str(tmp_path))
    policy = load_policy(f"{module}:{name}")
    staff = policy.evaluate(somebody("ada@example.com", at=NOON))
    assert "staff" in staff.roles
    screened = {
        full_name: policy.screen(event("signup", user_metadata={"full_name": full_name}), staff)
        for full_name in ("Ada", "Best CASINO", None, 7)
    }
    answers = {key: (each.admitted, each.asks) for key, each in screened.items()}
    if name == "decide":
        assert set(answers.values()) == {(True, False)}
        return
    assert answers == {
        "Ada": (True, False), "Best CASINO": (False, False), None: (True, True), 7: (True, False),
    }  # fmt: skip
    assert policy.describe() == [
        f"The callable {module}:rules decides.",
        "It also refuses, or asks an administrator, by what people type.",
    ]


def test_rules_are_two_functions() -> None:
    """By name or by place."""
    decide: Callable[[Applicant], Verdict] = lambda _: MEMBER  # noqa: E731
    assert Rules(decide, fails).screen is fails
