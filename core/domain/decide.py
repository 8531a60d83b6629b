"""``decide``: one event and its user's record in, everything that follows out. Pure.

docs/lifecycle.md describes the table at the end of this file. Every signup asks for admission, and
every event of a confirmed user refreshes the policy's grants. So any order of arrival ends in the
same state (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import MAX_ESCAPE_BYTES, MAX_MAP_BYTES
from usher.core.domain.book import give_roles
from usher.core.domain.codes import CodeState
from usher.core.domain.counting import NOTHING, Counts, Uses
from usher.core.domain.events import (
    ISSUED_AT,
    Event,
    EventName,
    IdentityUser,
    address_key,
    email_key,
    split_address,
)
from usher.core.domain.held_roles import HeldRoles, read_roles
from usher.core.domain.policy import Applicant, Policy, Reason, Verdict
from usher.core.domain.proof import proves
from usher.core.domain.records import Decision, Grant, Outcome, Source, Status, User, audit
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.domain.roles import denials, effective, follow_policy, merge, take_over
from usher.core.domain.written import over, untold_keys
from usher.core.errors import DeniedError
from usher.core.strict_json import equal, written_bytes

ACTOR: Final = "identity"
SHORT_ID: Final = 12
"""Hex digits of a delivery's digest that tell it from others of the same second."""
_VALIDATE: Final = EventName.VALIDATE  # an enum's members are slow to reach before Python 3.12
_SIGNUP: Final = EventName.SIGNUP
_LOGIN: Final = EventName.LOGIN
_USERMODIFIED: Final = EventName.USERMODIFIED
_SUSPENDED: Final = Status.SUSPENDED
_DELETED: Final = Status.DELETED
_ADMINISTRATOR: Final = Source.ADMINISTRATOR
_NO_KEYS: Final[frozenset[str]] = frozenset()
UNREADABLE: Final = frozenset({"identity.roles_unreadable", "metadata.unreadable"})
"""Rules of reasons that follow the deciding one, and decide nothing."""
_TOO_LARGE: Final = Reason(
    "answer.too_large", f"over {MAX_MAP_BYTES} bytes; roles go to Identity by a push"
)
_ECHO: Final = Reason("push.echo", "Identity tells of what a push of ours wrote there")
_NO_RULE: Final = Reason("policy.no_rule", "no role rule of the policy concerns this user")
_PENDING: Final = Reason("user.pending", "the policy gives roles to confirmed accounts only")
_WAITS: Final = Reason("user.waiting", "no roles before an administrator approves this user")


class _Case(Struct, frozen=True, gc=False):
    event: Event
    user: User | None
    policy: Policy
    now: datetime
    given: Reply | None
    held: HeldRoles
    audited: bool
    counts: Counts

    @property
    def known(self) -> User:
        """The record, for cells of the table that only a known user reaches."""
        if self.user is None:
            raise AssertionError("unreachable")
        return self.user


