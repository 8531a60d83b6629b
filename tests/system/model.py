"""What Usher should be after each commit: records, ledger, audit, spool; from the documentation.

Each method is one transaction. Whoever watches the real one calls it when that is committed, so a
process that dies before leaves the model, too, as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.system.counts import DAY, Admission, Code, Rules, Seen, admission, given, window
from tests.system.person import CONSTANTS, Metadata, Person, roles_of
from usher.emulator.payload import ZERO_INSTANCE

EVENTS = ("validate", "signup", "login", "usermodified", "userdeleted")
Reply = tuple[int, Metadata | None]
Key = tuple[str, int, str]
THE_SITE = UUID(int=0)


@dataclass(frozen=True)
class Sent:
    """A delivery with a good signature, as far as it matters: what was signed, where it went."""

    body: bytes
    issued_at: int
    expected: str = ""

    @property
    def document(self) -> Metadata | None:
        """The event, where it can be read; ``user`` is None where Usher does not know its name."""
        try:
            found: Metadata = json.loads(self.body)
        except ValueError:
            return None
        return found if self.expected in ("", found["event"]) else None

    @property
    def instance_id(self) -> UUID:
        """Whose event it is; what cannot be read is ours."""
        try:
            return UUID(json.loads(self.body)["instance_id"])
        except ValueError:
            return ZERO_INSTANCE

    @property
    def of_stranger(self) -> Reply | None:
        """The answer, where it can be read and another instance sent it."""
        document = self.document
        if document is None or self.instance_id == ZERO_INSTANCE:
            return None
        return 401 if document["event"] in ("validate", "signup", "login") else 204, None

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one."""
        found = self.document
        name = found["event"] if found else ""
        return name, self.issued_at, hashlib.sha256(self.body).hexdigest()


@dataclass
class Kept:
    """One row of the ledger."""

    key: Key
    user_id: UUID | None
    outcome: str
    reply: Reply
    readable: bool  # whether it still holds its body
    at: datetime


@dataclass
class Wish:
    """One request; without a role it is to be let in."""

    who: UUID
    role: str | None
    state: str = "open"
    reason: str = ""


class PolicyFailsError(Exception):
    """The policy was asked while it is broken."""


