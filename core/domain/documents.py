"""Records as documents, for the API and the commands. Pure.

Ids and times stand as they are. ``usher.core.strict_json.dumps`` writes them, at a fraction of
what a text of each costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from usher.core.domain.codes import Code
from usher.core.domain.outbox import Change
from usher.core.domain.policy import Reason, Verdict
from usher.core.domain.policy_tests import Result
from usher.core.domain.records import AuditEntry, Decision, Delivery, Grant, Page, User
from usher.core.domain.roles import effective
from usher.core.domain.shadow import Groups, Noted, Run
from usher.core.domain.written import Written
from usher.core.texts import zulu_text


def user_document(user: User, now: datetime) -> dict[str, Any]:
    """A user with every grant and denial, for administrators."""
    return {
        **own_document(user, now),
        "instance_id": user.instance_id,
        "app_metadata": user.app_metadata,
        "extra_app_metadata": user.extra_app_metadata,
        "written": _written_document(user.written or Written()),
        "grants": [grant_document(grant, now) for grant in user.grants],
        "identity": identity_state(user),
        "unreadable_roles": user.at_identity.unreadable or None,
        "suspended_at": user.suspended_at,
        "deleted_at": user.deleted_at,
    }


def _written_document(written: Written) -> dict[str, Any]:
    of_person = written.user_metadata.items()
    return {
        "app_metadata": written.app_metadata,
        "user_metadata": {key: each.handler for key, each in of_person},
    }


def own_document(user: User, now: datetime) -> dict[str, Any]:
    """A user, as people see their own record."""
    return {
        "id": user.id,
        "email": user.email,
        "status": user.status.value,
        "provider": user.provider,
        "roles": sorted(effective(user.grants, now)),
        "profile": user.profile,
        "user_metadata": user.user_metadata,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "confirmed_at": user.confirmed_at,
        "last_seen_at": user.last_seen_at,
        "version": user.version,
    }


def identity_state(user: User) -> str:
    """``pending`` where a change here must still be pushed to Identity, else ``in step``."""
    return "pending" if user.at_identity.pending else "in step"


def grant_document(grant: Grant, now: datetime) -> dict[str, Any]:
    """A grant or denial."""
    return {
        "role": grant.role,
        "source": grant.source.value,
        "denies": grant.denies,
        "holds": grant.holds(now),
        "actor": grant.actor,
        "reason": grant.reason,
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
    }


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """A delivery without its body."""
    return {
        "id": delivery.id,
        "sequence": delivery.sequence,
        "instance_id": delivery.instance_id,
        "event": delivery.event,
        "user_id": delivery.user_id,
        "issued_at": datetime.fromtimestamp(delivery.issued_at, UTC),
        "received_at": delivery.received_at,
        "path": delivery.path,
        "outcome": delivery.outcome,
        "reasons": [{"rule": reason.rule, "text": reason.text} for reason in delivery.reasons],
        "policy": delivery.policy,
        "key_index": delivery.key_index,
        "reply": {"status": delivery.reply.status, "body": delivery.reply.body},
        "body_digest": delivery.body_digest,
        "origin": delivery.origin,
    }


def delivery_with_body(delivery: Delivery) -> dict[str, Any]:
    """A delivery with its body as text: null once erased, U+FFFD for bytes that are no UTF-8."""
    body = delivery.body
    text = body.decode("utf-8", "replace") if body is not None else None
    return {**delivery_document(delivery), "body": text}


def decision_document(decision: Decision) -> dict[str, Any]:
    """A decision, made or rehearsed."""
    return {
        "outcome": decision.outcome,
        "reasons": reason_documents(decision.reasons),
        "reply": {"status": decision.reply.status, "body": decision.reply.body},
    }


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """A policy's answer."""
    return {
        "admitted": verdict.admitted,
        "waiting": verdict.admitted and verdict.asks,
        "message": verdict.message,
        "roles": sorted(verdict.roles),
        "ends": dict(sorted(verdict.ends.items())),
        "app_metadata": verdict.app_metadata,
        "reasons": reason_documents(verdict.reasons + verdict.role_reasons),
    }