def decide(
    event: Event,
    user: User | None,
    policy: Policy,
    now: datetime,
    given: Reply | None = None,
    counts: Counts = NOTHING,
    *,
    audited: bool = True,
) -> Decision:
    """Decide one event.

    Args:
        event: verified and parsed.
        user: the record as it stands; None for an unknown user.
        policy: asked at validate and signup for admission, and for the roles of confirmed users.
        now: the time of receipt, UTC.
        given: the reply that Identity gets or got in any case: while the database was away
            (``usher.core.domain.outage``), or 204 (``usher.core.domain.observation``). The record
            notes its roles as sent; the decision has the reply that would be right.
        counts: the word of codes and quotas on the event, where the policy counts.
        audited: False for a decision that is never kept: it has no audit, the record's version
            stays, and what changes nothing is ``applied``, too.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    held = event.user.held_roles
    case = _Case(event, user, policy, now, given, held, audited, counts)
    decision = _TABLE[event.name][user.status if user else None](case)
    if unreadable := _unreadable(event.user, held):
        return replace(decision, reasons=(*decision.reasons, *unreadable))
    return decision


def uses_of(event: Event, policy: Policy, now: datetime, counts: Counts) -> Uses | None:
    """The uses of somebody who is admitted: of a whole decision, this part alone.

    Args:
        event: a ``validate`` or a ``signup`` of somebody who is not in yet.

    Returns:
        None: they are refused.
    """
    case = _Case(event, None, policy, now, None, event.user.held_roles, False, counts)
    user = _absorb(case, None)
    verdict = _ask(case, _question(case, user))
    return (_use_up(case, user, verdict)[1] or Uses()) if verdict.admitted else None


def _unreadable(person: IdentityUser, held: HeldRoles) -> tuple[Reason, ...]:
    """The reasons that name what of an event could not be read."""
    found: tuple[Reason, ...] = ()
    if held.kept or held.foreign:
        found += (Reason("identity.roles_unreadable", held.unreadable),)
    if person.set_aside:
        found += (Reason("metadata.unreadable", "; ".join(map(str, person.set_aside))),)
    return found


def applicant(event_name: EventName, user: User, now: datetime) -> Applicant:
    """The question to a policy about a record as it stands.

    Args:
        now: asked about in place of an event's time, where none has shown the user.
    """
    address, domain = split_address(user.email_key)
    return Applicant(
        event=event_name,
        instance_id=user.instance_id,
        id=user.id,
        email=user.email,
        address=address,
        domain=domain,
        proven=user.email_key in user.proven,
        provider=user.provider,
        app_metadata=user.app_metadata,
        at=int(user.order[ISSUED_AT]) if user.order else int(now.timestamp()),
        invited=user.invited,
    )


def newcomer(instance_id: UUID, person: IdentityUser, now: datetime) -> User:
    """A pending record for an account that no event has shown; any event is newer."""
    return User(
        instance_id,
        person.id,
        created_at=now,
        updated_at=now,
        email=person.email,
        email_key=email_key(person.email),
        provider=person.provider,
        user_metadata=person.user_metadata or {},
        app_metadata=_without_roles(person),
        identity_created_at=person.created_at,
        invited=person.invited_at is not None,
    )


def welcome(
    instance_id: UUID, caller: IdentityUser, record: User | None, policy: Policy, now: datetime
) -> User:
    """The record of a user whose valid access token comes before their events.

    Identity gives tokens to confirmed accounts only, so the user is active, or waits, as after a
    login. Any later event is newer than the token.

    Args:
        caller: the user as the token, or Identity, describes them.
        record: a pending one, or None.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    user = replace(record or newcomer(instance_id, caller, now), confirmed_at=now)
    verdict = first_look(caller, user, policy, now)
    user = admit(record, user, verdict, now)
    if user.waiting_since is None:
        user = replace(user, grants=by_policy(user.grants, verdict, policy, now))
    held = caller.held_roles
    if not held.names and not held.unreadable:
        return user  # a token's are not believed: absence removes nothing
    return take_over(user, held, now)


def first_look(person: IdentityUser, user: User, policy: Policy, now: datetime) -> Verdict:
    """The policy's word on an account that comes before its events: as on a login of now.

    Args:
        person: the account as its token, or Identity, describes it; a screen looks at it.
        user: its record.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    login = Event(_LOGIN, user.instance_id, person, "", int(now.timestamp()))
    return policy.screen(login, policy.evaluate(applicant(_LOGIN, user, now)))


def admit(record: User | None, user: User, verdict: Verdict, now: datetime) -> User:
    """The user with the approval that one look at a confirmed account asks for, or makes needless.

    A look is an event, a token, or the account itself. One look that is admitted is enough, and so
    is a role given by an administrator before the account was confirmed. A refusal decides nothing
    here, since it comes too late. So the order of the looks does not matter.

    Args:
        record: as it stood before.
        verdict: the policy's on this look alone; it asks where nobody is to enter unapproved.
    """
    if record is not None and record.confirmed_at and record.waiting_since is None:
        return user  # once settled, for good
    since = user.waiting_since
    if any(_approves(grant, now) for grant in user.grants):
        since = None
    elif verdict.asks:
        since = since or now
    elif verdict.admitted:
        since = None
    if since is None:
        return user if user.waiting_since is None else replace(user, waiting_since=None)
    return replace(user, waiting_since=since, grants=denials(user.grants))


def by_policy(
    grants: tuple[Grant, ...], verdict: Verdict, policy: Policy, now: datetime
) -> tuple[Grant, ...]:
    """The grants with the policy's as the verdict has them."""
    return follow_policy(grants, verdict.roles, policy.fingerprint, now, verdict.ends)


