"""Observe mode: no answer differs from 204, and the ledger says what each would have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.forge import token
from tests.pipeline.outage_support import impatient, locked
from tests.store.store_support import LogLines, deliver, raw
from tests.support import NOON, SECRET, Clock, Signed, account, call, signed
from usher.core import app as composition
from usher.core import log
from usher.core.app import App, use
from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.admission import Answer
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.codes import NewCodes
from usher.core.domain.counted import CODE_MESSAGE, FULL_MESSAGE
from usher.core.domain.counting import Counting
from usher.core.domain.observation import RULE
from usher.core.domain.policy import Verdict
from usher.core.domain.quotas import Quota
from usher.core.domain.records import Delivery, Status
from usher.core.domain.reply import Reply
from usher.core.domain.rules import FilePolicy
from usher.core.errors import DatabaseAwayError, ObservingError, OverloadedError
from usher.core.identity.sync import PERIODIC
from usher.core.policy_source import PolicyInForce
from usher.core.settings import Settings
from usher.core.webhooks import Verified
from usher.functions._shared.http import Request
from usher.functions._shared.identity_hook import IdentityHook
from usher.server import routes

MakeSettings = Callable[..., Settings]
Observing = Callable[..., App]
HOOK = "/.netlify/functions/identity"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


@pytest.fixture
def observing(
    database_url: str, make_settings: MakeSettings, clock: Clock, tmp_path: Path
) -> Iterator[App]:
    """The App of a server that observes, with a spool and a way to Identity."""
    found = make_settings(
        database_url=database_url,
        spool=str(tmp_path / "spool"),
        mode="observe",
        identity_url="http://127.0.0.1:9",
        jwt_secret=b"j" * 32,
    )
    with use(App(found, clock)) as app:
        app.start_store_and_forward()
        yield app


@contextmanager
def live(app: App) -> Iterator[App]:
    """The same site, answering live."""
    with use(App(replace(app.settings, mode="live"), app.clock)) as other:
        other.start_store_and_forward()
        yield other


def ledger(app: App) -> list[Delivery]:
    """The ledger, the oldest first."""
    return list(reversed(app.store.ledger.page(limit=200).items))


def said(delivery: Delivery) -> str:
    """What the ledger says of the answer that would have been given."""
    first = delivery.reasons[0]
    assert first.rule == RULE
    assert delivery.reply == Reply(204)
    return first.text.removeprefix("204 in observe mode; live: ")


def raising(_: object) -> Verdict:
    """A callable policy at fault."""
    raise KeyError("ada@example.com")


def away(batch: Sequence[Verified]) -> list[Reply | Exception]:
    """As a database that cannot be reached."""
    return [DatabaseAwayError("gone")] * len(batch)


WHAT = st.sampled_from(
    ("validate", "signup", "login", "usermodified", "userdeleted", "garbage", "unknown", "other")
)
STEP = st.tuples(
    WHAT,
    st.sampled_from(("ada@example.com", "x@mailinator.com", "nobody")),
    st.integers(0, 2),  # which person
    st.integers(0, 5),  # when it was signed, so that some come again
    st.sampled_from((None, [], ["editor"], ["member", "staff"])),
)
STATES = st.sampled_from(("well", "well", "away", "no spool", "faulty policy", "unreadable policy"))
PEOPLE = tuple(uuid4() for _ in range(3))


def an_event(what: str, email: str, person: int, second: int, roles: list[str] | None) -> Signed:
    """An event of that kind, with a good signature."""
    at = NOON + timedelta(seconds=second)
    if what == "garbage":
        return raw(b"{" * (second + 1))
    if what == "unknown":
        return raw(b'{"event":"new","instance_id":"00000000-0000-0000-0000-000000000000"}')
    who = account(user_id=PEOPLE[person], email=email, roles=roles, at=at)
    if what == "other":
        return signed("login", who, at=at, instance_id=uuid4())
    return signed(what, who, at=at)


@given(st.lists(st.tuples(STATES, STEP), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_observe_mode_no_answer_to_a_verified_event_ever_differs_from_204(
    observing: App, steps: list[tuple[str, tuple[str, str, int, int, list[str] | None]]]
) -> None:
    """Whatever it is, whatever fails, and whatever a live Usher answered to it before."""
    with live(observing):
        for _, step in steps[::3]:
            call(an_event(*step), "identity")
    for state, step in steps:
        with pytest.MonkeyPatch.context() as patch:
            if state == "no spool":
                patch.setattr(observing.webhooks, "fallback", None)
            elif state == "faulty policy":
                faulty = CallablePolicy("rules:decide", raising)
                patch.setitem(observing.policy_in_force.__dict__, "current", faulty)
            elif state == "unreadable policy":
                gone = PolicyInForce("nowhere.toml")
                patch.setattr(observing.webhooks, "_in_force", gone)
            if state in ("away", "no spool"):
                patch.setattr(observing.webhooks, "apply", away)
            answer = call(an_event(*step), "identity")
        assert (answer["statusCode"], answer["body"]) == (204, "")
    while observing.store_and_forward.step():
        pass


def test_an_unsigned_request_is_401_all_the_same(observing: App) -> None:
    """Nothing happens without a signature that we checked."""
    event = signed("signup", account())
    for headers in ({}, {"X-Webhook-Signature": token(b"{}", b"{}", SECRET)}):
        request = event.request() | {"headers": {"Content-Type": "application/json"} | headers}
        answer = routes.answer(Request.from_event(request))
        assert answer.status == 401
    changed = replace(event, body=event.body + b" ")
    assert call(changed)["statusCode"] == 401
    assert ledger(observing) == []


def test_what_is_too_large_or_comes_in_a_crowd_is_204_too(observing: App) -> None:
    """An event of 17 MiB is not read, and one that the queue has no room for is not kept."""
    event = signed("login", account())
    request = event.request() | {"body": "x" * (MAX_EVENT_BYTES + 1)}
    assert routes.answer(Request.from_event(request)).status == 204
    unsigned = request | {"headers": {"Content-Type": "application/json"}}
    assert routes.answer(Request.from_event(unsigned)).status == 413
    assert IdentityHook().conclude(OverloadedError("full")).status == 204
    observing.flush_oversized()
    assert observing.oversized.since(NOON)["event"].count == 1


def test_a_live_usher_is_as_before(observing: App) -> None:
    """The same requests, each with its own answer."""
    with live(observing):
        assert call(signed("signup", account(email="x@mailinator.com")))["statusCode"] == 403
        assert call(raw(b"no event"), "identity")["statusCode"] == 400
        request = signed("login", account()).request() | {"body": "x" * (MAX_EVENT_BYTES + 1)}
        assert routes.answer(Request.from_event(request)).status == 413
        assert IdentityHook().conclude(OverloadedError("full")).status == 503


@pytest.mark.parametrize(
    ("delivery", "live_answer", "outcome"),
    [
        (signed("validate", account()), "204", "applied"),
        (signed("signup", account()), "200 with the roles member, staff", "applied"),
        (signed("login", account(roles=["staff", "member"])), "204", "applied"),
        (
            signed("signup", account(email="x@mailinator.com")),
            "403 Please use an address that lasts.",
            "denied",
        ),
        (raw(b"no event"), "400 body_json", "invalid"),
        (
            raw(b'{"event":"new","instance_id":"00000000-0000-0000-0000-000000000000"}'),
            "204",
            "ignored",
        ),
    ],
)
def test_the_ledger_says_what_would_have_been_answered(
    observing: App, delivery: Signed, live_answer: str, outcome: str
) -> None:
    """In a reason of its own, before those of the decision; a retry is 204 again, even live."""
    assert call(delivery, "identity")["statusCode"] == 204
    (kept,) = ledger(observing)
    assert (said(kept), kept.outcome) == (live_answer, outcome)
    with live(observing):
        assert call(delivery, "identity")["statusCode"] == 204
    assert ledger(observing) == [kept]


def test_a_failing_policy_is_told_and_its_event_can_be_decided_again(
    observing: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept as failed, with the developer's own line; nothing on record changed."""
    faulty = CallablePolicy("rules:decide", raising)
    monkeypatch.setitem(observing.policy_in_force.__dict__, "current", faulty)
    ada = account()
    assert call(signed("signup", ada))["statusCode"] == 204
    (kept,) = ledger(observing)
    assert (said(kept), kept.outcome) == ("500 policy_invalid", "failed")
    assert [reason.rule for reason in kept.reasons[1:]] == ["error", "error.at"]
    assert observing.store.users.look_up(ada.id) is None


