"""Models of answers, for the OpenAPI document; usher.core.domain.documents makes the answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from usher.functions._shared.operation import Document

Metadata = dict[str, Any]


class Problem(BaseModel):
    """An error: RFC 9457 problem details with a stable code."""

    type: str = Field(description="`urn:usher:error:` and the code.")
    title: str
    status: int
    code: str = Field(description="Stable; docs/errors.md describes each.")
    detail: str | None = None
    errors: list[ProblemPlace] | None = None


class ProblemPlace(Document):
    """One thing that is wrong with what was sent, and where."""

    pointer: str | None = Field(None, description="JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(None, description="Name of a query parameter.")
    detail: str


class Own(Document):
    """A person's own record, as they see it."""

    id: UUID
    email: str
    status: Literal["pending", "waiting", "active", "suspended", "deleted"]
    provider: str
    roles: list[str] = Field(description="The roles that hold now, sorted.")
    profile: Metadata = Field(description="The person's own data, unknown to Identity.")
    user_metadata: Metadata = Field(description="As Identity last sent it.")
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    last_seen_at: datetime | None
    version: int = Field(description="Grows with every change; the ETag.")


Mode = Annotated[
    Literal["live", "observe"],
    Field(description="`observe`: every event is answered 204, and no answer has any effect."),
]


class Mine(Own):
    """The caller's own record, with what somebody who waits is told."""

    app_metadata: Metadata = Field(
        description="As Identity last sent it, without roles, with what is added to every reply."
    )
    written: Metadata = Field(description="The keys of metadata that handlers wrote.")
    message: str | None = Field(description="For somebody who waits to be let in; else null.")
    mode: Mode


class OwnRequest(Document):
    """A request, as the person sees it."""

    id: int
    role: str | None = Field(description="Null: to be let in.")
    reason: str = Field(description="The person's words.")
    state: Literal["open", "approved", "declined"]
    message: str | None = Field(description="What the person is told.")
    created_at: datetime
    decided_at: datetime | None


class OwnRequests(Document):
    """The caller's requests, the newest first."""

    requests: list[OwnRequest]


class Grant(Document):
    """One source's word about one role."""

    role: str
    source: Literal["policy", "administrator", "identity", "handler"]
    denies: bool = Field(description="A denial: it beats every grant of the role.")
    holds: bool = Field(description="Has not ended.")
    actor: str
    reason: str
    created_at: datetime
    expires_at: datetime | None


IdentityState = Annotated[
    Literal["in step", "pending"],
    Field(description="`pending`: Identity must still be told of a change made here."),
]


class HandlerKeys(Document):
    """The keys of metadata that handlers wrote, each with the name of the handler."""

    app_metadata: dict[str, str]
    user_metadata: dict[str, str]


class User(Own):
    """A user's whole record."""

    instance_id: UUID
    app_metadata: Metadata = Field(description="As Identity last sent it, without roles.")
    extra_app_metadata: Metadata = Field(
        description="Added to every reply by administrators and handlers; null takes a key away."
    )
    written: HandlerKeys = Field(description="The handler that wrote a key, by key.")
    grants: list[Grant]
    identity: IdentityState
    unreadable_roles: str | None = Field(
        description="What of the roles at Identity cannot be read; null: all can."
    )
    suspended_at: datetime | None
    deleted_at: datetime | None


class UserList(Document):
    """A page of users."""

    users: list[User]
    next_cursor: str | None = Field(description="Of the next page; null on the last.")


class UserRoles(Document):
    """A user's roles, and who said what about them."""

    roles: list[str]
    grants: list[Grant]
    identity: IdentityState


class Reason(Document):
    """A rule that made a decision."""

    rule: str
    text: str


class Reply(Document):
    """The answer that Identity got."""

    status: int
    body: str


class Event(Document):
    """A delivery, and what became of it."""

    id: str
    sequence: int
    instance_id: UUID
    event: str
    user_id: UUID | None
    issued_at: datetime
    received_at: datetime
    path: str
    outcome: Literal["applied", "unchanged", "denied", "ignored", "invalid", "failed"]
    reasons: list[Reason]
    policy: str = Field(description="Fingerprint of the policy that was asked.")
    key_index: int = Field(
        description="Which secret verified; 0 is the newest, -1: it was imported."
    )
    reply: Reply
    body_digest: str
    origin: Literal["live", "replay", "effects", "trigger"]


class EventWithBody(Event):
    """A delivery with what it said and led to."""

    body: str | None = Field(description="Null once erased.")
    led_to: list[LedTo] = Field(description="The changes that it led to, in order.")