def _approves(grant: Grant, now: datetime) -> bool:
    return grant.source is _ADMINISTRATOR and not grant.denies and grant.holds(now)


def tombstone(user: User, now: datetime) -> User:
    """The record without any personal data; the id stays for ever."""
    return User(
        instance_id=user.instance_id,
        id=user.id,
        created_at=user.created_at,
        updated_at=now,
        deleted_at=now,
        version=user.version,
    )


# --- the cells of the table ----------------------------------------------------------------------


def _admit_pending(case: _Case) -> Decision:
    alone = _absorb(case, None)
    verdict = _ask(case, _question(case, alone))
    if not verdict.admitted:
        return _refuse(case, verdict)
    user, uses, _ = _use_up(case, _absorb(case, case.user), verdict)
    return _using(uses, _applied(case, user, NO_CONTENT, verdict.reasons))


def _sign_up(case: _Case) -> Decision:
    # Admission looks at this event alone, not at the record. So a denial does not depend on the
    # order of arrival, and an earlier account's proof does not count.
    alone = _absorb(case, None)
    question = _question(case, alone)
    verdict = _ask(case, question)
    if not verdict.admitted:
        return _refuse(case, verdict)
    user = alone if case.user is None else _absorb(case, case.user)
    user, uses, reasons = _use_up(case, user, verdict)
    reasons = verdict.reasons + reasons
    return _using(uses, _enter_asked(case, user, question, verdict, reasons))


def _ask(case: _Case, question: Applicant) -> Verdict:
    """The policy's word on an event alone, by what a person typed too; that part gives no roles."""
    return case.policy.screen(case.event, case.policy.evaluate(question))


def _take_over(case: _Case) -> Decision:
    user = _absorb(case, case.user)
    if case.user is not None and case.user.confirmed_at and case.user.waiting_since is None:
        return _enter(case, user)
    alone = user if case.user is None else _absorb(case, None)
    if not alone.confirmed_at:  # this event says nothing of whether they may enter
        return _enter(case, user)
    question = applicant(case.event.name, alone, case.now)
    verdict = _ask(case, question)
    return _enter_asked(case, user, question, verdict, verdict.reasons if verdict.asks else ())


def _delete(case: _Case) -> Decision:
    user = case.user or _absorb(case, None)
    reason = Reason("event.userdeleted", "deleted at Identity; personal data erased, id kept")
    return _applied(case, tombstone(user, case.now), NO_CONTENT, (reason,))


def _keep(case: _Case) -> Decision:
    status = case.known.status.value
    reason = Reason(f"user.{status}", f"{case.event.name.value} changes no user who is {status}")
    return Decision(Outcome.UNCHANGED, case.user, NO_CONTENT, (reason,))


def _confirm_deletion(case: _Case) -> Decision:
    user = case.known
    return replace(_keep(case), user=replace(user, at_identity=user.at_identity.settled()))


def _refuse_suspended(case: _Case) -> Decision:
    reason = Reason("user.suspended", "an administrator suspended this user")
    return _denied(case, "This account is suspended.", (reason,))


def _refuse_deleted(case: _Case) -> Decision:
    reason = Reason("user.deleted", "this user was deleted; ids are never used again")
    return _denied(case, "This account was deleted.", (reason,))


# --- their parts ---------------------------------------------------------------------------------


def _enter_asked(
    case: _Case, user: User, question: Applicant, verdict: Verdict, reasons: tuple[Reason, ...]
) -> Decision:
    """Enter, or wait, by a verdict on this event alone."""
    user = admit(case.user, user, verdict, case.now)
    return _enter(case, user, verdict if _is_answered(case, user, question) else None, reasons)


def _is_answered(case: _Case, user: User, question: Applicant) -> bool:
    """Whether the question about the record is the one that was asked about the event alone.

    With the newest event they differ in what was known before, which is proof and invitation.
    """
    if case.user is None:
        return True
    if case.event.order > case.user.order:
        proven = user.email_key in user.proven
        return proven is question.proven and user.invited is question.invited
    return equal(_question(case, user), question)


