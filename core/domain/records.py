"""The things on record: users with their grants, audit entries, deliveries. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct, field

from usher.core.bounds import MAX_DEPTH
from usher.core.domain.at_identity import UNKNOWN, AtIdentity
from usher.core.domain.changes import differing
from usher.core.domain.counting import Uses
from usher.core.domain.policy import Reason
from usher.core.domain.reply import Reply
from usher.core.domain.written import Written
from usher.core.strict_json import equal
from usher.core.texts import utc_text

Item = TypeVar("Item")
_ROLE_DEPTH: Final = 0
"""In ``roles`` of an entry: every source's word about a role that differs is told, so that the
entry alone says whether the person has the role."""
BODY_NOT_KEPT: Final = "body.not_kept"
"""The rule that says why a delivery in the ledger never had a body; others lost theirs."""
RECORD_REMOVED: Final = "record.removed"
"""The rule of deliveries whose body was erased with a pending record, not with a deletion."""
ERASED: Final = Reason("error.erased", "erased with the person's data")
"""In the place of what names a failure (``failures``), once the person is deleted."""
LEFT: Final = "written"
"""In ``after`` of the entry of a deletion: see ``left_of``."""
REPLAY: Final = "replay"
"""The origin of a delivery that was played back; handlers and sinks learn nothing of it."""
EFFECTS: Final = "effects"
"""The origin of one that was played back so that they learn of it."""
PLAYED_BACK: Final = frozenset((REPLAY, EFFECTS))
Key = tuple[UUID, UUID]
"""The key of a user: (instance id, user id)."""


class Status(StrEnum):
    """The status of a user; derived from four times, so that it cannot contradict them.

    ``waiting`` is a confirmed user whom the policy admits only once an administrator approves.
    """

    PENDING = "pending"
    WAITING = "waiting"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


# slow to reach by name before Python 3.12
_PENDING, _WAITING, _ACTIVE, _SUSPENDED, _DELETED = Status


class Outcome(StrEnum):
    """The outcome of a delivery.

    ``ignored`` is an unknown event, or one of another instance; ``invalid`` a bad body; ``failed``
    an error on our side.
    """

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    DENIED = "denied"
    IGNORED = "ignored"
    INVALID = "invalid"
    FAILED = "failed"


class Source(StrEnum):
    """The source of a grant or a denial."""

    POLICY = "policy"
    ADMINISTRATOR = "administrator"
    IDENTITY = "identity"
    HANDLER = "handler"


class Grant(Struct, frozen=True, gc=False):
    """One source's word about one role of one user; ``denies`` makes it a denial.

    A user has at most one for each (role, source). ``actor`` names its author in that source's
    terms. At ``expires_at`` it ends by itself.
    """

    role: str
    source: Source
    created_at: datetime
    denies: bool = False
    actor: str = ""
    reason: str = ""
    expires_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the grant or denial has not ended."""
        return self.expires_at is None or self.expires_at > now


class User(Struct, frozen=True, gc=False):
    """One user's record, keyed by (instance, id); times are UTC.

    Attributes:
        email: as Identity sent it; ``email_key`` is for look-ups only.
        app_metadata: as last received from Identity, without ``roles``.
        profile: the person's own, edited here and unknown to Identity.
        extra_app_metadata: keys that administrators and handlers add to every reply; None removes
            one.
        confirmed_at: the earliest time at which the account was known to be confirmed.
        last_seen_at: the newest signup or login, by the sender's clock.
        at_identity: Identity's side of the roles.
        proven: the ``email_key`` of each proven address.
        order: ``Event.order`` of the event that wrote the profile.
        version: grows with every change of the record; the ETag.
        waiting_since: since when the user waits for an administrator's approval; None: they need
            none. A waiting user has no grants but denials.
        invited: whether some event said that an administrator invited the account.
        counted: whether the account took a place of a quota (``usher.core.domain.quotas``).
        written: the keys of metadata that handlers wrote; None: none.
    """

    instance_id: UUID
    id: UUID
    created_at: datetime
    updated_at: datetime
    email: str = ""
    email_key: str = ""
    provider: str = ""
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    extra_app_metadata: Mapping[str, Any] = field(default_factory=dict)
    identity_created_at: datetime | None = None
    confirmed_at: datetime | None = None
    suspended_at: datetime | None = None
    deleted_at: datetime | None = None
    last_seen_at: datetime | None = None
    grants: tuple[Grant, ...] = ()
    at_identity: AtIdentity = UNKNOWN
    proven: frozenset[str] = frozenset()
    order: str = ""
    version: int = 1
    waiting_since: datetime | None = None
    invited: bool = False
    counted: bool = False
    written: Written | None = None

    @property
    def status(self) -> Status:
        """Deleted beats suspended beats pending beats waiting beats active."""
        if self.deleted_at:
            return _DELETED
        if self.suspended_at:
            return _SUSPENDED
        if not self.confirmed_at:
            return _PENDING
        return _WAITING if self.waiting_since else _ACTIVE


THE_SITE: Final = UUID(int=0)
"""The user of an entry of the audit that is about the site, and nobody's record."""


