"""Replay: captured events played back through the pipeline of live ones.

Each event is verified and decided at its own recorded time. The ledger and the log mark it as
replayed, and nothing here calls anybody. A delivery that the ledger knows already gets its stored
answer and changes nothing, so a replay can be interrupted and begun again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.captures.format import SIGNATURE, Capture, require_fit, to_delivery
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.changes import changed
from usher.core.domain.decide import ACTOR, tombstone
from usher.core.domain.events import EventName, email_key
from usher.core.domain.handler_writes import as_replayed
from usher.core.domain.records import (
    BODY_NOT_KEPT,
    EFFECTS,
    RECORD_REMOVED,
    AuditEntry,
    Delivery,
    Grant,
    Key,
    Outcome,
    Source,
    Status,
    User,
    audit,
)
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.domain.requests import ACTIONS as OF_REQUESTS
from usher.core.domain.unconfirmed import ACTION as REMOVAL
from usher.core.errors import CaptureError, SignatureError
from usher.core.jws import PUBLIC_SECRET
from usher.core.policy_source import PolicyInForce
from usher.core.settings import Settings
from usher.core.webhooks import Received, Store, Verified, Webhooks

_TEXTS: Final = ("email", "provider")
_MAPS: Final = ("user_metadata", "app_metadata", "profile", "extra_app_metadata")
_EXPECTED: Final = {f"identity-{name}": name for name in EventName}


class Played(Struct, frozen=True):
    """One step with its answer, or with the exception that prevented one."""

    step: Capture | AuditEntry
    result: Reply | Exception


class Replayer:
    """Plays captures and acts back into one database.

    Args:
        settings: their secrets verify, beside the public one.
        policy: the policy in force decides each event.
        store: everything is written there.
        resign: sign a capture again where no known secret verifies it.
        effects: hand the changes over to handlers and sinks, as those of live events are.
    """

    def __init__(
        self,
        settings: Settings,
        policy: PolicyInForce,
        store: Store,
        *,
        resign: bool = False,
        effects: bool = False,
    ) -> None:
        self._effects = effects
        self._store = store
        self._resign = resign
        self._policy = policy
        # Captures are signed with the public secret. No server is built with it.
        secrets = (*settings.webhook_secrets, PUBLIC_SECRET)
        settings = replace(settings, webhook_secrets=secrets)
        self._webhooks = Webhooks(settings, policy, lambda: store)

    def play(self, steps: Sequence[Capture | AuditEntry]) -> list[Played]:
        """Play steps back in their order; neighbouring deliveries share a transaction."""
        played: list[Played | None] = [None] * len(steps)
        batch: list[tuple[int, Verified]] = []

        def flush() -> None:
            answers = self._webhooks.process([verified for _, verified in batch]) if batch else []
            for (index, _), answer in zip(batch, answers, strict=True):
                played[index] = Played(steps[index], answer)
            batch.clear()

        for index, step in enumerate(steps):
            try:
                if isinstance(step, AuditEntry) or step.body is None:
                    flush()
                    played[index] = Played(step, self._play_alone(step))
                else:
                    batch.append((index, self.verify(step)))
            except (CaptureError, SignatureError) as error:
                played[index] = Played(step, error)
        flush()
        return [each for each in played if each is not None]

    def verify(self, capture: Capture) -> Verified:
        """Verify a capture, as of its own time.

        Raises:
            SignatureError: no known secret verifies it.
            CaptureError: nor can it be signed again.
        """
        try:
            return self._webhooks.verify(_received(capture, self._effects))
        except SignatureError:
            if not self._resign:
                raise
        signed = capture.signed_with(PUBLIC_SECRET)
        return self._webhooks.verify(_received(signed, self._effects))

    def _play_alone(self, step: Capture | AuditEntry) -> Reply:
        if isinstance(step, AuditEntry):
            try:
                self._play_act(step)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise CaptureError("the act does not say what was done, as ours do") from None
            return NO_CONTENT
        return self._play_erased(step)

    def _play_erased(self, capture: Capture) -> Reply:
        """Write the delivery of an erased user as it was kept, and leave a tombstone."""
        delivery = to_delivery(capture)
        require_fit(delivery)
        if self._effects:
            delivery = replace(delivery, origin=EFFECTS)
        at = capture.received_at
        with self._store.write() as connection:
            known = self._store.ledger.known(connection, [delivery.id])
            if delivery.id in known.replies:
                return delivery.reply
            self._insist_on_ours(connection, delivery.instance_id)
            before: dict[Key, User] = {}
            after: dict[Key, User] = {}
            entries = []
            if delivery.user_id is not None and _tells_of_a_deletion(delivery):
                key = (delivery.instance_id, delivery.user_id)
                before = self._store.users.load(connection, [key])
                old = before.get(key)
                if (
                    old is None
                    or old.status is not Status.DELETED
                    or delivery.event == "userdeleted"
                ):
                    fresh = User(*key, created_at=at, updated_at=at)
                    after[key] = tombstone(old or fresh, at)
                    entry = audit("user.deleted", ACTOR, old, after[key], at)
                    entries = [replace(entry, delivery_id=delivery.id)] if entry else []
            self._store.ledger.record(connection, [delivery])
            self._store.users.store(
                connection, before, after, entries, [delivery], known.superseded
            )
        return delivery.reply

    def _insist_on_ours(self, connection: Any, instance_id: UUID) -> None:
        if not self._store.instances.known(connection).takes(instance_id):
            raise CaptureError(f"is of another Identity instance ({instance_id}) than the one here")

    def _play_act(self, act: AuditEntry) -> None:
        key = (act.instance_id, act.user_id)
        with self._store.write() as connection:
            self._insist_on_ours(connection, act.instance_id)
            before = self._store.users.load(connection, [key])
            if self._store.users.has_act(connection, act):
                return
            if act.action == REMOVAL:
                pending = [one for one in before.values() if one.status is Status.PENDING]
                self._store.users.remove(connection, pending, [act])
            else:
                after = before
                if act.action not in OF_REQUESTS:  # these change no record
                    after = {key: redo(before.get(key), act, self._policy.current.fingerprint)}
                self._store.users.store(connection, before, after, [act])
            if not self._effects:
                self._store.users.tell_nobody(connection, act)


def _tells_of_a_deletion(delivery: Delivery) -> bool:
    """Whether a body is missing because somebody was erased, not because it was too large."""
    if delivery.outcome is not Outcome.APPLIED:
        return False
    kept = all(reason.rule not in (BODY_NOT_KEPT, RECORD_REMOVED) for reason in delivery.reasons)
    return kept or delivery.event == EventName.USERDELETED


def redo(user: User | None, act: AuditEntry, fingerprint: str) -> User:
    """The record after an act of the audit.

    Args:
        fingerprint: of the policy, the actor of its grants in the act.
    """
    old = user
    if user is None:
        user = User(act.instance_id, act.user_id, created_at=act.at, updated_at=act.at, version=0)
    if act.after.get("status") == Status.DELETED:
        if user.status is not Status.DELETED:
            user = tombstone(user, act.at)
        return replace(user, deleted_at=act.at, updated_at=act.at, version=user.version + 1)
    if user.status is Status.DELETED:
        return user
    fields: dict[str, Any] = {name: act.after[name] for name in _TEXTS if name in act.after}
    was = act.before or {}
    for name in (name for name in _MAPS if name in act.after):
        held = getattr(user, name) if act.before is not None else {}
        fields[name] = changed(held, was.get(name, {}), act.after[name])
    if "email" in fields:
        fields["email_key"] = email_key(fields["email"])
    fields |= _times(user, act)
    if "roles" in act.after:
        fields["grants"] = _grants(user, act, fingerprint)
        if old is None:
            given = act.after["roles"].items()
            shown = frozenset(role for role, said in given if Source.IDENTITY in said)
            fields["at_identity"] = AtIdentity(shown)
    user = replace(user, **fields, updated_at=act.at, version=user.version + 1)
    return replace(user, written=as_replayed(user, act))


def _times(user: User, act: AuditEntry) -> dict[str, datetime | None]:
    """The times that give the record the act's status."""
    status = act.after.get("status")
    if status is None:
        return {}
    if status == Status.SUSPENDED:
        return {"suspended_at": act.at}
    enters = status in (Status.ACTIVE, Status.WAITING)
    waiting = (user.waiting_since or act.at) if status == Status.WAITING else None
    return {
        "suspended_at": None,
        "confirmed_at": user.confirmed_at or (act.at if enters else None),
        "waiting_since": waiting,
    }