def _question(case: _Case, user: User) -> Applicant:
    """The question about somebody who asks to enter, with what codes and quotas say of them."""
    found, counts = applicant(case.event.name, user, case.now), case.counts
    if counts is NOTHING:
        return found
    is_counted = case.user is not None and case.user.counted
    return replace(found, code=counts.state, full=counts.full and not is_counted)


def _use_up(
    case: _Case, user: User, verdict: Verdict
) -> tuple[User, Uses | None, tuple[Reason, ...]]:
    """The admitted user with what their code gives and their place, and what that uses up.

    A ``validate`` takes a place, for nobody knows when the signup comes, and only looks at a code:
    the account may never come to be.
    """
    counts = case.counts
    reasons: tuple[Reason, ...] = ()
    place, code = counts.place, counts.code
    if verdict.by_code or user.counted:
        place = None
    elif place is not None:
        user = replace(user, counted=True)
    usable = counts.state is CodeState.OPEN and case.event.name is _SIGNUP and not verdict.asks
    if code is None or not usable or not (verdict.by_code or code.roles):
        code = None
    else:
        grants, reasons = give_roles(user.grants, code, case.now)
        user = replace(user, grants=grants)
    return user, Uses(code, place) if code or place else None, reasons


def _using(uses: Uses | None, decision: Decision) -> Decision:
    return decision if uses is None else replace(decision, uses=uses)


def _enter(
    case: _Case,
    user: User,
    verdict: Verdict | None = None,
    reasons: tuple[Reason, ...] = (),
) -> Decision:
    """Follow the policy, merge with Identity's roles, and answer with the effective ones.

    A waiting user gets no role from either, and those that Identity has are told to be none.

    Args:
        user: the record after ``_absorb``.
        verdict: the policy's verdict on it; None: not asked yet.
        reasons: those of the admission.
    """
    event, now, held = case.event, case.now, case.held
    newer = case.user is None or event.order > case.user.order
    grants, extra, why = _by_policy(case, user, verdict)
    reasons += why
    at_identity = user.at_identity
    if newer:
        merged = merge(
            grants,
            at_identity,
            held,
            now,
            signed_at=event.issued_at,
            # A login's account is read before the password is checked.
            read_early=event.name is not _USERMODIFIED,
        )
        grants, at_identity = merged.grants, merged.at_identity
        if user.waiting_since is None:
            reasons += merged.reasons
        else:
            grants = denials(grants)  # roles at Identity are no approval
    else:
        reasons += (Reason("event.older", "a newer event wrote this profile already"),)
    roles = effective(grants, now)
    reply, untold = NO_CONTENT, False
    if user.status is _SUSPENDED:
        reasons += (Reason("user.suspended", "no roles are answered for a suspended user"),)
    else:
        reasons += _held_back(grants, now)
        if user.extra_app_metadata:
            extra = {**extra, **user.extra_app_metadata}
        reply, untold, why = _answer(event.user, held, roles, extra)
        reasons += why
    told = roles
    sent = reply
    if case.given is not None:
        sent = case.given
        told = read_roles((sent.app_metadata or {}).get("roles")).names
    if sent.status == 200:
        short = event.delivery_id[8 : 8 + SHORT_ID]
        at_identity = at_identity.answered(told, held.names, now, event.issued_at, short)
    by_answer = newer and case.given is None and event.name is not _USERMODIFIED
    if untold:
        at_identity = at_identity.marked_pending()
    elif (
        at_identity.pending
        and by_answer
        and event.user.whole
        and not held.foreign
        and not user.extra_app_metadata
        and not untold_keys(user.written)
    ):
        # This answer tells Identity everything. A usermodified's could be lost unnoticed; and of
        # further keys a login may show what was read before they were written there.
        at_identity = at_identity.settled()
    user = replace(user, grants=grants, at_identity=at_identity)
    if newer and _echoes_a_push(case, user):
        reasons += (_ECHO,)
    return _applied(case, user, reply, reasons)