class AuditEntry(Struct, frozen=True, gc=False):
    """One change of one record, or of the site (``THE_SITE``), with the parts that differ.

    Attributes:
        before, after: the parts that differ, of maps the keys that differ (``changes.differing``);
            ``before`` is None for a new record. Entries of earlier versions hold whole maps.
        reason: in words; a person's own for a person's act.
        delivery_id: of the event that caused the change; None for a person's act.
        sequence: place in the audit; None before it is kept there.
        ledger_position: the newest delivery's sequence when a person acted, so that both histories
            can be told in one order.
    """

    action: str
    actor: str
    instance_id: UUID
    user_id: UUID
    at: datetime
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    reason: str = ""
    delivery_id: str | None = None
    sequence: int | None = None
    ledger_position: int | None = None


class Page(Struct, Generic[Item], frozen=True):
    """One page of a listing; ``next_cursor`` is None on the last.

    A filtered page may be short, or empty, and yet not the last: a search reads a bounded number of
    records, then says where to go on.
    """

    items: tuple[Item, ...]
    next_cursor: str | None


class Decision(Struct, frozen=True, gc=False):
    """Everything that follows from one event.

    Attributes:
        user: the new record, or the old one where nothing changed; None: there is none, or it is
            no longer known.
        reasons: the rules that made the decision, in order.
        audit: the entry for the change, if there was one.
        address_key: of the person whom the policy refused; empty in any other decision.
        uses: what of codes and quotas the decision uses up; None: nothing.
    """

    outcome: Outcome
    user: User | None
    reply: Reply
    reasons: tuple[Reason, ...]
    audit: AuditEntry | None = None
    address_key: str = ""
    uses: Uses | None = None


class Delivery(Struct, frozen=True, gc=False):
    """One delivery in the ledger.

    Attributes:
        sequence: place in the order of arrival; None before it is recorded.
        body: the exact bytes; None once erased.
        policy: fingerprint of the policy that was asked.
        origin: ``live``, ``trigger``, or one of ``PLAYED_BACK``, from a capture or a ledger.
        address_key: as in the decision; empty once erased.
    """

    id: str
    instance_id: UUID
    event: str
    user_id: UUID | None
    issued_at: int
    received_at: datetime
    path: str
    body: bytes | None
    body_digest: str
    key_index: int
    outcome: Outcome
    reasons: tuple[Reason, ...]
    policy: str
    reply: Reply
    sequence: int | None = None
    origin: str = "live"
    address_key: str = ""

    @property
    def recorded(self) -> Decision:
        """The decision at its receipt, without the record."""
        return Decision(self.outcome, None, self.reply, self.reasons)


def audit(
    action: str,
    actor: str,
    before: User | None,
    after: User,
    now: datetime,
    reason: str = "",
    delivery_id: str | None = None,
) -> AuditEntry | None:
    """The entry for a change; None where nothing that matters differs.

    Times of logins and the state of the merge with Identity are not changes of the record.
    """
    same_grants = before is not None and before.grants == after.grants
    new = _snapshot(after, without_roles=same_grants)
    if before is None:
        old = None
    else:
        old = _snapshot(before, without_roles=same_grants)
        changed = [key for key in new if new[key] is not old[key] and not equal(new[key], old[key])]
        if not changed:
            return None
        parts = {key: _parts(key, old[key], new[key]) for key in changed}
        old, new = ({key: parts[key][side] for key in changed} for side in (0, 1))
        if before.written is not None and after.deleted_at:
            new |= left_of(before)
    return AuditEntry(
        action, actor, after.instance_id, after.id, now, old, new, reason, delivery_id
    )


def left_of(user: User) -> dict[str, Any]:
    """The part of the entry of a deletion that outlives the person, for handlers to clean up by.

    Handlers wrote these keys of metadata. They are erased with the outbox's old rows.
    """
    left = user.written.values(user.extra_app_metadata) if user.written is not None else {}
    return {LEFT: left} if left else {}


def _parts(key: str, old: Any, new: Any) -> tuple[Any, Any]:
    """A field before and after; of a map only the keys that differ."""
    if isinstance(new, Mapping):
        return differing(old, new, _ROLE_DEPTH if key == "roles" else MAX_DEPTH)
    return old, new


def _snapshot(user: User, *, without_roles: bool) -> dict[str, Any]:
    """The parts of a record whose difference is a change.

    Args:
        without_roles: leave these empty: the other record has the same grants.
    """
    return {
        "status": user.status._value_,  # ``value`` is a descriptor, slow before Python 3.12
        "email": user.email,
        "provider": user.provider,
        "user_metadata": user.user_metadata,
        "app_metadata": user.app_metadata,
        "profile": user.profile,
        "extra_app_metadata": user.extra_app_metadata,
        "roles": {} if without_roles else _roles(user.grants),
    }


def _roles(grants: tuple[Grant, ...]) -> dict[str, dict[str, Any]]:
    roles: dict[str, dict[str, Any]] = {}
    for grant in grants:
        word = {
            "is": "denial" if grant.denies else "grant",
            "until": utc_text(grant.expires_at) if grant.expires_at else None,
            "reason": grant.reason,
        }
        if grant.role in roles:
            roles[grant.role][grant.source._value_] = word
        else:
            roles[grant.role] = {grant.source._value_: word}
    return roles
