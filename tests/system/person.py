"""One record as docs/lifecycle.md describes it, in plain sets and dicts; nothing of core is used.

What an administrator does, what Identity shows, and what is written there each change a record;
that it was committed is told by whoever saw the commit (``tests.system.model``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

POLICY = """
deny_email_domains = { values = ["mailinator.com"], message = "Please use an address that lasts." }

[[rule]]
allow = true
email_domains = ["example.com"]

[[rule]]
ask = true
providers = ["github"]

[[role]]
grant = "member"

[[role]]
grant = "staff"
email_domains = ["example.com"]

[[role]]
grant = "partner"
providers = ["google"]

[[role]]
grant = "admin"
emails = ["owner@example.com"]

[app_metadata]
plan = "free"

[outage]
"""
CONSTANTS = {"plan": "free"}
POLICY_ROLES = ("member", "staff", "partner", "admin")
Metadata = dict[str, Any]


def roles_of(metadata: Metadata) -> set[str]:
    """The roles in somebody's ``app_metadata``."""
    return set(metadata.get("roles", ()))


@dataclass
class Person:
    """A record. A word on a role is (denies, until), kept by (role, source)."""

    id: UUID
    created_at: datetime
    email: str = ""
    provider: str = ""
    user_metadata: Metadata = field(default_factory=dict)
    app_metadata: Metadata = field(default_factory=dict)
    profile: Metadata = field(default_factory=dict)
    extra: Metadata = field(default_factory=dict)
    confirmed: datetime | None = None
    waiting: bool = False
    suspended: bool = False
    deleted: bool = False
    last_seen: datetime | None = None
    order: tuple[Any, ...] = ()
    proven: set[str] = field(default_factory=set)
    counted: bool = False
    words: dict[tuple[str, str], tuple[bool, datetime | None]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    sent: dict[str, int] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)
    pending: bool = False
    writing: set[str] | None = None
    writing_since: int = 0
    # What may land late: (signed at, at, held, told or None, repeated, delivery), oldest first.
    flying: list[tuple[int, int, frozenset[str], frozenset[str] | None, bool, str]] = field(
        default_factory=list
    )
    version: int = field(default=1, compare=False)

    @property
    def status(self) -> str:
        """Deleted before suspended before pending before waiting before active."""
        if self.deleted:
            return "deleted"
        if self.suspended:
            return "suspended"
        if not self.confirmed:
            return "pending"
        return "waiting" if self.waiting else "active"

    def copy(self) -> Person:
        """As it is now."""
        return copy.deepcopy(self)

    def snapshot(self) -> Any:
        """What the audit is about."""
        return copy.deepcopy(
            (
                self.status,
                self.email,
                self.provider,
                self.user_metadata,
                self.app_metadata,
                self.profile,
                self.extra,
                self.words,
            )
        )

    def on_record(self) -> set[str]:
        """Roles that are given and not denied, ended or not: as the counters count them."""
        given = {role for (role, _), (denies, _) in self.words.items() if not denies}
        return given - {role for (role, _), (denies, _) in self.words.items() if denies}

    def roles(self, now: datetime) -> set[str]:
        """The roles that hold: given by any source, denied by none, not ended."""
        holding = {k: d for k, (d, until) in self.words.items() if until is None or until > now}
        given = {role for (role, _), denies in holding.items() if not denies}
        return given - {role for (role, _), denies in holding.items() if denies}

    def use(self, roles: Iterable[str]) -> None:
        """A code gives roles; what administrators said stays, and so does each denial."""
        for role in roles:
            self.words.setdefault((role, "administrator"), (False, None))

    # --- the policy ----------------------------------------------------------------------------

    def asked(self) -> Any:
        """All that the policy looks at."""
        return self.email, self.email.lower() in self.proven, self.provider, self.app_metadata

    def look_in(self, before: Person | None, now: datetime, *, asked: bool, good: bool) -> None:
        """Wait, or be let in for good, after one look at a confirmed account.

        Args:
            asked: the policy asks about what was looked at.
            good: it is admitted; a refusal settles nothing.
        """
        if before is not None and before.confirmed and not before.waiting:
            return
        by_hand = any(
            source == "administrator" and not denies and (until is None or until > now)
            for (_, source), (denies, until) in self.words.items()
        )
        if by_hand or (good and not asked):
            self.waiting = False
        elif asked:
            self.waiting = True
        self._only_denials()

    def _only_denials(self) -> None:
        if self.waiting:
            self.words = {key: word for key, word in self.words.items() if word[0]}

    def approve(self, roles: set[str], until: datetime | None) -> None:
        """An administrator lets them in, with these roles and the policy's."""
        self.waiting = False
        self.follow_policy()
        for role in roles:
            self.grant(role, until)

    def follow_policy(self) -> None:
        """The policy's grants are exactly those that it gives now; nobody's who waits."""
        if self.waiting:
            return
        email = self.email.lower()
        proven = email in self.proven
        gives = {"member"}
        gives |= {"staff"} if proven and email.endswith("@example.com") else set()
        gives |= {"partner"} if self.provider == "google" else set()
        gives |= {"admin"} if proven and email == "owner@example.com" else set()
        for role in POLICY_ROLES:
            self.words.pop((role, "policy"), None)
        self.words |= {(role, "policy"): (False, None) for role in gives}

    # --- Identity's side -----------------------------------------------------------------------

    def look(
        self, payload: set[str], now: datetime, signed_at: int | None = None, login: bool = False
    ) -> None:
        """The merge: what people changed at Identity since it was last looked at."""
        moment = int(now.timestamp())
        shown, before, seen = frozenset(payload), set(self.seen), set(self.seen)
        writing = self.writing if now.timestamp() < self.writing_since + 120 else None
        if writing is not None:
            for role in self.seen | payload | writing:
                if (role in payload) is (role in writing):  # by us, not by people there
                    (seen.add if role in payload else seen.discard)(role)
        added = payload - seen - self.sent.keys()
        removed = seen - payload - self.withdrawn.keys()
        keeps = set(payload)
        late = [
            one for one in self.flying
            if (signed_at - one[0] if signed_at is not None else moment - one[1]) < 20
        ]  # fmt: skip
        if login and any(one[2] == shown for one in late):
            self.flying = late  # it may have been read before; it tells nothing
            return
        added, removed = self._unexplained(shown, added, removed)
        earlier = {role for one in late for role in one[2]} if login else set()
        keeps -= added & earlier
        added = added - earlier
        ours = writing is not None or bool(late)
        people = signed_at is not None and not login
        news = bool(added or removed) if people else None
        self._land(late, shown, frozenset(before), news, writing is not None)
        if added or removed or (ours and payload != before):
            when = moment if signed_at is None else signed_at
            self._fly(when, moment, frozenset(before), None)
        self._believe(added, removed, now)
        self.seen = keeps
        young = moment - 3600
        self.sent = {r: at for r, at in self.sent.items() if r not in payload and at >= young}
        self.withdrawn = {r: at for r, at in self.withdrawn.items() if r in payload and at >= young}

    def _unexplained(
        self, shown: frozenset[str], added: set[str], removed: set[str]
    ) -> tuple[set[str], set[str]]:
        """What no answer on its way explains."""
        for _, _, held, told, _, _ in self.flying:
            if told is not None:
                added = added - told
            if told is not None and landed(held, told, shown):
                removed = removed & told
        return added, removed

    def _believe(self, added: set[str], removed: set[str], now: datetime) -> None:
        """People at Identity gave and took these."""
        for role in added:
            if self.words.get((role, "identity"), (False, None))[0]:
                del self.words[role, "identity"]
            if role not in self.roles(now):
                self.words[role, "identity"] = (False, None)
        for role in removed:
            self.words.pop((role, "identity"), None)
            if role in self.roles(now):
                self.words[role, "identity"] = (True, None)
        self._only_denials()

    def _land(
        self,
        late: list[Any],
        shown: frozenset[str],
        before: frozenset[str],
        news: bool | None,
        writing: bool,
    ) -> None:
        """Keep what is late; the only answer that made what is shown, and is new, has landed.

        Args:
            news: whether people at Identity changed more than that; None: they did nothing.
        """
        showing = [
            one for one in late
            if one[3] is not None and one[3] <= shown and landed(one[2], one[3], shown)
            and (news is not None or one[3] == shown)
        ]  # fmt: skip
        unclear = writing or news is False
        new = [one for one in showing if not landed(one[2], one[3] or frozenset(), before)]
        if len(showing) == len(new) == 1 and not unclear and not new[0][4]:
            one = new[0]
            at = late.index(one)
            late[at : at + 1] = [(*one[:2], state, None, False, "") for state in one[2:4]]
        self.flying = late

    def _fly(
        self,
        signed_at: int,
        at: int,
        held: frozenset[str],
        told: frozenset[str] | None,
        delivery: str = "",
    ) -> None:
        new = (signed_at, at, held, told, delivery)
        if any((*one[:4], one[5]) == new for one in self.flying):
            return
        kept = [one for one in self.flying if one[2:4] != (held, told)]
        again = len(kept) < len(self.flying)
        self.flying = [*kept, (signed_at, at, held, told, again, delivery)][-16:]

    def answer(
        self, told: set[str], held: set[str], now: datetime, signed_at: int, delivery: str
    ) -> None:
        """An event was answered 200 with these roles."""
        self.note(told, held, now)
        self._fly(signed_at, int(now.timestamp()), frozenset(held), frozenset(told), delivery)

    def told_again(self, told: set[str], held: set[str], now: datetime, signed_at: int) -> None:
        """Several such answers are on their way: a login came again."""
        if all(one[2:4] != (held, told) for one in self.flying):
            moment = int(now.timestamp())
            self._fly(signed_at, moment, frozenset(held), frozenset(told))
        self.flying = [
            (*one[:4], True, one[5]) if one[2:4] == (held, told) else one for one in self.flying
        ]

    def overwritten(self, now: datetime) -> bool:
        """Whether an answer may leave other roles at Identity than tokens shall hold."""
        answers = [told for _, _, _, told, _, _ in self.flying if told is not None]
        wanted = self.wanted(now)
        if answers and answers[-1] == wanted:
            return any(told - wanted for told in answers)
        return any(told != wanted for told in answers)

    def note(self, told: set[str], held: set[str], now: datetime) -> None:
        """Roles were sent to Identity, which held others."""
        moment = int(now.timestamp())
        self.sent |= dict.fromkeys(told - held, moment)
        self.withdrawn |= dict.fromkeys(held - told, moment)

    def wanted(self, now: datetime) -> set[str]:
        """What tokens shall hold."""
        return set() if self.suspended else self.roles(now)

    def patch(self, held: Metadata, now: datetime) -> Metadata:
        """What Identity has to be told."""
        found = _difference(self.extra, held)
        if roles_of(held) != self.wanted(now):
            found["roles"] = sorted(self.wanted(now))
        return found

    def must_be_told(self, now: datetime) -> bool:
        """Whether Identity, as far as is known, has not what holds here."""
        known = (self.seen | self.sent.keys()) - self.withdrawn.keys()
        late = self.overwritten(now)
        return late or self.wanted(now) != known or bool(_difference(self.extra, self.app_metadata))

    # --- what administrators do ------------------------------------------------------------------

    def grant(self, role: str, until: datetime | None) -> None:
        """Give a role; nobody's denial stands against it."""
        for key in [k for k, (denies, _) in self.words.items() if k[0] == role and denies]:
            del self.words[key]
        self.words[role, "administrator"] = (False, until)

    def revoke(self, role: str) -> None:
        """Take a role; against the policy's a denial is left."""
        said = self.words.pop((role, "administrator"), None)
        self.words.pop((role, "identity"), None)
        if (said and said[0]) or (role, "policy") in self.words:
            self.words[role, "administrator"] = (True, None)

    def set_roles(self, roles: set[str], now: datetime) -> None:
        """Exactly these."""
        held = self.roles(now)
        for role in held - roles:
            self.revoke(role)
        for role in roles - held:
            self.grant(role, None)

    def bury(self) -> None:
        """A tombstone: nothing of the person is left."""
        kept = Person(self.id, self.created_at, deleted=True, version=self.version)
        self.__dict__.update(kept.__dict__)


def landed(held: frozenset[str], told: frozenset[str], shown: frozenset[str]) -> bool:
    """Whether these roles show all that an answer changed."""
    return told - held <= shown and not (held - told) & shown


def _difference(wanted: Metadata, held: Metadata) -> Metadata:
    nowhere = object()
    return {
        key: value
        for key, value in wanted.items()
        if (key in held if value is None else held.get(key, nowhere) != value)
    }