def _by_policy(
    case: _Case, user: User, verdict: Verdict | None
) -> tuple[tuple[Grant, ...], Mapping[str, Any], tuple[Reason, ...]]:
    """The grants as the policy has them now, its keys for the answer, and why."""
    if user.waiting_since is not None:
        return user.grants, {}, (_WAITS,)
    if not user.confirmed_at:
        return user.grants, {}, (_PENDING,)
    verdict = verdict or case.policy.evaluate(applicant(case.event.name, user, case.now))
    grants = by_policy(user.grants, verdict, case.policy, case.now)
    return grants, verdict.app_metadata, verdict.role_reasons or (_NO_RULE,)


def _echoes_a_push(case: _Case, user: User) -> bool:
    """Whether a usermodified shows what a push is writing, and nothing else that matters."""
    before, event = case.user, case.event
    if before is None or event.name is not _USERMODIFIED:
        return False
    if not before.at_identity.writes(case.held.names, case.now):
        return False
    return audit("", ACTOR, _knowing(before, user), user, case.now) is None


def _knowing(before: User, user: User) -> User:
    """The record before, with the further keys as Identity shows them now.

    These are ours: they were noted when they were written here, and that they arrive there, late
    or with an older value between, is no change of the record.
    """
    ours, shown = before.extra_app_metadata, user.app_metadata
    kept = {key: value for key, value in before.app_metadata.items() if key not in ours}
    arrived = {key: value for key, value in shown.items() if key in ours}
    return replace(before, app_metadata=kept | arrived)


def _absorb(case: _Case, record: User | None) -> User:
    """The record with the event's profile, confirmation and proof, each by its own rule.

    The profile is the newest event's. Confirmation is the earliest known. Proof only grows. Each is
    independent of the order of arrival.
    """
    event, person = case.event, case.event.user
    moment = datetime.fromtimestamp(event.issued_at, UTC)
    enters = event.name is _SIGNUP or event.name is _LOGIN
    confirmed = person.confirmed_at or (moment if enters else None)
    if event.name is _VALIDATE:
        confirmed = None  # the account does not exist yet
    key = email_key(person.email)
    proven = frozenset((key,)) if proves(event.name, person, moment) else _NO_KEYS
    if record is None:
        return User(
            event.instance_id,
            person.id,
            case.now,
            case.now,
            person.email,
            key,
            person.provider,
            person.user_metadata or {},
            _without_roles(person),
            identity_created_at=person.created_at,
            confirmed_at=confirmed,
            last_seen_at=moment if enters else None,
            proven=proven,
            order=event.order,
            invited=person.invited_at is not None,
        )
    if confirmed and record.confirmed_at:
        confirmed = min(record.confirmed_at, confirmed)
    confirmed = confirmed or record.confirmed_at
    seen = max(record.last_seen_at or moment, moment) if enters else record.last_seen_at
    proven = record.proven | proven
    invited = record.invited or person.invited_at is not None
    if event.order <= record.order:
        return replace(
            record, confirmed_at=confirmed, last_seen_at=seen, proven=proven, invited=invited
        )
    return replace(
        record,
        confirmed_at=confirmed,
        last_seen_at=seen,
        proven=proven,
        email=person.email,
        email_key=key,
        provider=person.provider,
        user_metadata=over(
            record.written,
            person.user_metadata or {},
            case.now,
            read_early=event.name is not _USERMODIFIED,
        ),
        app_metadata=_without_roles(person),
        identity_created_at=person.created_at,
        order=event.order,
        invited=invited,
    )


def _without_roles(user: IdentityUser) -> dict[str, Any]:
    kept = dict(user.app_metadata or ())
    kept.pop("roles", None)
    return kept


def _answer(
    person: IdentityUser, held: HeldRoles, roles: frozenset[str], extra: Mapping[str, Any]
) -> tuple[Reply, bool, tuple[Reason, ...]]:
    """200 with the whole ``app_metadata`` where it differs from Identity's, else 204.

    A None in ``extra`` removes its key.

    Returns:
        The reply; whether it leaves untold what a push must tell, and why.
    """
    if not person.whole:  # an answer would replace the map at Identity by the part that is left
        return NO_CONTENT, roles != held.names, ()
    if held.foreign:
        return NO_CONTENT, bool(roles or extra), ()
    received = person.app_metadata or {}
    wanted = {**received, **extra}
    if extra:
        wanted = {key: v for key, v in wanted.items() if v is not None or key not in extra}
    if roles or "roles" in received:
        wanted["roles"] = held.telling(roles)
        if held.shows(roles):
            received = {**received, "roles": wanted["roles"]}  # their order does not matter
    if equal(wanted, received):
        return NO_CONTENT, False, ()
    reply = Reply.telling(wanted)
    return (reply, False, ()) if _fits(reply) else (NO_CONTENT, True, (_TOO_LARGE,))