def reason_documents(reasons: Iterable[Reason]) -> list[dict[str, str]]:
    """Reasons, in their order."""
    return [{"rule": reason.rule, "text": reason.text} for reason in reasons]


def policy_test_document(result: Result) -> dict[str, Any]:
    """One test of the policy, with what came out."""
    return {
        "number": result.test.number,
        "passed": result.passed,
        "sentence": result.sentence,
        "reasons": reason_documents(result.reasons),
    }


def shadow_document(
    source: str,
    run: Run | None,
    newest: int,
    groups: Groups,
    page: Page[Noted] | None,
    *,
    absent: bool = False,
) -> dict[str, Any]:
    """The differences that a shadow policy would have made.

    Args:
        source: the value of ``USHER_POLICY_SHADOW``; empty: there is none.
        run: None: no server has followed yet.
        page: of the differences.
        newest: the ``sequence`` of the newest delivery.
        absent: its file is not there, so there is nothing to watch.
    """
    return {
        "source": source or None,
        "absent": absent,
        "run": None
        if run is None
        else {
            "fingerprint": run.fingerprint,
            "live": run.live,
            "since": utc(run.begun_at),
            "seen_at": utc(run.seen_at),
            "events": run.events,
            "behind": max(0, newest - run.position),
            "error": run.error or None,
            "failed_at": utc(run.failed_at),
        },
        "changes": [
            {
                "change": group.change,
                "role": group.role or None,
                "rule": group.rule,
                "text": group.text,
                "events": group.events,
                "people": group.people,
            }
            for group in groups.items
        ],
        "more_changes": groups.more,
        "counted": groups.counted,
        "differences": [
            {
                "event_id": each.delivery_id,
                "event": each.event,
                "user_id": each.user_id,
                "received_at": utc(each.at),
                "change": each.difference.change,
                "role": each.difference.role or None,
                "rule": each.difference.rule,
                "text": each.difference.text,
            }
            for each in (page.items if page else ())
        ],
        "next_cursor": page.next_cursor if page else None,
    }


def audit_document(entry: AuditEntry) -> dict[str, Any]:
    """An entry of the audit."""
    return {
        "sequence": entry.sequence,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "user_id": entry.user_id,
        "delivery_id": entry.delivery_id,
        "reason": entry.reason,
        "before": entry.before,
        "after": entry.after,
    }


def change_document(change: Change, *, full: bool) -> dict[str, Any]:
    """A change for the feed and sinks: by ids, or with the person and the parts that differ."""
    user = change.user
    told = {
        "id": change.id,
        "kind": change.kind.value,
        "at": change.at,
        "instance_id": change.instance_id,
        "user_id": user.id,
        "sequence": change.sequence,
        "role": change.role or None,
        "delivery_id": change.delivery_id,
    }
    if not full:
        return told
    person = {name: getattr(user, name) for name in user.__struct_fields__}
    return {
        **told,
        "user": person,
        "before": change.before,
        "after": change.after,
        "actor": change.actor,
        "reason": change.reason,
    }


def code_document(code: Code, now: datetime) -> dict[str, Any]:
    """An invitation code, without its spelling, which nobody knows any more."""
    return {
        "id": code.id,
        "state": code.state(now.timestamp()).value,
        "label": code.label,
        "allowed": code.allowed,
        "used": code.used,
        "roles": list(code.roles),
        "roles_until": code.roles_until,
        "ends_at": code.ends_at,
        "created_at": code.created_at,
        "created_by": code.created_by,
        "revoked_at": code.revoked_at,
    }


def utc(moment: datetime | None) -> str | None:
    """A UTC time as RFC 3339, with ``Z``."""
    return zulu_text(moment) if moment else None
