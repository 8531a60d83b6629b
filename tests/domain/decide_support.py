"""Events without HTTP or signatures, for the tests of decisions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from tests.support import NOON, account
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, EventName, parse_event
from usher.core.domain.handler_writes import apply_write
from usher.core.domain.outbox import Write
from usher.core.domain.policy import Applicant, Policy, Verdict
from usher.core.domain.records import Decision, Source, User
from usher.core.domain.reply import Reply
from usher.core.domain.rules import FilePolicy
from usher.core.jws import Claims
from usher.core.policy_file import parse_policy
from usher.emulator.payload import ZERO_INSTANCE, event_body

ADA = UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")
T0 = int(NOON.timestamp())

POLICY: FilePolicy = parse_policy("""
[admission]
deny_email_domains = ["bad.example"]

[[role]]
grant = "member"

[[role]]
grant = "staff"
email_domains = ["example.com"]
""")


def asks(applicant: Applicant) -> Verdict:
    """Proven staff enter at once, everybody else waits; one domain is refused, or waits."""
    if applicant.domain == "bad.example":
        return Verdict(False, "Not you.", asks=True)
    staff = applicant.proven and applicant.domain == "example.com"
    roles = {"member", "staff"} if staff else {"member"}
    return Verdict(asks=not staff, roles=frozenset(roles), app_metadata={"plan": "free"})


ASKING: CallablePolicy = CallablePolicy("tests:asks", asks)


def event(name: str, at: int = 0, **fields: Any) -> Event:
    """An event of Ada, ``at`` seconds after noon; fields as in ``tests.support.account``."""
    who = account(user_id=ADA, **fields)
    body = event_body(name, who)
    claims = Claims(ZERO_INSTANCE, T0 + at, hashlib.sha256(body).hexdigest(), 0)
    parsed = parse_event(body, claims)
    assert isinstance(parsed, Event)
    return parsed


def after(
    events: Iterable[Event], user: User | None = None, policy: Policy = POLICY, now: datetime = NOON
) -> User | None:
    """The record after these events in this order, all received at ``now``."""
    for each in events:
        user = decide(each, user, policy, now).user
    return user


def outcome(
    each: Event, user: User | None = None, policy: Policy = POLICY, now: datetime = NOON
) -> Decision:
    """``decide`` with the usual policy and time."""
    return decide(each, user, policy, now)


def nobody_could_tell(user: User, shown: Iterable[str], role: str, give: bool) -> bool:
    """Whether an answer of ours may do what somebody at Identity is about to do to a role.

    Args:
        shown: the roles there, before that change.
    """
    there = user.at_identity
    told = role in there.sent or role in there.withdrawn
    unseen = (role in shown) is not (role in there.seen)
    answers = [one.told for one in there.in_flight if one.told is not None]
    return told or unseen or any((role in answer) is give for answer in answers)


def by_handler(user: User, said: dict[str, bool], role: str, give: bool, now: datetime) -> User:
    """A handler gives or takes a role, which counts unless somebody else has the last word.

    Args:
        said: a model's last clear word on each role.
    """
    words = [grant for grant in user.grants if grant.role == role]
    denied = any(grant.denies for grant in words)
    sources = {grant.source for grant in words if not grant.denies}
    if give and not denied:
        said[role] = True
    elif not give and sources == {Source.HANDLER}:
        said[role] = False
    write = Write(grant=(role,)) if give else Write(revoke=(role,))
    return apply_write(user, write, "handler:site.roles", now)


def message(reply: Reply) -> str:
    """What a refusal tells the person; empty for any other answer."""
    told: str = json.loads(reply.body)["detail"] if reply.status == 403 else ""
    return told


def noted(user: User, **fields: Any) -> User:
    """The record with other notes about what Identity holds and is told."""
    return replace(user, at_identity=replace(user.at_identity, **fields))


def moment(at: int) -> datetime:
    """``at`` seconds after noon."""
    return datetime.fromtimestamp(T0 + at, UTC)


NAMES = [name.value for name in EventName]
