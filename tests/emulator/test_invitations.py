"""Invitations through Identity, which asks us first: a refusal of ours is told as ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.api.api_support import bearer
from tests.emulator.pushes_support import Together
from tests.emulator.world import JWT_SECRET, World
from tests.support import account, call, signed
from usher.functions import api

Make = Callable[..., World]
LASTS = "Please use an address that lasts."


def invite(site: Together, email: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """The administrator's call: status and answer."""
    site.clock.advance(seconds=1)
    event = {
        "httpMethod": "POST",
        "path": "/api/users",
        "headers": {
            "authorization": "Bearer " + bearer(UUID(site.boss), site.clock(), JWT_SECRET),
            "content-type": "application/json",
        },
        "body": json.dumps({"email": email} | body),
    }
    answer = api.handler(event, None)
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.parametrize("email", ["eve@mailinator.com", "Eve@MAILINATOR.com"])
def test_h6_whom_our_policy_refuses_is_told_in_its_words(site: Together, email: str) -> None:
    """It was us who refused, through Identity's webhook; nobody was made."""
    status, answer = invite(site, email)
    assert (status, answer["code"], answer["detail"]) == (403, "denied", LASTS)
    assert site.world.admin("GET", "/admin/users?filter=mailinator").json["users"] == []
    denied = site.api("GET", "/events?outcome=denied")["events"]
    assert [each["event"] for each in denied] == ["validate"]


def test_h6_and_again_each_time(site: Together) -> None:
    """A new call is a new decision."""
    for _ in range(2):
        assert invite(site, "eve@mailinator.com")[1]["detail"] == LASTS
    assert invite(site, "bob@example.com", data={"full_name": "Bob"})[0] == 201


def test_h6_a_refusal_of_identitys_own_stays_its_own(site: Together) -> None:
    """Even where we refused that address, or another, some time before."""
    assert invite(site, "bob@example.com")[0] == 201
    assert invite(site, "eve@mailinator.com")[0] == 403
    eve = account(email="bob@example.com", app_metadata={}, user_metadata={})
    assert call(signed("validate", eve, at=site.clock()))["statusCode"] == 204
    status, answer = invite(site, "bob@example.com")
    assert (status, answer["code"]) == (409, "identity_refused")
    assert "already registered" in answer["detail"]


def test_h6_a_refusal_of_somebody_else_meanwhile_is_not_taken_for_ours(site: Together) -> None:
    """The address tells them apart."""
    assert invite(site, "bob@example.com")[0] == 201

    def somebody_signs_up(what: str) -> None:
        if what == "POST /invite":
            assert site.world.sign_up("eve@mailinator.com").status == 422

    site.before = somebody_signs_up
    status, answer = invite(site, "bob@example.com")
    assert (status, answer["code"]) == (409, "identity_refused")
    site.before = None
    assert site.api("GET", "/events?outcome=denied")["events"]


def test_h6_a_failure_that_is_no_refusal_is_not_told_as_one(site: Together) -> None:
    """We let that person in; what failed came after it."""
    rules = {"rules": [{"fault": "rollback", "event": "validate", "count": 1}]}
    assert site.world.call("PUT", "/_dev/faults", rules).status == 200
    status, answer = invite(site, "bob@example.com")
    assert (status, answer["code"]) == (503, "identity_unavailable")
