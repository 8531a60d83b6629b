"""``/policy``: the rules in words, their verdict on anybody, and the caller's own roles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from usher.core.domain.codes import STAND_INS
from usher.core.domain.decide import applicant
from usher.core.domain.documents import (
    policy_test_document,
    reason_documents,
    shadow_document,
    utc,
    verdict_document,
)
from usher.core.domain.events import EventName
from usher.core.domain.policy import Reason, somebody
from usher.core.domain.policy_tests import run_tests
from usher.core.domain.records import Grant
from usher.core.domain.roles import effective
from usher.core.domain.rules import FilePolicy
from usher.core.domain.shadow import Groups
from usher.core.policy_source import is_absent
from usher.functions._shared.http import Response
from usher.functions._shared.operation import (
    Access,
    Call,
    Input,
    Operation,
    Paging,
    json_response,
    next_link,
)
from usher.functions.api_methods import schemas


class ExplainRequest(Input):
    """The person to ask the policy about."""

    email: str = Field(min_length=1, max_length=320)
    provider: str = Field("email", max_length=100, description="`email`, `google`, …")
    proven: bool = Field(True, description="Whether somebody has shown that they reach it.")
    event: Literal["validate", "signup"] = "signup"
    invited: bool = Field(False, description="Whether an administrator invited the account.")
    at: AwareDatetime | None = Field(None, description="The time of the event; absent: now.")
    code: Literal["valid", "invalid"] | None = Field(
        None, description="The invitation code that they give; absent: none."
    )


def read(call: Call) -> Response:
    """Return the rules in words, and what the policy's own tests come to."""
    policy = call.app.policy
    return json_response(
        {
            "fingerprint": policy.fingerprint,
            "rules": policy.describe(),
            "tests": [policy_test_document(result) for result in run_tests(policy, call.now)],
            "mode": call.app.settings.mode,
            "rejected": call.app.policy_in_force.rejected or None,
        }
    )


def explain(call: Call) -> Response:
    """Return the policy's verdict on a person not on record, as ``usher policy explain`` does."""
    body: ExplainRequest = call.body
    policy = call.app.policy
    verdict = policy.evaluate(
        somebody(
            body.email,
            at=body.at or call.now,
            event=EventName(body.event),
            proven=body.proven,
            provider=body.provider,
            invited=body.invited,
            instance_id=call.principal.user.instance_id,
            code=STAND_INS[body.code] if body.code else None,
        )
    )
    return json_response(verdict_document(verdict) | {"fingerprint": policy.fingerprint})


def read_shadow(call: Call) -> Response:
    """Return what the shadow policy would have decided otherwise."""
    shadows, source = call.app.shadows, call.app.settings.policy_shadow
    absent = bool(source) and is_absent(source)
    run = shadows.run(source) if source and not absent else None
    groups = shadows.groups(run) if run else Groups()
    page = shadows.page(run, limit=call.query.limit, cursor=call.query.cursor) if run else None
    document = shadow_document(source, run, shadows.newest(), groups, page, absent=absent)
    return json_response(document, headers=next_link(call, page) if page else None)


def read_own(call: Call) -> Response:
    """Return the caller's roles, the sources of each, and the file's rules about them.

    Reasons by administrators and by callables are left out: they were written for administrators.
    """
    user, policy = call.principal.user, call.app.policy
    reasons: tuple[Reason, ...] = ()
    if isinstance(policy, FilePolicy):
        reasons = policy.evaluate(applicant(EventName.LOGIN, user, call.now)).role_reasons
    roles = [
        _held(role, (g for g in user.grants if g.role == role and g.holds(call.now)))
        for role in sorted(effective(user.grants, call.now))
    ]
    admin = call.app.settings.admin_role
    return json_response(
        {
            "roles": roles,
            "reasons": reason_documents(reasons),
            "administrator": admin in call.principal.roles,
            "administrator_role": admin,
            "mode": call.app.settings.mode,
        }
    )


def _held(role: str, grants: Iterable[Grant]) -> dict[str, Any]:
    held = list(grants)
    ends = [grant.expires_at for grant in held if grant.expires_at is not None]
    return {
        "role": role,
        "sources": sorted(grant.source.value for grant in held),
        "since": utc(min(grant.created_at for grant in held)),
        "until": utc(max(ends)) if len(ends) == len(held) else None,
    }


_ADMIN = Access.ADMINISTRATOR
OPERATIONS = (
    Operation("GET", "/policy", "The rules in words", _ADMIN, read, schemas.Policy),
    Operation(
        "GET",
        "/policy/shadow",
        "What the shadow policy would have decided otherwise",
        _ADMIN,
        read_shadow,
        schemas.Shadow,
        query=Paging,
        pages=True,
    ),
    Operation(
        "POST",
        "/policy/explain",
        "What the policy would do",
        _ADMIN,
        explain,
        schemas.PolicyVerdict,
        body=ExplainRequest,
    ),
    Operation(
        "GET", "/policy/me", "Why the caller has their roles", Access.PERSON, read_own, schemas.Why
    ),
)