class Model:
    """The whole system.

    Attributes:
        tells: Identity can be told of changes made here.
        refused: events that ``[outage]`` refuses.
        codes: by their spelling.
        tallies: people counted in each window.
        spool: what waits there, with the answers given.
        remembered: answers that the living process has given during this outage.
        broken: the policy fails whenever it is asked.
    """

    def __init__(self, refused: Iterable[str] = (), rules: Rules = Rules()) -> None:
        self.rules = rules
        self.codes: dict[str, Code] = {}
        self.tallies: Counter[tuple[int, str]] = Counter()
        self.people: dict[UUID, Person] = {}
        self.ledger: dict[Key, Kept] = {}
        self.audit: list[tuple[UUID, str, str]] = []
        self.days: Counter[str] = Counter()
        self.spool: dict[Key, tuple[Sent, datetime, Reply]] = {}
        self.remembered: dict[Key, Reply] = {}
        self.requests: list[Wish] = []
        self.refused = set(refused)
        self.broken = False
        self._decided: set[UUID] = set()
        self._no_good = 0
        self._written: dict[UUID, tuple[Person, bool]] = {}

    # --- events ----------------------------------------------------------------------------------

    def commit(self, batch: Sequence[tuple[Sent, datetime]], *, held: bool) -> list[Reply]:
        """Deliveries in their order, in one transaction.

        Args:
            held: out of the spool, where their answers were given.
        """
        if held:
            new = [sent.key for sent, _ in batch if self._open(sent.key)]
            new = list(dict.fromkeys(new))
            assert new == list(self.spool)[: len(new)], "the order of arrival was not kept"
        answers = []
        self._decided.clear()
        self._no_good = 0
        for sent, at in batch:
            if self._open(sent.key):
                self._keep(*(self.spool.pop(sent.key) if held else (sent, at, None)))
                answers.append(self.ledger[sent.key].reply)
            else:
                stored = self.ledger[sent.key].reply
                answers.append(stored if held else self._again(sent, at, stored))
        for person in (self.people[who] for who in self._decided if who in self.people):
            # Once, after the whole batch: a later event of it may show that an answer has landed.
            person.pending = person.pending or person.overwritten(batch[-1][1])
        if self._no_good:
            self._count_no_good(batch[-1][1])
        return answers

    def _count_no_good(self, now: datetime) -> None:
        """Codes that could not be used, by day; old days go."""
        kept = f"codes:{(now - timedelta(days=90)).date()}"
        old = [name for name in self.days if name.startswith("codes:") and name < kept]
        for name in old:
            del self.days[name]
        self.days[f"codes:{now.date()}"] += self._no_good

    def _again(self, sent: Sent, at: datetime, stored: Reply) -> Reply:
        """The answer to a delivery that comes again; a login with roles is decided anew."""
        document = sent.document
        if document is None or document["event"] != "login" or stored[0] != 200:
            return stored
        user_id = UUID(document["user"]["id"])
        if user_id not in self.people:
            return stored
        before, entries = self.people[user_id].copy(), len(self.audit)
        try:
            _, reply = self._decide("login", sent, document["user"], at, None, Seen())
        except PolicyFailsError:
            reply = 500, None
        if reply in (stored, (500, None)):
            self.people[user_id] = before
            del self.audit[entries:]
        person = self.people[user_id]
        if reply[1] is not None:
            told, held = roles_of(reply[1]), roles_of(document["user"]["app_metadata"])
            person.told_again(told, held, at, sent.issued_at)
        person.pending = person.pending or person.overwritten(at)
        return reply

    def hold(self, sent: Sent, at: datetime) -> Reply:
        """The answer of a delivery while the database is away; 503 is not kept."""
        if sent.key in self.remembered:
            return self.remembered[sent.key]
        document = sent.document
        if document is None:
            return 400, None
        if sent.of_stranger is not None:
            return sent.of_stranger
        name = document["event"]
        if name in self.refused:
            return 503, None
        if name in ("validate", "signup"):
            # Answered where it is the same whatever codes and quotas say.
            code = bool(given(document["user"]))
            worst = Seen("bad" if code else "", full=bool(self.rules.people))
            best = Seen("good" if code else "")
            (outcome, reply), (other, _) = (
                Model(rules=self.rules)._decide(name, sent, document["user"], at, None, seen)
                for seen in (worst, best)
            )
            return reply if outcome == other else (503, None)
        return 204 if name not in ("usermodified", "userdeleted") else 202, None

    def spooled(self, batch: Sequence[tuple[Sent, datetime]]) -> None:
        """What can be answered is on disk."""
        for sent, at in batch:
            reply = self.hold(sent, at)
            if reply[0] != 503 and self._open(sent.key) and sent.key not in self.spool:
                self.spool[sent.key] = (sent, at, reply)

    def _open(self, key: Key) -> bool:
        """Whether a delivery with this key is decided, and not answered as before."""
        return key not in self.ledger or self.ledger[key].outcome == "failed"

    def _ask(self, *, of: bool = True) -> None:
        """Ask the policy, which may fail; not ``of`` somebody who is unconfirmed."""
        if self.broken and of:
            raise PolicyFailsError

    def _seen(self, name: str, user: Metadata, at: int) -> Seen:
        """What codes and quotas say of an event."""
        if name not in ("validate", "signup"):
            return Seen()
        full = 0 < self.rules.people <= self.tallies[window(user)]
        spelling = given(user)
        if not spelling:
            return Seen(full=full)
        code = self.codes.get(spelling)
        return Seen(code.state(UUID(user["id"]), at) if code else "bad", full)

    def _keep(self, sent: Sent, at: datetime, told: Reply | None) -> None:
        document = sent.document
        user_id = None
        outcome = "invalid"
        reply: Reply = (400, None)
        if failed := self.ledger.pop(sent.key, None):
            self.days[_day(failed)] -= 1
        if sent.of_stranger is not None:
            outcome, reply = "ignored", sent.of_stranger
        elif document is not None and document["event"] not in EVENTS:
            outcome, reply = "ignored", (204, None)
        elif document is not None:
            user_id = UUID(document["user"]["id"])
            before = self.people[user_id].copy() if user_id in self.people else None
            name, user = document["event"], document["user"]
            seen = self._seen(name, user, sent.issued_at)
            try:
                outcome, reply = self._decide(name, sent, user, at, told, seen)
                self._no_good += seen.state == "bad"
            except PolicyFailsError:
                outcome, reply = "failed", (500, None)
                if before is not None:
                    self.people[user_id] = before
            if outcome in ("applied", "unchanged"):
                self._decided.add(user_id)
        kept = Kept(sent.key, user_id, outcome, told or reply, readable=True, at=at)
        self.ledger[sent.key] = kept
        self.days[_day(kept)] += 1
        if user_id in self.people and self.people[user_id].deleted:
            self._forget(user_id)

    def _forget(self, user_id: UUID) -> None:
        """The ledger holds nothing personal of the deleted."""
        for kept in self.ledger.values():
            if kept.user_id == user_id:
                kept.readable = False
                kept.reply = (204, None) if kept.reply[0] == 200 else kept.reply

    def _decide(
        self, name: str, sent: Sent, user: Metadata, at: datetime, told: Reply | None, seen: Seen
    ) -> tuple[str, Reply]:
        person = self.people.get(UUID(user["id"]))
        if (early := self._early(person, name)) is not None:
            return early
        before = person.copy() if person else None
        person = person or Person(UUID(user["id"]), at)
        proven = proves(name, user, datetime.fromtimestamp(sent.issued_at, UTC))
        answer = self._answer(user, proven=proven or name == "validate")
        enters = admission(answer, Seen(), counted=True)
        if name in ("validate", "signup"):
            self._ask()
            enters = admission(answer, seen, counted=person.counted)
            if not enters.admitted:
                return "denied", (403, None)
        updated_at = datetime.fromisoformat(user["updated_at"])
        order = (name != "validate", sent.issued_at, EVENTS.index(name), updated_at)
        newer = order > person.order
        self._absorb(person, name, sent, user, order)
        if name in ("validate", "signup"):
            self._use_up(person, name, user, seen, enters)
        reply: Reply = (204, None)
        if name == "userdeleted":
            person.bury()
        elif name != "validate":
            alone = Person(person.id, at)
            self._absorb(alone, name, sent, user, order)
            self._look_in(before, person, alone, at, enters)
            echo = newer and _echoes(before, name, user, at)
            reply = self._enter(person, name, user, at, told, sent, newer=newer)
            if echo and before is not None and _same_but_pushed(before, person):
                self._keep_event(before, person)
                return "unchanged", reply
        if person == before:
            return "unchanged", reply
        self._keep_event(before, person)
        return "applied", reply

    def _keep_event(self, before: Person | None, person: Person) -> None:
        """Keep a record after an event. That keys of ours arrive at Identity is no change."""
        known = _knowing(before, person) if before is not None else None
        self._store(known, person, "user.changed", "identity")

    @staticmethod
    def _early(person: Person | None, name: str) -> tuple[str, Reply] | None:
        """What becomes of an event by the status alone."""
        status = person.status if person else "unknown"
        if person and status == "deleted":
            if name == "userdeleted":
                person.pending = False
            return ("denied", (403, None)) if name == "login" else ("unchanged", (204, None))
        if status == "suspended" and name in ("validate", "signup", "login"):
            return "denied", (403, None)
        if status in ("active", "waiting") and name == "validate":
            return "unchanged", (204, None)
        return None

    def _answer(self, user: Metadata, *, proven: bool) -> str:
        """The policy's, without codes and quotas."""
        provider = (user["app_metadata"] or {}).get("provider", "")
        return self.rules.answer(user["email"], provider, proven=proven)

    def _use_up(
        self, person: Person, name: str, user: Metadata, seen: Seen, enters: Admission
    ) -> None:
        """A place is taken once; a code at the signup, where it admits or gives roles."""
        if self.rules.people and not enters.by_code and not person.counted:
            person.counted = True
            self.tallies[window(user)] += 1
        code = self.codes.get(given(user))
        if code is None or name != "signup" or seen.state != "good" or enters.asks:
            return
        if enters.by_code or code.roles:
            code.used_by.add(person.id)
            person.use(code.roles)

    def _look_in(
        self, before: Person | None, person: Person, alone: Person, at: datetime, enters: Admission
    ) -> None:
        """An event alone lets somebody in, or makes them wait, where it confirms them."""
        settled = before is not None and before.confirmed and not before.waiting
        self._ask(of=bool(settled or alone.confirmed))
        if alone.confirmed:
            person.look_in(before, at, asked=enters.asks, good=enters.admitted)

    @staticmethod
    def _absorb(
        person: Person, name: str, sent: Sent, user: Metadata, order: tuple[Any, ...]
    ) -> None:
        moment = datetime.fromtimestamp(sent.issued_at, UTC)
        if name in ("signup", "login"):
            person.last_seen = max(person.last_seen or moment, moment)
        if name != "validate":
            known = [person.confirmed] if person.confirmed else []
            if user.get("confirmed_at"):
                known.append(datetime.fromisoformat(user["confirmed_at"]))
            elif name in ("signup", "login"):
                known.append(moment)
            person.confirmed = min(known, default=None)
        if proves(name, user, moment):
            person.proven.add(user["email"].lower())
        if order > person.order:
            person.order = order
            profile(person, user)

    @staticmethod
    def _enter(
        person: Person,
        name: str,
        user: Metadata,
        at: datetime,
        given_reply: Reply | None,
        sent: Sent,
        *,
        newer: bool,
    ) -> Reply:
        held: Metadata = user["app_metadata"]
        extra = {}
        if person.confirmed and not person.waiting:
            person.follow_policy()
            extra = CONSTANTS
        if newer:
            person.look(roles_of(held), at, sent.issued_at, name != "usermodified")
        reply: Reply = (204, None)
        if not person.suspended:
            want = {**held, **extra, **person.extra}
            want = {key: value for key, value in want.items() if value is not None}
            if person.roles(at) or "roles" in held:
                want["roles"] = sorted(person.roles(at))
            reply = (204, None) if want == held else (200, want)
        told = given_reply or reply
        if told[1] is not None:
            person.answer(roles_of(told[1]), roles_of(held), at, sent.issued_at, sent.key[2])
        if newer and given_reply is None and name != "usermodified":
            person.pending, person.writing, person.writing_since = _settled(person)
        return reply

    def _store(self, before: Person | None, person: Person, action: str, actor: str) -> None:
        """Keep a record, with an entry of the audit where something that matters differs."""
        self.people[person.id] = person
        if before is not None and before.snapshot() == person.snapshot():
            return
        if before is not None:
            person.version += 1
        if action == "user.changed":
            action = "user.changed" if before else "user.created"
            action = "user.deleted" if person.deleted else action
        self.audit.append((person.id, action, actor))
        if person.deleted:
            self._forget(person.id)

    # --- people ----------------------------------------------------------------------------------

    def act(
        self, user_id: UUID, action: str, actor: str, command: Callable[[Person], None],
        now: datetime, *, known: bool = False,
    ) -> None:  # fmt: skip
        """What somebody does to a record; nothing at all where it changes nothing."""
        before = self.people[user_id]
        person = before.copy()
        command(person)
        if before.snapshot() == person.snapshot():
            return
        if person.deleted:
            person.pending = not known
        elif not known and person.must_be_told(now):
            person.pending = True
        self._store(before, person, action, actor)

    def committed(self) -> None:
        """After each transaction: who begins to wait has a request, until they wait no more."""
        self.requests = [
            one for one in self.requests
            if one.who in self.people and not self.people[one.who].deleted
        ]  # fmt: skip
        for who in sorted(self.people):
            waits, mine = self.people[who].waiting, self.entries(who)
            if waits and not mine:
                self.requests.append(Wish(who, None))
            elif not waits:
                for one in mine:
                    one.state = "approved" if one.state == "open" else one.state

    def entries(self, who: UUID) -> list[Wish]:
        """Somebody's requests to be let in."""
        return [one for one in self.requests if one.who == who and one.role is None]

    def wish(self, who: UUID, role: str | None, reason: str) -> None:
        """Somebody asks for something, once at a time; the same words again change nothing."""
        wished = Wish(who, role, "open", reason)
        if wished in self.requests:
            return
        found = [
            one for one in self.requests if (one.who, one.role, one.state) == (who, role, "open")
        ]
        if found:
            found[0].reason = reason
        else:
            self.requests.append(wished)
        self.audit.append((who, "request.made", "user"))

    def decline(self, wish: Wish) -> None:
        """An administrator says no; nothing else changes."""
        wish.state = "declined"
        self.audit.append((wish.who, "request.declined", "user"))

    def approve(self, wish: Wish, roles: set[str], now: datetime) -> None:
        """An administrator lets somebody in, or gives a role."""
        if wish.role is None:
            self.act(wish.who, "user.approved", "user", lambda p: p.approve(roles, None), now)
        else:
            for role in sorted(roles or {wish.role}):
                self.act(wish.who, "role.granted", "user", _granting(role), now)
        wish.state = "approved"

    def welcome(self, claims: Metadata, now: datetime) -> None:
        """Somebody came with a good token, of whom no event has told."""
        user_id = UUID(claims["sub"])
        before = self.people.get(user_id)
        if before is not None and before.status != "pending":
            return
        person = before.copy() if before else Person(user_id, now)
        if before is None:
            profile(person, claims)
        person.confirmed = now
        self._meet(before, person, now)
        person.follow_policy()
        self._store(before, person, "user.changed", "identity")

    def _meet(self, before: Person | None, person: Person, now: datetime) -> None:
        """A look at the account itself, without an event."""
        proven = person.email.lower() in person.proven
        answer = self.rules.answer(person.email, person.provider, proven=proven)
        enters = admission(answer, Seen(), counted=True)
        person.look_in(before, now, asked=enters.asks, good=enters.admitted)

    def make_code(self, spelling: str, code: Code) -> None:
        """An administrator makes one."""
        self.codes[spelling] = code
        self.audit.append((THE_SITE, "codes.made", "user"))

    def revoke_code(self, spelling: str) -> None:
        """Nobody uses it from now on."""
        if not self.codes[spelling].revoked:
            self.codes[spelling].revoked = True
            self.audit.append((THE_SITE, "code.revoked", "user"))

    def forget_windows(self, before: datetime) -> None:
        """Old windows go."""
        for place in [place for place in self.tallies if place[0] + DAY < before.timestamp()]:
            del self.tallies[place]

    def end_grants(self, now: datetime) -> None:
        """What has ended goes off the record."""
        for user_id in sorted(self.people):
            self.act(user_id, "role.ended", "usher", lambda person: _end(person, now), now)

    def prune(self, before: datetime) -> None:
        """Old deliveries go."""
        self.ledger = {key: kept for key, kept in self.ledger.items() if kept.at >= before}

    def remove(self, ids: Iterable[UUID], now: datetime, there: Collection[UUID]) -> None:
        """Pending records go: without an account after a day, without a decision after thirty."""
        for user_id in sorted(ids, key=lambda one: (self.people[one].created_at, one)):
            person = self.people.pop(user_id)
            age = now - person.created_at
            assert (person.status, person.last_seen) == ("pending", None)
            assert age >= timedelta(days=1)
            if user_id in there:
                decided = any(source == "administrator" for _, source in person.words)
                assert age >= timedelta(days=30)
                assert not any((decided, person.extra, person.profile))
            self._forget(user_id)
            self.audit.append((user_id, "user.removed", "usher"))

    # --- Identity is asked and told --------------------------------------------------------------

    def prepare(self, user_id: UUID, view: Person, account: Metadata, now: datetime) -> None:
        """A push looked at the account, and notes what it will write there."""
        before = self.people[user_id]
        if (before.order, before.seen) != (view.order, view.seen):
            return
        person = before.copy()
        held = account["app_metadata"]
        person.look(roles_of(held), now)
        person.writing, person.writing_since = None, 0
        noted = (*person.sent.values(), *person.withdrawn.values())
        awaits = any(one[3] is not None for one in person.flying)  # an answer, with older keys
        unsettled = (
            any(at > int(now.timestamp()) - 20 for at in noted)
            or person.overwritten(now)
            or (bool(person.extra) and awaits)
        )
        if person.patch(held, now):
            wanted = person.wanted(now)
            person.note(wanted, roles_of(held), now)
            person.writing, person.writing_since = wanted, int(now.timestamp())
        else:
            person.pending = unsettled
        self._store(before, person, "user.changed", "identity")
        self._written[user_id] = (person.copy(), unsettled)

    def conclude(self, user_id: UUID, account: Metadata, now: datetime) -> None:
        """Identity answered what was written there."""
        before = self.people[user_id]
        noted, unsettled = self._written[user_id]
        person = before.copy()
        held = account["app_metadata"]
        same = (person.order, person.seen) == (noted.order, noted.seen)
        if roles_of(held) != person.seen and not same:
            person.pending = True
        else:
            answered = any(noted.sent.get(role) != at for role, at in person.sent.items()) or any(
                noted.withdrawn.get(role) != at for role, at in person.withdrawn.items()
            )
            answered = answered or any(
                one[3] not in (None, noted.writing)
                for one in person.flying
                if one not in noted.flying
            )
            person.look(roles_of(held), now)
            done = not answered and not person.patch(held, now)
            person.pending = unsettled or not done
            person.writing, person.writing_since = None, 0
        self._store(before, person, "user.changed", "identity")

    def gone(self, user_id: UUID) -> None:
        """An account whose record is a tombstone is deleted at Identity."""
        self.people[user_id].pending = False

    def must_go(self, user_id: UUID) -> None:
        """A sync found such an account, and will have it deleted."""
        if self.people[user_id].deleted:
            self.people[user_id].pending = True

    def settle(
        self, accounts: Iterable[Metadata], now: datetime, *, pull: bool, push: bool
    ) -> None:
        """A sync compared accounts with their records."""
        for account in accounts:
            user_id = UUID(account["id"])
            before = self.people.get(user_id)
            if before is not None and before.deleted:
                continue
            if before is None and given_up(account, now):
                continue
            told = before is not None and _differs(before, account, now)
            person = before.copy() if before else Person(user_id, now)
            if pull:
                self._adopt(before, person, account, now)
                self._store(before, person, "user.changed", "sync")
                told = told or _differs(person, account, now)
            if push and told and user_id in self.people:
                self.people[user_id].pending = True

    def _adopt(
        self, before: Person | None, person: Person, account: Metadata, now: datetime
    ) -> None:
        profile(person, account)
        if not person.confirmed and account.get("confirmed_at"):
            person.confirmed = datetime.fromisoformat(account["confirmed_at"])
        if proves("usermodified", account):
            person.proven.add(account["email"].lower())
        if person.confirmed and (
            before is None
            or not before.confirmed
            or (before.asked() != person.asked() and not before.waiting)
        ):
            self._meet(before, person, now)
            person.follow_policy()
        person.look(roles_of(account["app_metadata"]), now)