def test_a_policy_that_cannot_be_loaded_fails_the_event_and_not_the_answer(
    database_url: str, make_settings: MakeSettings, clock: Clock
) -> None:
    """As a function finds it, which nobody checks at its start."""
    found = make_settings(database_url=database_url, mode="observe", policy="nowhere.toml")
    with use(App(found, clock)) as app:
        assert call(signed("signup", account()))["statusCode"] == 204
        (kept,) = ledger(app)
        assert (kept.outcome, said(kept)) == ("failed", "500 policy_invalid")


def test_a_policy_that_counts_uses_codes_and_places_and_answers_204(observing: App) -> None:
    """As documented: nobody is refused, and the ledger says who would have been."""
    usual = observing.policy
    assert isinstance(usual, FilePolicy)
    observing.policy_in_force.__dict__["current"] = replace(
        usual,
        admission=replace(usual.admission, default=Answer.DENY),
        counting=Counting("code", Quota(1, 86_400)),
    )
    ((spelling, code),) = observing.codes.make(NewCodes(roles=("pupil",)), "cli:ada")
    invited, second, guesser = (
        account(email=f"{name}@school.example", user_metadata={"code": text})
        for name, text in (("p", spelling), ("q", spelling), ("r", "guess-guess-guess"))
    )
    events = [signed("validate", invited)]
    events += [signed("signup", who) for who in (invited, second, guesser)]
    for event in [*events, *events]:  # a retry uses nothing
        answer = call(event, "identity")
        assert (answer["statusCode"], answer["body"]) == (204, "")
    assert [(said(each), each.outcome) for each in ledger(observing)] == [
        ("204", "applied"),
        ("200 with the roles member, pupil", "applied"),
        (f"403 {CODE_MESSAGE}", "denied"),
        (f"403 {CODE_MESSAGE}", "denied"),
    ]
    assert observing.codes.get(code.id).used == 1
    used = observing.codes.uses(code.id).items
    assert [each.user_id for each in used] == [invited.id]
    # Identity let the second one in all the same; their login gives no role of the code's.
    deliver(observing, [signed("login", second, at=NOON + timedelta(seconds=1))])
    grants = observing.store.users.get(second.id).grants
    assert {grant.role for grant in grants} == {"member"}


