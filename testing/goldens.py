"""Captures replayed through the real functions in a test, and compared with golden files.

A golden file stands beside its capture: ``morning.golden.json`` for ``morning.jsonl``. It has each
step's answer and the user's state after it, and every user's record at the end. Nothing in it
depends on a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from usher import migrations
from usher.core.app import App, use
from usher.core.captures.files import Reader, Step
from usher.core.captures.format import Capture
from usher.core.captures.replay import Replayer
from usher.core.domain.documents import user_document
from usher.core.domain.events import EventName
from usher.core.domain.records import AuditEntry, User
from usher.core.errors import DeliveryNotFoundError, SignatureError
from usher.core.jws import PUBLIC_SECRET
from usher.core.settings import Settings
from usher.core.strict_json import dumps, equal
from usher.functions._shared.http import Request
from usher.functions._shared.identity_hook import IdentityHook
from usher.testing.quiet import quiet

VERSION: Final = 1
_ABSENT: Final = object()
_HOOKS: Final = ("identity", *(f"identity-{name}" for name in EventName))
_TIMES: Final = (
    "created_at",
    "updated_at",
    "confirmed_at",
    "last_seen_at",
    "suspended_at",
    "deleted_at",
    "version",
    "instance_id",
    "identity",  # nothing is pushed in a replay
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of replaying a file of captures.

    Attributes:
        steps: for each line its ``line``, ``step`` in words, ``answer``, ``outcome``, ``rules``,
            and ``user``: status, roles and address afterwards.
        users: every record at the end, in the order of first appearance.
    """

    file: Path
    steps: Sequence[dict[str, Any]]
    users: Sequence[dict[str, Any]]

    @property
    def golden_file(self) -> Path:
        """The path of the file's golden file."""
        return self.file.with_suffix(".golden.json")

    def answer(self, line: int) -> dict[str, Any]:
        """The answer to the event of a line.

        Raises:
            KeyError: the line has no step.
        """
        for step in self.steps:
            if step["line"] == line:
                found: dict[str, Any] = step["answer"]
                return found
        raise KeyError(line)

    def user(self, who: str) -> dict[str, Any]:
        """A user's record at the end, by id or address.

        Raises:
            KeyError: there is none.
        """
        for user in self.users:
            if who in (user["id"], user["email"]):
                return user
        raise KeyError(who)

    def document(self) -> dict[str, Any]:
        """The content of the golden file."""
        return {"usher_golden": VERSION, "steps": self.steps, "users": self.users}

    def approve(self) -> None:
        """Write the golden file."""
        text = json.dumps(self.document(), ensure_ascii=False, indent=1)
        self.golden_file.write_text(text + "\n", encoding="utf-8")

    def differences(self) -> list[str]:
        """The differences from the golden file, in words; empty: all is as approved."""
        try:
            approved = json.loads(self.golden_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return [f"{self.golden_file.name} is not there yet"]
        except ValueError as error:
            return [f"{self.golden_file.name} is no JSON: {error}"]
        found = json.loads(json.dumps(self.document()))
        return list(_differences(_named(approved), _named(found), ""))


def replay_file(
    file: Path, settings: Settings, *, secrets: Sequence[bytes] = (), resign: bool = False
) -> Replayed:
    """Replay a file through the functions, the clock standing at each event's own time.

    Args:
        settings: name the database, which is made or must be empty, and the policy.
        secrets: the keys of events taken from elsewhere; exports need none.
        resign: sign a capture again where no known secret verifies it.

    Raises:
        CaptureError: a line cannot be read.
    """
    clock = _Frozen()
    settings = replace(settings, webhook_secrets=(*secrets, PUBLIC_SECRET))
    with quiet(), use(App(settings, clock)) as app, file.open("rb") as lines:
        migrations.upgrade(app.store.database)
        session = _Session(app, clock, resign)
        steps = [session.step(number, step) for number, step in Reader(lines).steps()]
        return Replayed(file, steps, session.users())


class _Frozen:
    """A clock that stands where it is put."""

    at = datetime.fromtimestamp(0, UTC)

    def __call__(self) -> datetime:
        return self.at


class _Session:
    """One file's replay into one database."""

    def __init__(self, app: App, clock: _Frozen, resign: bool) -> None:
        self._app = app
        self._clock = clock
        self._resign = resign
        self._replayer = Replayer(app.settings, app.policy_in_force, app.store, resign=resign)
        self._hooks: dict[str, IdentityHook] = {
            name: import_module(f"usher.functions.{name.replace('-', '_')}").hook for name in _HOOKS
        }
        self._known: dict[UUID, None] = {}

    def step(self, number: int, step: Step) -> dict[str, Any]:
        """Play one step, and describe its result."""
        if isinstance(step, AuditEntry):
            self._clock.at = step.at
            self._known[step.user_id] = None
            [played] = self._replayer.play([step])
            if isinstance(played.result, Exception):
                raise played.result
            said = f"{step.action} of {step.user_id} by {step.actor}"
            return {"line": number, "step": said, "user": self._state(step.user_id)}
        self._clock.at = step.received_at
        delivery_id, step = self._identified(step)
        if step.body is None:
            [played] = self._replayer.play([step])
            if isinstance(played.result, Exception):
                raise played.result
            answer = {"status": played.result.status}
        else:
            answer = self._handled(step)
        found: dict[str, Any] = {"line": number, "step": "a request that is refused"}
        user_id = None
        try:
            delivery = self._app.store.ledger.find(delivery_id) if delivery_id else None
        except DeliveryNotFoundError:
            delivery = None
        if delivery:
            user_id = delivery.user_id
            found["step"] = f"{delivery.event or 'no event'} of {user_id or 'nobody'}"
        found["answer"] = answer
        if delivery:
            found["outcome"] = delivery.outcome
            found["rules"] = [reason.rule for reason in delivery.reasons]
        if user_id:
            self._known[user_id] = None
            found["user"] = self._state(user_id)
        return found

    def users(self) -> list[dict[str, Any]]:
        """Every user that a step named, and that is on record."""
        records = (self._app.store.users.look_up(user_id) for user_id in self._known)
        return [self._record(user) for user in records if user]

    def _identified(self, capture: Capture) -> tuple[str, Capture]:
        """The delivery's id, and the capture as it is sent."""
        if capture.body is None:
            return capture.decided.id if capture.decided else "", capture
        try:
            return self._replayer.verify(capture).id, self._signed(capture)
        except SignatureError:
            return "", capture

    def _signed(self, capture: Capture) -> Capture:
        if not self._resign:
            return capture
        return capture.signed_with(PUBLIC_SECRET)

    def _handled(self, capture: Capture) -> dict[str, Any]:
        name = capture.path.rpartition("/")[2]
        hook = self._hooks.get(name, self._hooks["identity"])
        headers = {name.lower(): (value,) for name, value in capture.headers.items()}
        answer = hook.answer(Request(capture.method, capture.path, headers, capture.body or b""))
        body = json.loads(answer.body) if answer.body else {}
        return {"status": answer.status, **body}

    def _state(self, user_id: UUID) -> dict[str, Any] | None:
        user = self._app.store.users.look_up(user_id)
        if user is None:
            return None
        record = self._record(user)
        return {name: record[name] for name in ("status", "roles", "email")}

    def _record(self, user: User) -> dict[str, Any]:
        record = json.loads(dumps(user_document(user, self._clock.at)))
        if record["unreadable_roles"] is None:  # golden files that were approved earlier lack it
            del record["unreadable_roles"]
        grants = {
            f"{grant['role']} by {grant['source']}": {
                "is": "denial" if grant["denies"] else "grant",
                "reason": grant["reason"],
                "expires_at": grant["expires_at"],
            }
            for grant in record["grants"]
        }
        return {k: v for k, v in record.items() if k not in _TIMES} | {"grants": grants}


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """The entries of a golden file, by names that tell their place."""
    return {
        **{f"line {step['line']}, {step['step']}": step for step in document.get("steps", ())},
        **{
            f"at the end, {user['email'] or user['id']}": user for user in document.get("users", ())
        },
    }


def _differences(approved: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(approved, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*approved, *found)):
            place = f"{where}: {key}" if where.count(":") == 0 and where else f"{where}.{key}"
            yield from _differences(
                approved.get(key, _ABSENT), found.get(key, _ABSENT), place.lstrip(".")
            )
    elif not equal(approved, found):
        yield f"{where}: {_short(approved)} is now {_short(found)}"


def _short(value: Any) -> str:
    text = "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "…"