class EventList(Document):
    """A page of events."""

    events: list[Event]
    next_cursor: str | None


class Replay(Document):
    """The outcome of an event, decided again now."""

    dry_run: bool = Field(description="Nothing was changed.")
    recorded: Decision
    now: Decision
    differs: bool
    user: User | None = Field(description="The record as it is now, or would be.")


class Decision(Document):
    """A decision on an event."""

    outcome: str
    reasons: list[Reason]
    reply: Reply


class AuditEntry(Document):
    """One change of one record, or of the policy."""

    sequence: int
    at: datetime
    actor: str = Field(description="`identity`, `user:<id>`, `cli:<name>`, `sync` or `usher`.")
    action: str
    user_id: UUID = Field(description="The nil UUID: it is about the site, and nobody's record.")
    delivery_id: str | None = Field(description="The event that caused it.")
    reason: str
    before: dict[str, Any] | None = Field(
        description="What differs, before; of maps only the keys that differ. Null: no record."
    )
    after: dict[str, Any]


class AuditList(Document):
    """A page of the audit."""

    audit: list[AuditEntry]
    next_cursor: str | None


class Code(Document):
    """An invitation code; its spelling is told once, when it is made."""

    id: UUID
    state: Literal["open", "ended", "used_up", "revoked"]
    label: str
    allowed: int = Field(description="Accounts that it admits.")
    used: int = Field(description="Accounts that it has admitted.")
    roles: list[str] = Field(description="Given to each account that uses it.")
    roles_until: datetime | None
    ends_at: datetime | None
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


class CodeMade(Code):
    """An invitation code that was made just now."""

    code: str = Field(description="Its spelling. Nobody can tell it later.")


class CodesMade(Document):
    """New invitation codes."""

    codes: list[CodeMade]
    invitation_code: str | None = Field(description="The key that the policy names; null: none.")


class CodeList(Document):
    """A page of invitation codes."""

    codes: list[Code]
    invitation_code: str | None = Field(description="The key that the policy names; null: none.")
    next_cursor: str | None = Field(description="Of the next page; null on the last.")


class CodeUse(Document):
    """An account that used a code."""

    user_id: UUID
    used_at: datetime


class CodeUseList(Document):
    """A page of accounts that used a code."""

    uses: list[CodeUse]
    next_cursor: str | None


class Key(Document):
    """A key of a machine; its text is told once, when it is made."""

    name: str
    state: Literal["open", "expired", "revoked"]
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None = Field(description="To the minute.")


class KeyMade(Key):
    """A key that was made just now."""

    key: str = Field(description="Its text. Nobody can tell it later.")


class KeyList(Document):
    """A page of keys."""

    keys: list[Key]
    next_cursor: str | None = Field(description="Of the next page; null on the last.")


class ChangedPerson(Document):
    """The person of a change, as on record now; of a deleted one little more than the id."""

    id: UUID
    email: str
    status: str
    roles: list[str]
    user_metadata: Metadata
    app_metadata: Metadata
    profile: Metadata
    written: Metadata = Field(description="The keys of metadata that handlers wrote.")


class Change(Document):
    """One fact about one person; the last five fields stand in a full one only."""

    id: str = Field(description="The same whenever it is told: an idempotency key.")
    kind: str = Field(description="Such as `user.confirmed`.")
    at: datetime
    instance_id: UUID
    user_id: UUID
    sequence: int = Field(description="Its entry of the audit; grows with a person's changes.")
    role: str | None = Field(description="The one that was granted or revoked.")
    delivery_id: str | None = Field(description="Of the event that caused it; null: an act.")
    user: ChangedPerson | None = None
    before: Metadata | None = Field(None, description="The parts that differ, as they were.")
    after: Metadata | None = Field(None, description="The parts that differ, as they became.")
    actor: str | None = None
    reason: str | None = None


class ChangeList(Document):
    """Some changes, the oldest first."""

    changes: list[Change]
    next_cursor: str = Field(description="Where the feed goes on; keep it with what you did.")
    more: bool = Field(description="Whether there are more already; else wait.")


class Sink(Document):
    """A receiver of changes by webhook."""

    id: UUID
    url: str
    changes: list[str] = Field(description="The kinds of changes that it gets.")
    full: bool = Field(description="Whether it gets the person and what differs, or ids alone.")
    state: Literal["active", "paused"]
    old_secret_until: datetime | None = Field(
        description="Until when a secret from before signs beside the newest; null: none does."
    )
    created_at: datetime
    created_by: str
    paused_at: datetime | None
    paused_by: str = Field(description="An actor; the sink itself, where it answered 410.")