def _day(kept: Kept) -> str:
    """The counter of a delivery."""
    return f"day:{kept.at:%Y-%m-%d}:{kept.key[0]}:{kept.outcome}"


def proves(name: str, user: Metadata, signed_at: datetime | None = None) -> bool:
    """Whether an event shows that somebody reached the address, or a provider vouches for it."""
    if name == "validate" or (name == "usermodified" and not user.get("confirmed_at")):
        return False
    confirmed = _time(user.get("confirmed_at")) or (signed_at if name == "signup" else None)
    mailed = _time(user.get("confirmation_sent_at"))
    followed = mailed and (not confirmed or confirmed - mailed <= timedelta(hours=24, minutes=1))
    return bool(followed) or user["app_metadata"].get("provider", "") not in ("", "email")


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def profile(person: Person, user: Metadata) -> None:
    """Take over what Identity, or a token, says of somebody."""
    metadata = user["app_metadata"] or {}
    person.email = user["email"]
    person.provider = metadata.get("provider", "")
    person.user_metadata = user["user_metadata"] or {}
    person.app_metadata = {key: value for key, value in metadata.items() if key != "roles"}


def given_up(account: Metadata, now: datetime) -> bool:
    """Whether nobody confirmed an account in a month, so that it needs no record."""
    created_at: datetime = account["created_at"]
    return not account.get("confirmed_at") and created_at <= now - timedelta(days=30)


