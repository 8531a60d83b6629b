"""The instance in use as a table: what is taken, what adopts, what others' events come to."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from usher.core.domain.events import EventName
from usher.core.domain.instances import OTHER, How, KnownInstances, of_other_instance
from usher.core.domain.records import Outcome
from usher.core.errors import InstanceUnknownError, SeveralInstancesError

ZERO, A, B = UUID(int=0), UUID(int=1), UUID(int=2)
NOTHING = KnownInstances()
BY = {how: KnownInstances(frozenset({A}), how) for how in How if how is not How.NOT}
SEVERAL = KnownInstances(frozenset({A, B}), How.RECORDS)


@pytest.mark.parametrize(
    ("known", "takes_a", "takes_zero", "names_a", "names_zero"),
    [
        pytest.param(NOTHING, True, True, True, True, id="nothing"),
        pytest.param(BY[How.SETTING], True, False, True, False, id="setting"),
        pytest.param(BY[How.EVENT], True, False, True, False, id="event"),
        pytest.param(BY[How.UPGRADE], True, False, True, False, id="upgrade"),
        pytest.param(BY[How.RECORDS], True, False, True, True, id="records"),
        pytest.param(SEVERAL, True, False, False, False, id="several"),
    ],
)
def test_d1_whose_events_are_taken_and_whose_adopt(
    known: KnownInstances, takes_a: bool, takes_zero: bool, names_a: bool, names_zero: bool
) -> None:
    """Zero is an instance like any other; records alone do not keep a live event from adopting."""
    assert (known.takes(A), known.takes(ZERO)) == (takes_a, takes_zero)
    assert (known.names(A), known.names(ZERO)) == (names_a, names_zero)


@pytest.mark.parametrize("how", list(How))
def test_d2_only_a_choice_settles_where_records_go(how: How) -> None:
    """What is merely on record is shown; nothing new is written under it."""
    known = KnownInstances(frozenset({ZERO}) if how is not How.NOT else frozenset(), how)
    assert known.one == (None if how is How.NOT else ZERO)
    assert known.chosen == (how in (How.SETTING, How.EVENT, How.UPGRADE))
    if known.chosen:
        assert known.settled() == ZERO
    else:
        with pytest.raises(InstanceUnknownError, match="Log out"):
            known.settled()


def test_d1_records_of_several_name_all_of_them() -> None:
    """The error has the ids, and says how to choose."""
    for ask in (lambda: SEVERAL.one, SEVERAL.settled):
        with pytest.raises(SeveralInstancesError, match=f"{A}, {B}.*USHER_INSTANCE_ID"):
            ask()


def test_d1_the_first_event_without_an_adoption_binds_those_that_follow() -> None:
    """A replay of two instances into an empty database makes records of one."""
    first = NOTHING.first(B)
    assert first == KnownInstances(frozenset({B}), How.RECORDS)
    assert first.first(A) is first


@pytest.mark.parametrize("name", [*EventName, None])
def test_d1_what_an_event_of_another_instance_comes_to(name: EventName | None) -> None:
    """Nobody enters by it; what has happened already is accepted and ignored."""
    decision = of_other_instance(name)
    assert (decision.outcome, decision.user, decision.audit) == (Outcome.IGNORED, None, None)
    assert decision.reasons == (OTHER,)
    if name in (EventName.VALIDATE, EventName.SIGNUP, EventName.LOGIN):
        assert decision.reply.status == 401
        assert json.loads(decision.reply.body)["code"] == "signature_invalid"
    else:
        assert (decision.reply.status, decision.reply.body) == (204, "")
