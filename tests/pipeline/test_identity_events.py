"""Events through the handlers, on both databases."""

from __future__ import annotations

import json

from tests.support import Clock, account, call, signed
from usher.core.app import App
from usher.core.domain.roles import effective


def test_a_signup_becomes_an_active_user_with_the_policys_roles(usher: App, clock: Clock) -> None:
    """The main job: verified, admitted, provisioned, and the whole app_metadata answered."""
    ada = account(email="Ada@Example.com", app_metadata={"provider": "email", "plan": {"n": 1}})
    answer = call(signed("signup", ada))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {
        "app_metadata": {"provider": "email", "plan": {"n": 1}, "roles": ["member", "staff"]}
    }
    user = usher.store.users.find("ada@EXAMPLE.com")
    assert (user.id, user.email, user.status) == (ada.id, "Ada@Example.com", "active")
    assert effective(user.grants, clock()) == {"member", "staff"}


def test_a_denied_signup_leaves_no_user_and_every_retry_gets_the_same_answer(usher: App) -> None:
    """A denial is stored with its message and never turned into an admission by a retry."""
    delivery = signed("signup", account(email="x@mailinator.com"))
    answers = [call(delivery) for _ in range(3)]
    assert answers[0]["statusCode"] == 403
    assert json.loads(answers[0]["body"])["detail"] == "Please use an address that lasts."
    assert answers[1] == answers[0] == answers[2]
    assert usher.store.users.page().items == ()
    assert len(usher.store.ledger.page().items) == 1
