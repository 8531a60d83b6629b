"""Pseudonyms for captures: one person keeps one pseudonym, and cannot be recognised. Pure.

A keyed digest (HMAC-SHA256) replaces each personal value: addresses, names, ids and metadata.
Provider, roles and the keys of metadata stay, since decisions depend on them. Domains stay, since
policies name them, unless ``map_domains`` is set. A body that is no JSON object is replaced whole.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.captures.format import Capture, Decided
from usher.core.domain.events import delivery_id, email_key
from usher.core.domain.failures import AT, ERROR
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import Reason
from usher.core.domain.records import AuditEntry
from usher.core.domain.reply import Reply
from usher.core.jws import PUBLIC_SECRET
from usher.core.opaque import read_envelope
from usher.core.strict_json import StrictJsonError, dumps, loads_object

KEPT_APP_METADATA: Final = frozenset({"provider", "providers", "roles"})
_ADDRESS = re.compile(r"([^\s<>()@\",;:]+)@([\w.-]+)")
_TIMES: Final = frozenset(
    {
        "confirmed_at", "invited_at", "confirmation_sent_at", "recovery_sent_at",
        "email_change_sent_at", "last_sign_in_at", "created_at", "updated_at",
    }
)  # fmt: skip


class Redactor(Struct, frozen=True):
    """Replaces personal values.

    Args:
        key: pseudonyms depend on it; keep it secret, or make one for each export.
        map_domains: replace the domains of addresses too.
    """

    key: bytes
    map_domains: bool = False

    def capture(self, capture: Capture) -> Capture:
        """The capture with pseudonyms, signed again with the public secret.

        Raises:
            CaptureError: it has no readable signature.
        """
        instance_id, issued_at = capture.signed_by()
        body = self._body(capture.body)
        decided = capture.decided
        answer = self._answer(capture.answer) if capture.answer is not None else None
        redacted = replace(capture, body=body, answer=answer, extra={})
        if decided is not None:
            digest = hashlib.sha256(body if body is not None else b"").hexdigest()
            known = "" if decided.outcome == "invalid" else decided.event
            redacted = replace(
                redacted,
                decided=Decided(
                    delivery_id(instance_id, known, issued_at, digest)
                    if body is not None
                    else f"{issued_at & 0xFFFFFFFF:08x}{self._hash('delivery', decided.id)}",
                    decided.event,
                    self.user_id(decided.user_id) if decided.user_id else None,
                    digest,
                    decided.outcome,
                    tuple(self._reason(reason) for reason in decided.reasons),
                    decided.policy,
                ),
            )
        if body is None:
            return redacted
        return redacted.signed_with(PUBLIC_SECRET)

    def act(self, entry: AuditEntry) -> AuditEntry:
        """An act with pseudonyms, without the reasons that people wrote."""
        return replace(
            entry,
            actor=self._actor(entry.actor),
            user_id=self.user_id(entry.user_id),
            before=self._snapshot(entry.before) if entry.before is not None else None,
            after=self._snapshot(entry.after),
            reason="",
        )

    def user_id(self, user_id: UUID) -> UUID:
        """The pseudonym of a user's id, a UUID as well."""
        return UUID(self._hash("id", str(user_id))[:32], version=4)

    def email(self, email: str) -> str:
        """The pseudonym of an address, in the same form: a name before it, a note behind it."""
        found = _ADDRESS.search(email)
        if not found:
            return f"p{self._hash('text', email)[:10]}" if email else ""
        local, domain = found.groups()
        made = "p" + self._hash("local", email_key(f"{local}@{domain}"))[:12]
        if local != local.lower():
            made = made.capitalize()
        before, after = email[: found.start()], email[found.end() :]
        name = f"P{self._hash('text', before)[:8]} " if before.strip(" <") else ""
        shell = f"{name}<{{}}>" if before.rstrip().endswith("<") else f"{name}{{}}"
        note = f" ({self._hash('text', after)[:8]})" if "(" in after else ""
        return shell.format(f"{made}@{self._domain(domain)}") + note

    def _reason(self, reason: Reason) -> Reason:
        """The reason, without a text that may name a mapped domain, and without what was raised.

        Of a failure its class and the name of the file stay.
        """
        if reason.rule == ERROR:
            reason = Reason(ERROR, reason.text.partition(":")[0])
        elif reason.rule == AT:
            reason = Reason(AT, reason.text.rpartition("/")[2])
        return Reason(reason.rule, "") if self.map_domains else reason

    def _domain(self, domain: str) -> str:
        if not self.map_domains:
            return domain
        key = email_key(f"a@{domain}").removeprefix("a@")
        return f"d{self._hash('domain', key)[:10]}.example"

    def _body(self, body: bytes | None) -> bytes | None:
        if body is None:
            return None
        try:
            document, _ = read_envelope(body, "user")
        except StrictJsonError:
            return b"redacted " + self._hash("body", body.hex()).encode()
        redacted: dict[str, Any] = {}
        for key, value in document.items():
            if key in ("event", "instance_id") and isinstance(value, str):
                redacted[key] = value
            elif key == "user" and isinstance(value, dict):
                redacted[key] = self._user(value)
            else:
                redacted[key] = self._value(value)
        return dumps(redacted).encode()

    def _user(self, user: Mapping[str, Any]) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        for key, value in user.items():
            if key == "id":
                redacted[key] = self._id(value)
            elif key in ("email", "new_email") and isinstance(value, str):
                redacted[key] = self.email(value)
            elif key == "app_metadata" and isinstance(value, dict):
                redacted[key] = self._app_metadata(value)
            elif key in _TIMES or (key in ("aud", "role") and value in ("", None)):
                redacted[key] = value
            else:
                redacted[key] = self._value(value)
        return redacted

    def _id(self, value: Any) -> Any:
        try:
            return str(self.user_id(UUID(value)))
        except (ValueError, TypeError, AttributeError):
            return self._value(value)

    def _app_metadata(self, values: Mapping[str, Any]) -> dict[str, Any]:
        redacted = {k: v if k in KEPT_APP_METADATA else self._value(v) for k, v in values.items()}
        if "roles" in redacted:
            redacted["roles"] = self._roles(redacted["roles"])
        return redacted

    def _roles(self, value: Any) -> Any:
        """Role names as they are; what is none may name anybody, and stays none."""
        if isinstance(value, list):
            return [
                self._role(each) if isinstance(each, str) else self._value(each) for each in value
            ]
        return self._role(value) if isinstance(value, str) else self._value(value)

    def _role(self, text: str) -> str:
        if is_role(text.strip()) or not text.strip():
            return text
        return f"{self._value(text)}\tno role"

    def _answer(self, answer: Reply) -> Reply:
        if answer.status != 200:
            return answer
        try:
            document = loads_object(answer.body.encode())
        except StrictJsonError:
            return replace(answer, body="")
        held = document.get("app_metadata")
        redacted = {"app_metadata": self._app_metadata(held)} if isinstance(held, dict) else {}
        return replace(answer, body=dumps(redacted))

    def _snapshot(self, values: Mapping[str, Any]) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        for key, value in values.items():
            if key in ("status", "provider"):
                redacted[key] = value
            elif key == "email":
                redacted[key] = self.email(value)
            elif key == "roles":
                redacted[key] = {
                    role: {source: word | {"reason": ""} for source, word in said.items()}
                    for role, said in value.items()
                }
            elif key in ("app_metadata", "extra_app_metadata") and isinstance(value, Mapping):
                redacted[key] = self._app_metadata(value)
            else:
                redacted[key] = self._value(value)
        return redacted

    def _actor(self, actor: str) -> str:
        kind, colon, name = actor.partition(":")
        if not colon:
            return actor
        return f"{kind}:{self._id(name) if kind == 'user' else self._hash('text', name)[:8]}"

    def _value(self, value: Any) -> Any:
        """A value of the same type; keys, null, true and false stay, since they identify nobody."""
        if isinstance(value, str):
            return f"r{self._hash('text', value)[:10]}" if value else value
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(self._hash("number", str(value))[:8], 16)
        return value

    def _hash(self, kind: str, value: str) -> str:
        return hmac.digest(self.key, f"{kind}\n{value}".encode(), "sha256").hex()