def test_a_full_window_is_told_in_observe_mode_and_refuses_nobody(observing: App) -> None:
    """And while the database is away, the answer is 204 and no 503."""
    usual = observing.policy
    assert isinstance(usual, FilePolicy)
    quota = Counting("", Quota(1, 86_400))
    observing.policy_in_force.__dict__["current"] = replace(usual, counting=quota)
    people = [account(email=f"p{number}@school.example") for number in range(3)]
    for who in people[:2]:
        assert call(signed("validate", who))["statusCode"] == 204
    assert [said(each) for each in ledger(observing)] == ["204", f"403 {FULL_MESSAGE}"]
    with locked(observing.settings.database_url):
        assert call(signed("validate", people[2]))["statusCode"] == 204
    while observing.store_and_forward.step():
        pass
    assert said(ledger(observing)[-1]) == f"403 {FULL_MESSAGE}"


def test_records_are_kept_by_what_identity_was_told(observing: App) -> None:
    """Roles are given here, nothing counts as sent, and a role given there is somebody's there."""
    ada = account()
    deliver(observing, [signed("signup", ada)])
    user = observing.store.users.get(ada.id)
    assert {grant.role for grant in user.grants} == {"member", "staff"}
    assert user.at_identity.expected == frozenset()
    there = account(user_id=ada.id, roles=["editor", "member"])
    deliver(observing, [signed("login", there, at=NOON + timedelta(seconds=5))])
    sources = {(g.role, g.source) for g in observing.store.users.get(ada.id).grants}
    assert sources == {("member", "policy"), ("staff", "policy"), ("editor", "identity")}
    with live(observing) as after:
        login = signed("login", there, at=NOON + timedelta(seconds=60))
        (answer,) = deliver(after, [login])
        assert isinstance(answer, Reply)
        assert (answer.app_metadata or {})["roles"] == ["editor", "member", "staff"]