def _grants(user: User, act: AuditEntry, fingerprint: str) -> tuple[Grant, ...]:
    """The record's grants with those that the act changed; the others stay as they are."""
    old: Mapping[str, Any] = (act.before or {}).get("roles", {})
    new: Mapping[str, Any] = act.after["roles"]
    grants = {(grant.role, grant.source): grant for grant in user.grants}
    for role, source in {(r, s) for roles in (old, new) for r, said in roles.items() for s in said}:
        word = new.get(role, {}).get(source)
        key = (role, Source(source))
        if word is None:
            grants.pop(key, None)
        elif word != old.get(role, {}).get(source) or key not in grants:
            grants[key] = Grant(
                role,
                Source(source),
                act.at,
                denies=word["is"] == "denial",
                actor={Source.POLICY: fingerprint, Source.IDENTITY: "identity"}.get(
                    Source(source), act.actor
                ),
                reason=word["reason"],
                expires_at=_end(word["until"]),
            )
    return tuple(grants[key] for key in sorted(grants))


def _end(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _received(capture: Capture, effects: bool) -> Received:
    signature = capture.headers.get(SIGNATURE)
    return Received(
        signatures=(signature,) if signature is not None else (),
        body=capture.body or b"",
        path=capture.path,
        expected=_EXPECTED.get(capture.path.rpartition("/")[2]),
        at=capture.received_at,
        replayed=True,
        effects=effects,
    )
