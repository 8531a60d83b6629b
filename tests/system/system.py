"""The real system beside its model: every commit of the one is a step of the other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from tests.api.api_support import JWT_SECRET, bearer
from tests.pipeline.outage_support import impatient, locked
from tests.support import HANDLERS, SECRET, Clock
from tests.system.counts import DAY, Rules, digest
from tests.system.kill import Killed, Moments, watch
from tests.system.model import Model, Reply, Sent, retained
from tests.system.there import Identity
from usher.core import app as core_app
from usher.core import webhooks
from usher.core.app import App
from usher.core.errors import PolicyError, UsherError
from usher.core.identity.client import IdentityClient
from usher.core.identity.push import Pushes
from usher.core.identity.sync_removals import Removals
from usher.core.identity.sync_steps import Steps
from usher.core.oversized import Oversized
from usher.core.settings import Settings
from usher.core.spool import forward as holding
from usher.core.spool.files import waiting
from usher.core.store.codes import Codes
from usher.core.store.ledger import Ledger
from usher.core.store.pending import PendingRecords
from usher.core.store.syncs import LEASE
from usher.core.users import UserService
from usher.core.webhooks import Received, Verified, Webhooks
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.sender import signed_headers
from usher.functions import api

TABLES = (
    "deliveries, grants, users, audit, counters, pushes, requests, sync_marks, syncs, instances, "
    "codes, code_uses, tallies, outbox_silent"
)


class System:
    """One database and spool, the living App on them, Identity, and the model.

    Args:
        reader: looks at the database from outside.
        refused: the events that ``[outage]`` refuses.
    """

    def __init__(self, url: str, reader: Engine, folder: Path, rules: Rules, refused: str) -> None:
        self.clock = Clock()
        self.model = Model([refused] if refused else [], rules)
        self.identity = Identity(self.clock)
        self.moments = Moments()
        self.sent: list[Sent] = []
        self.acknowledged: set[Any] = set()
        self.outage: ExitStack | None = None
        self._reader = reader
        self._intent: Callable[[], None] | None = None
        self._batch: list[tuple[Sent, datetime]] = []
        self._views: dict[UUID, Any] = {}
        self._patch = pytest.MonkeyPatch()
        (folder / "policy.toml").write_text(
            rules.policy + (f'{refused} = "refuse"\n' if refused else ""), encoding="utf-8"
        )
        self.settings = Settings(
            database_url=url,
            webhook_secrets=(SECRET,),
            policy=str(folder / "policy.toml"),
            spool=str(folder / "spool"),
            instance_id=ZERO_INSTANCE,
            jwt_secret=JWT_SECRET,
            identity_url="http://127.0.0.1:9",
            identity_admin_token="x" * 32,
            api_requests_per_minute=0,
        )
        self.moments.committed, self.moments.spooled = self._committed, self._spooled
        self.identity.tell, self.identity.arrive = self.deliver, self.moments.arrive
        try:
            impatient(self._patch)
            self._patch.setattr(holding, "STEP", 3)
            # The counts of refused requests are in memory, and may die with it.
            self._patch.setattr(Oversized, "flush", lambda _: False)
            watch(self._patch, self.moments)
            self._follow()
            self.app = self._start()
        except BaseException:
            self._patch.undo()
            raise

    # --- processes -------------------------------------------------------------------------------

    def _start(self) -> App:
        app = App(self.settings, self.clock)
        client = IdentityClient(None, self.identity, sleep=lambda _: None)
        app.__dict__["identity"] = client
        # As long as a run of a process that died holds others up.
        app.sync._sleep = lambda _: self.clock.advance(seconds=LEASE.seconds + 1)
        app.start_store_and_forward().adopt()
        self._patch.setattr(core_app, "_current", app)
        return app

    def restart(self) -> None:
        """Another process on the same files; the one before has ended, in whichever way."""
        self.app.close()
        self.moments.arm(None)
        self._intent = None
        self.model.remembered.clear()
        self.app = self._start()

    @contextmanager
    def living(self) -> Iterator[None]:
        """Whoever dies in here is followed by another process."""
        try:
            yield
        except Killed:
            self.restart()

    def close(self) -> None:
        """The end."""
        try:
            self.end_outage()
            self.app.close()
        finally:
            self._patch.undo()  # or what comes next fails, and hides why

    def begin_outage(self) -> None:
        """Somebody else holds the database locked."""
        self.model.broken = False  # what fails out of the spool is a dead letter
        self.outage = ExitStack()
        self.outage.enter_context(locked(self.settings.database_url))

    def end_outage(self) -> None:
        """The database is back; nobody has noticed yet."""
        if self.outage is not None:
            self.outage.close()
            self.outage = None

    # --- the model follows -----------------------------------------------------------------------

    def _committed(self) -> None:
        intent, self._intent = self._intent, None
        if intent is not None:
            intent()
            self.model.committed()

    def _spooled(self) -> None:
        self.model.spooled(self._batch)

    def _follow(self) -> None:
        """Tell, of each transaction that changes anything, what it is to the model."""

        def before(owner: type, name: str, step: Callable[..., Callable[[], None]]) -> None:
            original = getattr(owner, name)

            def wrapped(its: Any, *args: Any, **more: Any) -> Any:
                self._intent = step(*args, **more)
                try:
                    return original(its, *args, **more)
                finally:
                    self._intent = None

            self._patch.setattr(owner, name, wrapped)

        model, now = self.model, self.clock
        before(Ledger, "prune", lambda at, **_: lambda: model.prune(at))
        before(Codes, "prune_tallies", lambda at, **_: lambda: model.forget_windows(at))
        before(UserService, "_end_grants", lambda _: lambda: model.end_grants(now()))
        before(
            PendingRecords,
            "remove",
            lambda chosen: (
                lambda: model.remove([user.id for user, _ in chosen], now(), self.identity.accounts)
            ),
        )
        before(
            Pushes,
            "_prepare",
            lambda seen, _, found: (
                lambda: model.prepare(seen.id, self._views[seen.id], self._account(found), now())
            ),
        )
        before(
            Pushes,
            "_conclude",
            lambda key, *_: lambda: model.conclude(key[1], self._account(_[2]), now()),
        )
        before(Pushes, "_conclude_deletion", lambda key, _: lambda: model.gone(key[1]))
        before(Removals, "_delete_there", lambda _, user_id: lambda: model.must_go(user_id))
        before(
            Removals,
            "_delete_here",
            lambda user: (
                lambda: model.act(
                    user.id, "user.deleted", "sync", lambda p: p.bury(), now(), known=True
                )
            ),
        )
        before(
            UserService,
            "welcome",
            lambda caller, _: (
                lambda: model.welcome(
                    {
                        "sub": str(caller.id),
                        "email": caller.email,
                        "app_metadata": caller.app_metadata,
                        "user_metadata": caller.user_metadata,
                    },
                    now(),
                )
            ),
        )
        look = Pushes._user

        def looked(its: Any, key: Any, lease: Any) -> Any:
            found = look(its, key, lease)
            self._views[key[1]] = model.people[key[1]].copy()
            return found

        self._patch.setattr(Pushes, "_user", looked)
        mend = Steps._mend

        def mended(its: Steps, run: Any, people: Any, *rest: Any) -> Any:
            plan = its._plan
            self._intent = lambda: model.settle(
                [self._account(one) for one in people], now(), pull=plan.pull, push=plan.push
            )
            try:
                return mend(its, run, people, *rest)
            finally:
                self._intent = None

        self._patch.setattr(Steps, "_mend", mended)
        self._follow_events()

    def _follow_events(self) -> None:
        commit, hold = Webhooks._commit, holding.StoreAndForward.hold
        model = self.model

        def committed(its: Any, store: Any, batch: Sequence[Verified]) -> Any:
            mine = [(_sent(one), one.received.at) for one in batch]
            told: list[Reply] = []
            held = batch[0].given is not None
            self._intent = lambda: told.extend(model.commit(mine, held=held))
            try:
                answers = commit(its, store, batch)
            finally:
                self._intent = None
            assert [_reply(one) for one in answers] == told
            return answers

        def held(its: Any, batch: Sequence[Verified], error: Any = None) -> Any:
            self._batch = [(_sent(one), one.received.at) for one in batch]
            answers = hold(its, batch, error)
            if answers is None:
                assert not model.spool, "older events wait"
                return None
            assert self.outage is not None or its.active, "kept though nothing was wrong"
            for (sent, at), answer in zip(self._batch, answers, strict=True):
                reply = model.hold(sent, at)
                assert _reply(answer) == reply
                if reply[0] != 503:
                    model.remembered[sent.key] = reply
            return answers

        decide: Any = Webhooks._decide

        def decided(its: Any, verified: Verified, *state: Any) -> Any:
            *others, policy, book = state
            return decide(its, verified, *others, _Broken() if model.broken else policy, book)

        again: Any = webhooks._again

        def answered_again(*state: Any) -> Any:
            *others, policy = state
            return again(*others, _Broken() if model.broken else policy)

        self._patch.setattr(webhooks, "_again", answered_again)
        self._patch.setattr(Webhooks, "_decide", decided)
        self._patch.setattr(Webhooks, "_commit", committed)
        self._patch.setattr(holding.StoreAndForward, "hold", held)

    def _account(self, found: Any) -> dict[str, Any]:
        """What Identity's answer said, before it was read."""
        return {
            "id": str(found.id),
            "email": found.email,
            "app_metadata": dict(found.app_metadata or {}),
            "user_metadata": dict(found.user_metadata or {}),
            "confirmed_at": found.confirmed_at.isoformat() if found.confirmed_at else None,
            "confirmation_sent_at": found.confirmation_sent_at,
            "created_at": found.created_at,
        }

    # --- what comes from outside -----------------------------------------------------------------

    def deliver(self, sent: Sent, secret: bytes = SECRET) -> Reply:
        """Hand a delivery to its function, as Identity's request does."""
        if secret == SECRET and sent not in self.sent:
            self.sent.append(sent)
        function = f"identity-{sent.expected}" if sent.expected else "identity"
        headers = signed_headers("", sent.body, sent.instance_id, sent.issued_at, secret)
        request = {
            "httpMethod": "POST",
            "path": f"/.netlify/functions/{function}",
            "headers": headers,
            "body": sent.body.decode(),
        }
        answer = HANDLERS[function](request, None)
        reply = answer["statusCode"], _metadata(answer["statusCode"], answer["body"])
        self._acknowledge([sent], [reply])
        return reply

    def crowd(self, batch: Sequence[Sent]) -> None:
        """Several at once, as the server gathers them."""
        verified = [self.app.webhooks.verify(self._received(sent)) for sent in batch]
        answers = self.app.webhooks.process(verified)
        self._acknowledge(batch, [_reply(answer) for answer in answers])

    def _received(self, sent: Sent) -> Received:
        headers = signed_headers("", sent.body, sent.instance_id, sent.issued_at, SECRET)
        return Received((headers["X-Webhook-Signature"],), sent.body, "/", None, self.clock())

    def _acknowledge(self, batch: Sequence[Sent], replies: Sequence[Reply]) -> None:
        for sent, reply in zip(batch, replies, strict=True):
            if reply[0] not in (401, 503):
                self.acknowledged.add(sent.key)

    def _token(self, caller: UUID) -> str:
        """A token of somebody, as Identity makes it."""
        account = self.identity.accounts.get(caller)
        claims = {} if account is None else {
            "email": account["email"],
            "app_metadata": account["app_metadata"],
            "user_metadata": account["user_metadata"],
        }  # fmt: skip
        return bearer(caller, self.clock(), JWT_SECRET, **claims)

    def call(
        self, method: str, path: str, caller: UUID, body: Any = None, step: Any = None
    ) -> tuple[int, Any]:
        """A call of the API; ``step`` is what it is to the model, if it commits."""
        request = {
            "httpMethod": method,
            "path": f"/api{path}",
            "rawQuery": "",
            "headers": {
                "authorization": "Bearer " + self._token(caller),
                "content-type": "application/json",
            },
            "body": "" if body is None else json.dumps(body),
        }
        self._intent = step
        try:
            answer = api.handler(request, None)
        finally:
            self._intent = None
        return answer["statusCode"], json.loads(answer["body"] or "null")

    def push(self) -> None:
        """What the server's rounds do, later."""
        self.clock.advance(minutes=11)
        self.app.pushes._away_until = 0.0  # by the wall clock, which nobody here moves
        self.app.pushes.push_pending()

    def sync(self, plan: Any) -> None:
        """A whole run; the time before it makes every record older than Identity's answers."""
        self.clock.advance(seconds=1)
        self.app.pushes._away_until = 0.0
        with suppress(UsherError):
            for _ in self.app.sync.run(plan, force=True):
                pass

    def numbers(self) -> dict[int, tuple[UUID, str | None, str]]:
        """The requests that there are: person, role and state, by number."""
        with self._reader.connect() as connection:
            found = connection.execute(text(_STATEMENTS["requests"])).all()
        return {row.id: (_id(row.user_id), row.role, row.state) for row in found}

    def code_id(self, spelling: str) -> UUID | None:
        """The id of a code, if there is such a one."""
        with self._reader.connect() as connection:
            found = connection.execute(text(_STATEMENTS["codes"])).all()
        return next((_id(row.id) for row in found if row.digest == digest(spelling)), None)

    # --- what is there ---------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing that was acknowledged is missing, and all is as the model says."""
        model = self.model
        old = retained(self.clock())
        kept = model.ledger.keys() | model.spool.keys()
        missing = {key for key in self.acknowledged - kept if key[1] >= old.timestamp()}
        assert not missing
        assert waiting(self.settings.spool_folder)["waiting"] >= len(model.spool)
        assert waiting(self.settings.spool_folder)["dead_letters"] == 0
        if self.outage is not None:
            return  # nobody can read it either, on PostgreSQL
        with self._reader.connect() as connection:
            rows = {
                name: [dict(row._mapping) for row in connection.execute(text(statement))]
                for name, statement in _STATEMENTS.items()
            }
        self._check_people(rows)
        ledger = [
            (row["issued_at"], row["body_digest"], row["outcome"], row["reply_status"],
             _metadata(row["reply_status"], row["reply_body"]), row["body"] is not None)
            for row in rows["deliveries"]
        ]  # fmt: skip
        assert ledger == [
            (*one.key[1:], one.outcome, *one.reply, one.readable) for one in model.ledger.values()
        ]
        audit = [(_id(r["user_id"]), r["action"], r["actor"].split(":")[0]) for r in rows["audit"]]
        assert audit == model.audit
        counted = {row["name"]: int(row["total"]) for row in rows["counters"] if row["total"]}
        assert counted == self._counts()
        wishes = [(str(_id(r["user_id"])), r["role"] or "", r["state"]) for r in rows["requests"]]
        assert sorted(wishes) == sorted(
            (str(one.who), one.role or "", one.state) for one in model.requests
        )
        self._check_counts(rows)
        waits = {_id(row["user_id"]) for row in rows["pushes"]}
        assert waits == {one.id for one in model.people.values() if one.pending}

    def _check_counts(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Nobody is in by a code twice, nor too many; nobody who waits has a role."""
        uses: dict[UUID, set[UUID]] = {_id(row["id"]): set() for row in rows["codes"]}
        for row in rows["code_uses"]:
            uses[_id(row["code_id"])].add(_id(row["user_id"]))
        for row in rows["codes"]:
            assert row["used"] == len(uses[_id(row["id"])]) <= row["allowed"]
        assert {row["digest"]: uses[_id(row["id"])] for row in rows["codes"]} == {
            digest(spelling): code.used_by for spelling, code in self.model.codes.items()
        }
        tallies = {row["place"]: row["people"] for row in rows["tallies"] if row["people"]}
        assert all(people <= self.model.rules.people for people in tallies.values())
        assert tallies == {
            f"{DAY}:{day}:{domain}": people
            for (day, domain), people in self.model.tallies.items()
            if people
        }
        waiting = {_id(row["id"]) for row in rows["users"] if row["status"] == "waiting"}
        for row in rows["grants"]:
            who, (kind, _, code) = _id(row["user_id"]), row["actor"].partition(":")
            assert row["denies"] or who not in waiting
            assert kind != "code" or who in uses[_id(code)]

    def _check_people(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        words: dict[UUID, Any] = {}
        for row in rows["grants"]:
            said = words.setdefault(_id(row["user_id"]), {})
            said[row["role"], row["source"]] = (bool(row["denies"]), _time(row["expires_at"]))
        found = {
            _id(row["id"]): _record(row, words.get(_id(row["id"]), {})) for row in rows["users"]
        }
        assert found == {
            one.id: {
                "status": one.status,
                "email": one.email,
                "provider": one.provider,
                "user_metadata": one.user_metadata,
                "app_metadata": one.app_metadata,
                "profile": one.profile,
                "extra": one.extra,
                "confirmed": one.confirmed,
                "last_seen": one.last_seen,
                "words": one.words,
                "seen": sorted(one.seen),
                "sent": one.sent,
                "withdrawn": one.withdrawn,
                "proven": sorted(one.proven),
                "version": one.version,
            }
            for one in self.model.people.values()
        }

    def _counts(self) -> dict[str, int]:
        counts = Counter(self.model.days)
        for one in self.model.people.values():
            counts[f"status:{one.status}"] += 1
            if not one.deleted:
                counts.update(f"role:{role}" for role in one.on_record())
                if one.provider:
                    counts[f"provider:{one.provider}"] += 1
        return {name: count for name, count in counts.items() if count}


class _Broken:
    """A policy that raises."""

    fingerprint = "broken"

    def evaluate(self, applicant: Any) -> Any:
        raise PolicyError("rules:decide", f"raised at {applicant.event}")

    def screen(self, _event: Any, verdict: Any) -> Any:
        return verdict


_STATEMENTS = {
    "users": "SELECT * FROM users",
    "grants": "SELECT * FROM grants",
    "deliveries": "SELECT * FROM deliveries ORDER BY sequence",
    "audit": "SELECT user_id, action, actor FROM audit ORDER BY sequence",
    "counters": "SELECT name, sum(value) AS total FROM counters GROUP BY name",
    "pushes": "SELECT user_id FROM pushes",
    "codes": "SELECT id, digest, allowed, used FROM codes",
    "code_uses": "SELECT code_id, user_id FROM code_uses",
    "tallies": "SELECT place, people FROM tallies",
    "requests": "SELECT id, user_id, role, state FROM requests ORDER BY id",
}


def _record(row: dict[str, Any], words: Any) -> dict[str, Any]:
    state = _json(row["identity_state"])
    last_seen = _time(row["last_seen_at"])
    return {
        **{name: row[name] for name in ("status", "email", "provider", "version")},
        **{name: _json(row[name]) for name in ("user_metadata", "app_metadata", "profile")},
        "extra": _json(row["extra_app_metadata"]),
        "confirmed": _time(row["confirmed_at"]),
        "last_seen": last_seen if last_seen and last_seen.year > 1970 else None,
        "words": words,
        **{name: state[name] for name in ("seen", "sent", "withdrawn", "proven")},
    }


def _sent(one: Verified) -> Sent:
    return Sent(one.received.body, one.claims.issued_at, one.received.expected or "")


def _reply(answer: Any) -> Reply:
    if isinstance(answer, Exception):
        status: int = answer.status if isinstance(answer, UsherError) else 500
        return status, None
    return answer.status, _metadata(answer.status, answer.body)


def _metadata(status: int, body: str) -> Any:
    return json.loads(body)["app_metadata"] if status == 200 else None


def _id(value: Any) -> UUID:
    return UUID(str(value))


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