def test_a_refused_person_has_an_account_all_the_same_and_a_record_at_the_login(
    observing: App,
) -> None:
    """Identity let them in; the refusal is in the ledger."""
    mallory = account(email="x@mailinator.com")
    assert call(signed("signup", mallory))["statusCode"] == 204
    assert observing.store.users.look_up(mallory.id) is None
    assert call(signed("login", mallory, at=NOON + timedelta(seconds=5)))["statusCode"] == 204
    assert observing.store.users.get(mallory.id).status is Status.ACTIVE
    assert [each.outcome for each in ledger(observing)] == ["denied", "applied"]


def test_events_of_an_outage_are_applied_with_the_204_that_was_given(observing: App) -> None:
    """The spool keeps that it was observe mode's, whatever the mode is by then."""
    ada = account()
    with locked(observing.settings.database_url):
        assert call(signed("signup", ada))["statusCode"] == 204
        assert call(signed("usermodified", ada))["statusCode"] == 204
    observing.store_and_forward.close()
    with live(observing) as after:
        while after.store_and_forward.step():
            pass
        first, second = ledger(after)
        assert (said(first), said(second)[:3]) == ("200 with the roles member, staff", "200")
        assert after.store.users.get(ada.id).at_identity.sent == {}


def test_nothing_is_pushed_and_what_waits_is_pushed_once_live(observing: App) -> None:
    """A change by an administrator stays pending; a sync that would push is refused."""
    ada = account()
    deliver(observing, [signed("signup", ada)])
    users = observing.store.users
    changed = users.change(users.get(ada.id), administration.grant("editor"), Change("test"))
    assert observing.pushes.push(changed) == changed
    assert changed.at_identity.pending
    assert observing.pushes.push_pending().settled == 0
    assert not observing.pushes.step()
    assert observing.pushes.failures() == []
    with pytest.raises(ObservingError, match="USHER_MODE is observe"):
        next(observing.sync.run(PERIODIC))
    with live(observing) as after:
        assert after.pushes.push_pending().error.startswith("identity_")


def test_a_store_that_cannot_be_opened_is_204_and_told(
    observing: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without the driver for PostgreSQL."""

    def away() -> None:
        raise DatabaseAwayError("no driver")

    monkeypatch.setattr(observing.webhooks, "_open_store", away)
    lines = LogLines()
    assert call(signed("signup", account()))["statusCode"] == 204
    (line,) = lines("batch.failed")
    assert line["detail"] == "no driver"


def test_the_log_says_at_the_start_that_usher_observes(
    database_url: str, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a process, as a warning."""
    monkeypatch.setattr(composition, "_current", None)
    for name, value in {
        "DATABASE_URL": database_url,
        "WEBHOOK_SECRETS": SECRET.decode(),
        "POLICY": str(policy_file),
        "MODE": "observe",
    }.items():
        monkeypatch.setenv(f"USHER_{name}", value)
    written = LogLines()
    monkeypatch.setattr(log, "configure", lambda: None)
    found = composition.current()
    assert composition.current() is found
    assert [line["level"] for line in written("mode.observe")] == ["warning"]
    found.close()