def _fits(reply: Reply) -> bool:
    """Whether the map of an answer is read when it comes back in the next event."""
    longest = len(reply.body) * MAX_ESCAPE_BYTES
    return longest <= MAX_MAP_BYTES or written_bytes(reply.body) <= MAX_MAP_BYTES


def _held_back(grants: tuple[Grant, ...], now: datetime) -> tuple[Reason, ...]:
    """The reasons for granted roles that a denial keeps from taking effect."""
    denials = [grant for grant in grants if grant.denies and grant.holds(now)]
    if not denials:
        return ()
    given = {grant.role for grant in grants if not grant.denies}
    return tuple(
        Reason(f"denial.{g.source.value}", f"no {g.role!r}: denied by {g.source.value}")
        for g in denials
        if g.role in given
    )


def _applied(case: _Case, user: User, reply: Reply, reasons: tuple[Reason, ...]) -> Decision:
    if not case.audited:
        return Decision(Outcome.APPLIED, user, reply, reasons)
    before = case.user
    if before is not None and equal(user, before):
        return Decision(Outcome.UNCHANGED, before, reply, reasons)
    action = "user.changed" if before else "user.created"
    if user.status is _DELETED:
        action = "user.deleted"
    known = before
    if before is not None and before.extra_app_metadata:
        known = _knowing(before, user)
    entry = audit(action, ACTOR, known, user, case.now, delivery_id=case.event.delivery_id)
    outcome = Outcome.UNCHANGED if _ECHO in reasons else Outcome.APPLIED
    if before is not None:
        version = before.version + (entry is not None)
        user = replace(user, updated_at=case.now, version=version)
    return Decision(outcome, user, reply, reasons, entry)


def _refuse(case: _Case, verdict: Verdict) -> Decision:
    denied = _denied(case, verdict.message, verdict.reasons)
    return replace(denied, address_key=address_key(case.event.user.email))


def _denied(case: _Case, message: str, reasons: tuple[Reason, ...]) -> Decision:
    return Decision(Outcome.DENIED, case.user, Reply.refusing(DeniedError(message)), reasons)


_TABLE: Final[Mapping[EventName, Mapping[Status | None, Callable[[_Case], Decision]]]] = {
    EventName.VALIDATE: {
        None: _admit_pending,
        Status.PENDING: _admit_pending,
        Status.WAITING: _keep,
        Status.ACTIVE: _keep,
        Status.SUSPENDED: _refuse_suspended,
        Status.DELETED: _keep,
    },
    EventName.SIGNUP: {
        None: _sign_up,
        Status.PENDING: _sign_up,
        Status.WAITING: _sign_up,
        Status.ACTIVE: _sign_up,
        Status.SUSPENDED: _refuse_suspended,
        Status.DELETED: _keep,
    },
    EventName.LOGIN: {
        None: _take_over,
        Status.PENDING: _take_over,
        Status.WAITING: _take_over,
        Status.ACTIVE: _take_over,
        Status.SUSPENDED: _refuse_suspended,
        Status.DELETED: _refuse_deleted,
    },
    EventName.USERMODIFIED: {
        None: _take_over,
        Status.PENDING: _take_over,
        Status.WAITING: _take_over,
        Status.ACTIVE: _take_over,
        Status.SUSPENDED: _take_over,
        Status.DELETED: _keep,
    },
    EventName.USERDELETED: {
        None: _delete,
        Status.PENDING: _delete,
        Status.WAITING: _delete,
        Status.ACTIVE: _delete,
        Status.SUSPENDED: _delete,
        Status.DELETED: _confirm_deletion,
    },
}