def retained(now: datetime) -> datetime:
    """Since when deliveries are kept."""
    return now - timedelta(days=90)


def stale(sent: Sent, now: datetime) -> bool:
    """Whether a delivery is too old to be believed."""
    return sent.issued_at < now.timestamp() - 300


def _echoes(before: Person | None, name: str, user: Metadata, now: datetime) -> bool:
    """Whether a usermodified shows exactly the roles that a push is writing."""
    if before is None or name != "usermodified" or before.writing is None:
        return False
    fresh = now.timestamp() < before.writing_since + 120
    return fresh and before.writing == roles_of(user["app_metadata"])


def _knowing(before: Person, person: Person) -> Person:
    """The record before, with our keys as Identity shows them now."""
    pushed = before.extra.keys()
    known = before.copy()
    known.app_metadata = {
        **{key: value for key, value in before.app_metadata.items() if key not in pushed},
        **{key: value for key, value in person.app_metadata.items() if key in pushed},
    }
    return known


def _same_but_pushed(before: Person, person: Person) -> bool:
    """Whether nothing that matters differs but keys that were pushed."""
    return bool(_knowing(before, person).snapshot() == person.snapshot())


def _settled(person: Person) -> tuple[bool, set[str] | None, int]:
    """Identity has it all by an answer, where it had to be told of roles alone."""
    if person.pending and not person.extra:
        return False, None, 0
    return person.pending, person.writing, person.writing_since


def _granting(role: str) -> Callable[[Person], None]:
    return lambda person: person.grant(role, None)


def _end(person: Person, now: datetime) -> None:
    person.words = {
        key: (denies, until)
        for key, (denies, until) in person.words.items()
        if until is None or until > now
    }


def _differs(person: Person, account: Metadata, now: datetime) -> bool:
    """Whether Identity has to be told, after what it tells itself is taken over."""
    looked = person.copy()
    looked.look(roles_of(account["app_metadata"]), now)
    return bool(looked.patch(account["app_metadata"], now))