class SinkWithSecret(Sink):
    """A sink whose secret was set just now."""

    secret: str = Field(description="Nobody can tell it later.")


class SinkList(Document):
    """All sinks."""

    sinks: list[Sink]


class SinkTrial(Document):
    """The outcome of a webhook for trial."""

    delivered: bool
    status: int | None = Field(description="Of the answer; null: there was none.")
    problem: str | None
    elapsed_ms: int


class Consumer(Document):
    """How things stand with one consumer of changes."""

    name: str = Field(description="`handler:NAME` or `sink:ID`.")
    behind: int = Field(
        description="Entries of the audit that it has not come to; 40,000 are counted at most."
    )
    waiting: int = Field(description="Changes that wait: tried again, too young, or behind one.")
    dead: int = Field(description="Dead letters: changes that failed for three days.")
    oldest_at: datetime | None = Field(
        description="Of the oldest change that it does not have, dead letters apart."
    )
    seen_at: datetime = Field(description="When a server worked for it last.")
    paused: bool = Field(description="A sink that is paused.")


class OutboxChange(Document):
    """A change that was not handed over at once."""

    number: int
    consumer: str
    state: Literal["waiting", "dead", "dropped"] = Field(
        description="`dropped`: Identity never had the account."
    )
    kind: str
    role: str | None
    instance_id: UUID
    user_id: UUID
    change_id: str = Field(description="The key that the consumer gets, `chg_…`.")
    sequence: int = Field(description="Its entry of the audit.")
    at: datetime
    tries: int
    due_at: datetime | None = Field(
        description="When it is tried next; null: another of the same person goes first, or it is "
        "no longer tried."
    )
    error: str | None = Field(description="Of the last attempt.")
    failed_at: datetime | None


class OutboxOne(OutboxChange):
    """A change that was not handed over at once, with what led to it."""

    behind: int | None = Field(description="Number of the change that goes first; null: none.")
    actor: str | None = Field(description="Null: the audit no longer has the entry.")
    reason: str | None
    delivery_id: str | None = Field(description="The event that caused it; null: an act.")


class Outbox(Document):
    """How consumers stand, and a page of changes that were not handed over at once."""

    consumers: list[Consumer]
    changes: list[OutboxChange]
    next_cursor: str | None


class Forgotten(Document):
    """A handler that gets no more changes."""

    forgotten: int = Field(description="Changes that waited for it or failed, and are gone.")


class Retried(Document):
    """Dead letters that were retried."""

    retried: int
    more: bool = Field(description="Ask again for the next ones.")


class Outstanding(Document):
    """A consumer that does not have a change."""

    consumer: str
    state: Literal["to_come", "waiting", "dead", "dropped"] = Field(
        description="`to_come`: it has not come to the change, if it is for this kind."
    )
    number: int | None = Field(description="In the outbox; null: it has not come to it.")
    tries: int
    due_at: datetime | None
    error: str | None


class LedTo(Document):
    """A change that an event or an act led to."""

    id: str = Field(description="The key that consumers get, `chg_…`.")
    kind: str
    role: str | None
    at: datetime
    sequence: int = Field(description="Its entry of the audit.")
    actor: str
    delivery_id: str | None = Field(description="The event that caused it; null: an act.")
    told: bool = Field(description="Whether it is handed over; what was played back is not.")
    outstanding: list[Outstanding] = Field(
        description="The consumers that do not have it. All others that are for it do, but for "
        "changes that were skipped, and consumers that began later."
    )


class LedToList(Document):
    """A page of what changed of a person, the newest first."""

    changes: list[LedTo]
    next_cursor: str | None


class RoleCount(Document):
    """A role that somebody has, or that the policy can give."""

    role: str
    users: int = Field(description="How many have it on record.")
    policy: bool = Field(description="Whether a rule of the policy gives it.")


class RoleList(Document):
    """The roles in use."""

    roles: list[RoleCount]


class DayCount(Document):
    """How many deliveries of one kind were received on one day (UTC)."""

    day: date
    event: str
    outcome: str
    count: int


class Stats(Document):
    """Counts that are kept current; asking for them counts nothing."""

    users: int = Field(description="All but the deleted.")
    by_status: dict[str, int]
    by_provider: dict[str, int]
    by_role: dict[str, int]
    events: list[DayCount]


class PolicyTest(Document):
    """One test of the policy, with what came out."""

    number: int
    passed: bool
    sentence: str
    reasons: list[Reason]


