"""What people, Identity, strangers and time do to the system; each deed checks its own answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.forge import STRANGER
from tests.system.counts import Code
from tests.system.kill import Killed
from tests.system.model import Reply, Sent, Wish, stale
from tests.system.person import Person, roles_of
from tests.system.system import System
from tests.system.words import Words
from usher.core.bounds import MAX_OPEN_REQUESTS
from usher.core.domain.sync_plan import Plan
from usher.emulator.payload import ZERO_INSTANCE

OTHER_INSTANCE = UUID(int=8)

BOSS = UUID(int=1)
NOBODY = UUID(int=99)
MOST_ACCOUNTS = 5
LONGEST_HOOK = timedelta(seconds=15)


def _spelled(number: int) -> str:
    """A code in its normal spelling; nobody made those below 0."""
    return f"PASSPASS{number % 10_000:04}"


@dataclass
class Hook:
    """A login from the reading of the account to the end of its answer, without any lock.

    Attributes:
        account: as it was read.
        reply: once it is answered.
    """

    who: UUID
    account: dict[str, Any]
    began: datetime
    reply: Reply | None = None


class Deeds:
    """All of them. ``who`` and ``back`` choose among those who are there, and what was sent."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.identity, self.model = system.identity, system.model
        self._made = BOSS.int
        self._codes_made = 0
        self.hooks: list[Hook] = []
        self.words = Words(system.model)
        self.identity.create(BOSS, "owner@example.com", "email", mailed=True)
        self._send("signup", BOSS, "arrives")

    # --- at Identity -----------------------------------------------------------------------------

    def _send(self, name: str, who: UUID, fate: str) -> bool:
        """An event of an account as it is now; whether Identity takes it for accepted."""
        self.system.clock.advance(seconds=1)
        if fate == "ahead":  # its answers are told apart by a clock that does not jump
            self.hooks = [hook for hook in self.hooks if hook.who != who]
        sent = self.identity.event(name, who, ahead=30 if fate == "ahead" else 0)
        if fate == "late":  # Identity has given up; it may come yet
            self.system.sent.append(sent)
            return False
        reply = self._deliver(sent)
        accepted = reply is not None and reply[0] in (200, 202, 204) and fate != "rolled back"
        if accepted:
            self.identity.take(who, reply)
        return accepted

    def _deliver(self, sent: Sent) -> Reply | None:
        """What it was answered, which must be what the model says; None: the process died."""
        try:
            reply = self.system.deliver(sent)
        except Killed:
            self.system.restart()
            return None
        refused = sent.of_stranger is not None and sent.of_stranger[0] == 401
        assert (reply[0] == 401) is (refused or stale(sent, self.system.clock()))
        self._tells_no_role_to_who_waits(sent, reply)
        if reply[0] not in (401, 503) and sent.key in self.model.ledger:
            active = self.system.app.store_and_forward.active
            kept = self.model.ledger[sent.key]
            again = kept.key[0] == "login" and kept.reply[0] == 200  # decided anew
            assert active or again or reply == kept.reply
        return reply

    def _tells_no_role_to_who_waits(self, sent: Sent, reply: Reply) -> None:
        document = sent.document
        if reply[1] is None or document is None or self.system.app.store_and_forward.active:
            return
        person = self.model.people.get(UUID(document["user"]["id"]))
        assert person is None or person.status != "waiting" or not roles_of(reply[1])

    # --- people at Identity ------------------------------------------------------------------

    def _new(self, email: str, provider: str, *, mailed: bool, code: str = "") -> UUID | None:
        """An account of somebody new, unless there are enough; an id is never given twice."""
        if len(self.identity.accounts) >= MOST_ACCOUNTS:
            return None
        self._made += 1
        who = UUID(int=self._made)
        self.identity.create(who, email, provider, mailed=mailed, code=code)
        return who

    def _there(self, who: int) -> UUID:
        """Somebody with an account; not the administrator, where there is anybody else."""
        ids = list(self.identity.accounts)[1:]
        return ids[who % len(ids)] if ids else BOSS

    def _here(self, who: int) -> UUID:
        """Anybody known on either side, or nobody."""
        ids = sorted({*self.identity.accounts, *self.model.people} - {BOSS}, key=int)
        return ids[who % len(ids)] if ids and who < 5 else NOBODY

    def _spelling(self, code: int | None) -> str:
        """One of the codes, the newest first; a wrong one, or none."""
        if code is None:
            return ""
        return _spelled(self._codes_made - 1 - code)

    def sign_up(
        self, email: str, provider: str, mailed: bool, fate: str, code: int | None = None
    ) -> None:
        """Somebody new."""
        who = self._new(email, provider, mailed=mailed, code=self._spelling(code))
        if who is not None and not self._send("validate", who, fate):
            del self.identity.accounts[who]

    def made_there(self, email: str, provider: str, roles: set[str]) -> None:
        """An administrator makes an account at Identity, which sends no event."""
        who = self._new(email, provider, mailed=False)
        if who is not None:
            self.identity.accounts[who]["confirmed_at"] = self.system.clock()
            self.identity.patch(who, {"roles": sorted(roles)})

    def enter(self, who: int, fate: str) -> None:
        """They confirm, or log in."""
        user_id = self._there(who)
        account = self.identity.accounts[user_id]
        if account.get("confirmed_at"):
            self._send("login", user_id, fate)
        elif self._send("signup", user_id, fate):
            account["confirmed_at"] = self.system.clock()

    def sign_up_again(self, who: int, code: int | None, fate: str) -> None:
        """The same person, with a code or with another one, confirmed or not."""
        if (user_id := self._there(who)) != BOSS:
            account = self.identity.accounts[user_id]
            account["user_metadata"] = {"name": "again", "code": self._spelling(code)}
            if self._send("signup", user_id, fate):
                account.setdefault("confirmed_at", self.system.clock())

    def login_begins(self, who: int) -> None:
        """The account is read; the password is checked for a while."""
        user_id = self._there(who)
        account = self.identity.accounts[user_id]
        if account.get("confirmed_at") and len(self.hooks) < 3:
            self.hooks.append(Hook(user_id, deepcopy(account), self.system.clock()))

    def _hook(self, back: int, *, answered: bool) -> Hook | None:
        """One that Identity has not given up, and whose account is there."""
        now = self.system.clock()
        there = self.identity.accounts
        self.hooks = [h for h in self.hooks if now - h.began <= LONGEST_HOOK and h.who in there]
        found = [hook for hook in self.hooks if (hook.reply is not None) is answered]
        return found[back % len(found)] if found else None

    def login_is_sent(self, back: int) -> None:
        """The event shows what was read."""
        if (hook := self._hook(back, answered=False)) is not None:
            hook.reply = self._deliver(self.identity.event("login", hook.who, read=hook.account))
            if hook.reply is None or hook.reply[0] not in (200, 202, 204):
                self.hooks.remove(hook)

    def answer_lands(self, back: int, applied: bool) -> None:
        """Over whatever was written since, or never."""
        if (hook := self._hook(back, answered=True)) is not None:
            self.hooks.remove(hook)
            if applied:
                self.identity.take(hook.who, hook.reply)

    def change_roles_there(self, who: int, roles: set[str], fate: str) -> None:
        """An administrator at Identity; not one who does exactly what an answer may do later."""
        if (user_id := self._there(who)) != BOSS:
            held = roles_of(self.identity.accounts[user_id]["app_metadata"])
            if self.words.unsay(user_id, held, roles):
                self.hooks = [hook for hook in self.hooks if hook.who != user_id]
            self.identity.patch(user_id, {"roles": sorted(roles)})
            self._send("usermodified", user_id, fate)

    def change_there(self, who: int, email: str, fate: str) -> None:
        """Another address."""
        if (user_id := self._there(who)) != BOSS:
            self.identity.accounts[user_id]["email"] = email
            self._send("usermodified", user_id, fate)

    def delete_there(self, who: int, fate: str) -> None:
        """An account goes."""
        if (user_id := self._there(who)) != BOSS:
            self._send("userdeleted", user_id, fate)
            del self.identity.accounts[user_id]

    # --- deliveries that nobody expects --------------------------------------------------------

    def arrives_at_last(self, back: int) -> None:
        """What was late; Identity has given up, and other events may have overtaken it."""
        known = self.model.ledger.keys() | self.model.spool.keys()
        late = [sent for sent in self.system.sent if sent.key not in known]
        if late:
            self._deliver(late[-1 - back % len(late)])

    def repeat(self, back: int) -> None:
        """A retry, long after or at once."""
        if back < len(self.system.sent):
            self._deliver(self.system.sent[-1 - back])

    def crowd(self, back: list[int]) -> None:
        """Many in one transaction, some of them twice."""
        now = self.system.clock()
        sent = [self.system.sent[-1 - n] for n in back if n < len(self.system.sent)]
        batch = [one for one in sent if not one.expected and not stale(one, now)]
        if batch:
            with self.system.living():
                self.system.crowd(batch)

    def forge(self, back: int, url: str) -> None:
        """Refused, and without a trace."""
        if back < len(self.system.sent):
            sent = Sent(self.system.sent[-1 - back].body, int(self.system.clock().timestamp()), url)
            assert self.system.deliver(sent, STRANGER) == (401, None)

    def unreadable(self, kind: str, back: int) -> None:
        """Well signed, and of no effect."""
        at = int(self.system.clock().timestamp())
        if kind == "no json":
            self._deliver(Sent(b"{no json %d" % back, at))
        elif kind == "unknown":
            body = {"event": f"new{back}", "instance_id": str(ZERO_INSTANCE)}
            self._deliver(Sent(json.dumps(body).encode(), at))
        elif back < len(self.system.sent):
            one = self.system.sent[-1 - back]
            if kind == "elsewhere":
                self._deliver(Sent(one.body, one.issued_at, "validate"))
            else:  # the same about the same person, from another instance
                other = one.body.replace(str(ZERO_INSTANCE).encode(), str(OTHER_INSTANCE).encode())
                self._deliver(Sent(other, at))

    # --- administrators here -------------------------------------------------------------------

    def _act(self, method: str, who: int, path: str, body: Any, action: str, command: Any) -> None:
        """A call of the API, which has the effect that the model says, or none."""
        now, user_id = self.system.clock(), self._here(who)
        person = self.model.people.get(user_id)
        step: Callable[[], None] | None = None
        if person is not None and not person.deleted:

            def step() -> None:
                before = person.roles(now)
                self.model.act(user_id, action, "user", command, now)
                self.words.say(user_id, before, action, path, now)

        expected = (404,) if person is None else (409,) if person.deleted else (200, 204)
        gives = action == "role.granted" or (action == "roles.set" and body["roles"])
        if person is not None and person.waiting and gives:
            expected = (409,)  # by approval alone
        if person is not None and person.deleted and method == "DELETE" and not path:
            expected = (204,)
        with self.system.living():
            status, _ = self.system.call(method, f"/users/{user_id}{path}", BOSS, body, step)
            assert status in expected

    def grant(self, who: int, role: str, minutes: int | None) -> None:
        """For good, or for a time."""
        until = self.system.clock() + timedelta(minutes=minutes) if minutes else None
        body = {"expires_at": until.isoformat().replace("+00:00", "Z")} if until else {}

        def command(person: Person) -> None:
            person.grant(role, until)

        self._act("PUT", who, f"/roles/{role}", body, "role.granted", command)

    def revoke(self, who: int, role: str) -> None:
        """Whoever gave it."""
        self._act("DELETE", who, f"/roles/{role}", None, "role.revoked", lambda p: p.revoke(role))

    def set_roles(self, who: int, roles: set[str]) -> None:
        """Exactly these."""
        now = self.system.clock()

        def command(person: Person) -> None:
            person.set_roles(roles, now)

        self._act("PUT", who, "/roles", {"roles": sorted(roles)}, "roles.set", command)

    def ask(self, who: int, role: str | None) -> None:
        """Somebody asks for a role, or anew to be let in."""
        now, user_id = self.system.clock(), self._here(who)
        person = self.model.people.get(user_id)
        if person is None or person.status not in ("active", "waiting"):
            return
        mine = [one for one in self.model.requests if one.who == user_id and one.state == "open"]
        has = role in person.roles(now) if role else person.status == "active"
        many = len(mine) >= MAX_OPEN_REQUESTS and all(one.role != role for one in mine)
        body = {"role": role} if role else {"reason": "please"}
        with self.system.living():
            status, _ = self.system.call(
                "POST",
                "/me/requests",
                user_id,
                body,
                lambda: self.model.wish(user_id, role, body.get("reason", "")),
            )
            assert status == (409 if has or many else 201)

    def decide(self, back: int, approved: bool, roles: set[str]) -> None:
        """An administrator decides a request, be it decided already or not."""
        now = self.system.clock()
        with self.system.living():
            numbers = self.system.numbers()
            if not numbers:
                return
            open_last = sorted(numbers, key=lambda n: (numbers[n][2] == "open", n))
            number = open_last[-1 - back % len(numbers)]
            wish = self._wish(numbers, number)
            person = self.model.people[wish.who]
            before = person.roles(now)
            again = approved and wish.role is None and wish.state == "declined"
            possible = wish.state == "open" or again
            if approved:
                wanted = "waiting" if wish.role is None else None
                possible = possible and (person.status == wanted if wanted else not person.waiting)

            def step() -> None:
                if not approved:
                    self.model.decline(wish)
                    return
                self.model.approve(wish, roles, now)
                for role in roles or {wish.role or ""}:
                    path = f"/roles/{role}"
                    self.words.say(wish.who, before, "role.granted", path, now)

            verb = "approve" if approved else "decline"
            body = {"roles": sorted(roles)} if approved else {"message": "no"}
            path = f"/requests/{number}/{verb}"
            status, _ = self.system.call("POST", path, BOSS, body, step)
            assert status == (200 if possible else 409)

    def _wish(self, numbers: dict[int, tuple[UUID, str | None, str]], number: int) -> Wish:
        """The model's request with this number: of one person and role the order is the same."""
        who, role, _ = numbers[number]
        alike = [n for n, (one, other, _) in sorted(numbers.items()) if (one, other) == (who, role)]
        mine = [one for one in self.model.requests if (one.who, one.role) == (who, role)]
        return mine[alike.index(number)]

    def make_code(self, uses: int, roles: set[str], minutes: int | None) -> None:
        """An administrator makes a code."""
        spelling, self._codes_made = _spelled(self._codes_made), self._codes_made + 1
        until = self.system.clock() + timedelta(minutes=minutes) if minutes else None
        body: dict[str, Any] = {"code": spelling, "uses": uses, "roles": sorted(roles)}
        if until:
            body["ends_at"] = until.isoformat().replace("+00:00", "Z")
        code = Code(uses, frozenset(roles), until)
        with self.system.living():
            made = self.system.call(
                "POST", "/codes", BOSS, body, lambda: self.model.make_code(spelling, code)
            )
            assert made[0] == 201

    def revoke_code(self, code: int) -> None:
        """An administrator revokes one, perhaps again."""
        spelling = self._spelling(code)
        with self.system.living():
            code_id = self.system.code_id(spelling)
            if code_id is not None:
                status, told = self.system.call(
                    "DELETE", f"/codes/{code_id}", BOSS, None,
                    lambda: self.model.revoke_code(spelling),
                )  # fmt: skip
                assert (status, told["state"]) == (200, "revoked")

    def suspend(self, who: int, suspended: bool) -> None:
        """Out, or in again."""
        status = "suspended" if suspended else "active"
        action = "user.suspended" if suspended else "user.reactivated"

        def command(person: Person) -> None:
            person.suspended = suspended

        self._act("PATCH", who, "", {"status": status}, action, command)

    def edit(self, who: int, metadata: dict[str, Any]) -> None:
        """Profile and further app_metadata."""

        def command(person: Person) -> None:
            person.extra = {**person.extra, **metadata}
            profile = {**person.profile, **metadata}
            person.profile = {key: value for key, value in profile.items() if value is not None}

        body = {"profile": metadata, "app_metadata": metadata}
        self._act("PATCH", who, "", body, "user.changed", command)

    def erase(self, who: int) -> None:
        """A tombstone."""
        self._act("DELETE", who, "", None, "user.deleted", lambda person: person.bury())

    def the_last_administrator_stays(self) -> None:
        """Whatever they try."""
        with self.system.living():
            body = {"status": "suspended"}
            assert self.system.call("PATCH", f"/users/{BOSS}", BOSS, body)[0] == 409
            assert self.system.call("DELETE", f"/users/{BOSS}", BOSS)[0] == 409

    def me(self, who: int) -> None:
        """Somebody comes with a token of Identity's."""
        user_id = self._there(who)
        with self.system.living():
            status, shown = self.system.call("GET", "/me", user_id)
            person = self.model.people[user_id]
            assert status == (403 if person.status in ("suspended", "deleted") else 200)
            if status == 200:
                assert shown["roles"] == sorted(person.roles(self.system.clock()))
                assert (shown["message"] is not None) is person.waiting
            if person.status == "waiting":
                assert self.system.call("GET", "/policy/me", user_id)[0] == 403
                assert not person.roles(self.system.clock())

    def maintenance(self) -> None:
        """What the server does every so often."""
        with self.system.living():
            while self.system.app.maintenance.step():
                pass

    def push(self) -> None:
        """What is pending is told."""
        with self.system.living():
            self.system.push()

    def sync(self, pull: bool, push: bool, prune: bool) -> None:
        """All records are compared."""
        with self.system.living():
            self.system.sync(Plan(pull, push, prune))

    # --- what befalls everybody ------------------------------------------------------------------

    def time_passes(self, by: timedelta) -> None:
        """Grants end, answers grow old."""
        self.system.clock.now += by

    def identity_is(self, away: bool, loses: bool) -> None:
        """There or away; the events of what we write there come, or are lost."""
        self.identity.away, self.identity.loses = away, loses

    def outage_begins_or_ends(self) -> None:
        """Somebody holds the database locked, or lets it go; nobody has noticed yet."""
        if self.system.outage is None:
            self.system.begin_outage()
        else:
            self.system.end_outage()

    def policy_breaks_or_is_mended(self) -> None:
        """A callable policy raises from now on, or no more; not while older events wait."""
        waits = self.system.outage is not None or self.system.app.store_and_forward.active
        self.model.broken = not (self.model.broken or waits)

    def apply_a_little(self) -> None:
        """Some of what was kept during an outage."""
        with self.system.living():
            self.system.app.store_and_forward.step()

    def restart(self) -> None:
        """A new process, after an orderly end."""
        self.system.restart()