class Policy(Document):
    """The policy in words."""

    fingerprint: str = Field(description="Changes with the policy; kept with every decision.")
    rules: list[str]
    tests: list[PolicyTest] = Field(description="The policy's own tests, run now.")
    mode: Mode
    rejected: str | None = Field(
        description="Why the file of now is not in force: what is wrong with it. Null: nothing is."
    )


class ShadowRun(Document):
    """How far a server has followed the ledger with the shadow policy."""

    fingerprint: str
    live: str = Field(description="Fingerprint of the policy that it is compared with.")
    since: datetime = Field(description="Another pair of policies begins anew.")
    seen_at: datetime = Field(description="When its process last wrote.")
    events: int = Field(description="How many were compared.")
    behind: int = Field(description="How many deliveries it has not looked at yet, at most.")
    error: str | None = Field(description="Why its process last ended.")
    failed_at: datetime | None


Different = Annotated[
    Literal["refused", "admitted", "waiting", "gains", "loses", "failed"],
    Field(description="`failed`: the shadow policy gave no verdict."),
]


class ShadowChange(Document):
    """Differences of one kind, counted."""

    change: Different
    role: str | None = Field(description="That is gained or lost.")
    rule: str
    text: str = Field(description="The rule's words, of one of them.")
    events: int
    people: int


class ShadowDifference(Document):
    """One event that would have come out differently."""

    event_id: str
    event: str
    user_id: UUID
    received_at: datetime
    change: Different
    role: str | None
    rule: str
    text: str


class Shadow(Document):
    """The differences that the shadow policy would have made."""

    source: str | None = Field(description="The setting; null: there is no shadow policy.")
    absent: bool = Field(description="Its file is not there, so there is nothing to watch.")
    run: ShadowRun | None = Field(description="Null: absent, or no server has followed with it.")
    changes: list[ShadowChange] = Field(description="The most frequent first; 100 at most.")
    more_changes: int = Field(description="How many kinds are not among them.")
    counted: int = Field(
        description="How many differences were counted for them: the newest, 100,000 at most."
    )
    differences: list[ShadowDifference] = Field(description="A page, the newest first.")
    next_cursor: str | None


class PolicyVerdict(Document):
    """The policy's verdict, with the rules behind it."""

    admitted: bool
    waiting: bool = Field(description="Admitted only to wait for an administrator's approval.")
    message: str = Field(description="For the person, where not admitted.")
    roles: list[str] = Field(description="What the rules give, admitted or not; sorted.")
    ends: dict[str, datetime] = Field(description="Of roles given for a time, when they end.")
    app_metadata: Metadata = Field(description="Merged into the answer to Identity.")
    reasons: list[Reason]
    fingerprint: str


class Difference(Document):
    """Something that two policies make differently, and for how many."""

    what: str = Field(description="`admission`, `admission at signup`, `role 'staff'`, …")
    was: str = Field(description="By the policy in force.")
    now: str = Field(description="By the other one.")
    count: int
    examples: list[UUID] = Field(description="Some users.")


class PolicyTrial(Document):
    """Differences that another policy would make, on a bounded part of events or records."""

    fingerprint: str = Field(description="Of the policy that was tried.")
    on: Literal["events", "records"]
    count: int = Field(description="Events or records that were looked at.")
    of: int = Field(description="How many there are; of events, about so many.")
    users: int
    differences: list[Difference] = Field(description="The most frequent first.")


class Request(OwnRequest):
    """A request, with the person and what the policy says of them."""

    actor: str = Field(description="Decided it; empty while it is open.")
    user: User
    policy: PolicyVerdict | None = Field(description="Null where the policy cannot be asked.")


class RequestList(Document):
    """A page of requests."""

    requests: list[Request]
    next_cursor: str | None


class RoleHeld(Document):
    """A role that the caller has."""

    role: str
    sources: list[Literal["administrator", "handler", "identity", "policy"]]
    since: datetime
    until: datetime | None = Field(description="When it ends by itself.")


class Why(Document):
    """Why the caller has their roles."""

    roles: list[RoleHeld]
    reasons: list[Reason] = Field(description="The policy's rules that gave or withheld roles.")
    administrator: bool = Field(description="Whether the caller may administer.")
    administrator_role: str = Field(description="The role that it takes.")
    mode: Mode


class DoorAnswer(Document):
    """Why a sign-up was refused, or a sentence that says nothing."""

    message: str = Field(description="For the person, as it is shown.")
    padding: str = Field(description="Blanks: all answers have one size.")


class Health(Document):
    """The function runs."""

    status: Literal["ok"]
