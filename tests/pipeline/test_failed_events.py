"""Events that fail: kept with the error and the developer's line, replaced by their retry."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from tests.pipeline.outage_support import locked
from tests.store.store_support import LogLines, counts, deliver, rows
from tests.support import NOON, Clock, Signed, account, call, signed, verified
from usher.core import log
from usher.core.app import App, use
from usher.core.captures.format import (
    from_delivery,
    read_line,
    require_fit,
    to_delivery,
    write_line,
)
from usher.core.captures.replay import Replayer
from usher.core.domain.administration import Change
from usher.core.domain.failures import ERROR
from usher.core.domain.records import ERASED, Delivery, Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import DatabaseAwayError, NotStorableError, PolicyError
from usher.core.settings import Settings
from usher.core.spool.files import DEAD_LETTERS
from usher.core.webhooks import Webhooks, event_of

POLICY = '''"""A policy with a fault for some; ``faults`` can be emptied."""
from usher.core.domain.policy import Reason, Verdict

faults = {
    "raises@bad.example": lambda: {}["plan of raises@bad.example"],
    "exits@bad.example": lambda: exit(3),
    "in-a-library@bad.example": lambda: __import__("json").loads("{"),
    "recurses@bad.example": lambda: deeper(),
    "verdict@bad.example": lambda: "yes",
    "roles@bad.example": lambda: Verdict(roles="admin"),
    "metadata@bad.example": lambda: Verdict(app_metadata={"roles": []}),
    "reason@bad.example": lambda: Verdict(reasons=(Reason("x", "a\\x00b"),)),
    "reasons@bad.example": lambda: Verdict(reasons=("x",)),
}


def deeper():
    return deeper()


def decide(applicant):
    if applicant.address in faults:
        return faults[applicant.address]()
    return Verdict(roles=frozenset({"member"}))
'''
# What failed, its class, and the line of the policy: of the fault, or where ``decide`` begins.
FAULTS = [
    ("raises", "KeyError", 5),
    ("exits", "SystemExit", 6),
    ("in-a-library", "JSONDecodeError", 7),
    ("recurses", "RecursionError", 18),
    ("verdict", "PolicyError", 21),
    ("roles", "PolicyError", 21),
    ("metadata", "PolicyError", 21),
    ("reason", "PolicyError", 21),
    ("reasons", "PolicyError", 21),
]
NOW = timedelta(seconds=1)


class Site:
    """An App with the policy above."""

    def __init__(self, app: App, name: str) -> None:
        self.app = app
        self._name = name

    @property
    def policy(self) -> ModuleType:
        """The policy's module."""
        return sys.modules[self._name]

    def mend(self) -> None:
        """Take every fault out of the policy."""
        self.policy.faults.clear()

    def ledger(self) -> list[Delivery]:
        """Every delivery, in order of arrival."""
        return list(reversed(self.app.store.ledger.page().items))

    def counted(self) -> dict[str, int]:
        """Deliveries by event and outcome, as the counters have them."""
        by_day = self.app.store.users.counts("day", "2026-01-01")
        return {name.partition(":")[2]: count for name, count in by_day.items()}


@pytest.fixture
def site(
    database_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """The process's App, its working folder the one of the policy."""
    name = f"rules_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(POLICY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = make_settings(
        database_url=database_url, policy=f"{name}:decide", spool=str(tmp_path / "spool")
    )
    with ExitStack() as stack:
        app = stack.enter_context(use(App(settings, clock)))
        assert app.policy.role_names == frozenset()  # loaded, so that it can be mended
        yield Site(app, name)
    sys.modules.pop(name, None)


def of(name: str, event: str = "signup", **fields: Any) -> Signed:
    """An event of somebody for whom the policy has this fault."""
    return signed(event, account(email=f"{name}@bad.example", **fields))


@pytest.mark.parametrize(("name", "error", "line"), FAULTS)
def test_c2_a_failed_event_is_kept_with_its_error_and_the_developers_line(
    site: Site, name: str, error: str, line: int
) -> None:
    """Answered 500, and in the ledger with what the developer needs to mend it."""
    delivery, lines = of(name), LogLines()
    answer = call(delivery)
    assert answer["statusCode"] == 500
    (kept,) = site.ledger()
    assert (kept.outcome, kept.event, kept.body) == (Outcome.FAILED, "signup", delivery.body)
    assert kept.reply == Reply(500, answer["headers"]["Content-Type"], answer["body"])
    said, at = kept.reasons
    assert said.text.partition(":")[0] == error
    file = f"{site.app.settings.policy.partition(':')[0]}.py"
    assert (at.rule, at.text) == ("error.at", f"{file}:{line}")
    (told,) = lines("event.failed")
    assert (told["error"], told["file"], told["line"]) == (error, file, line)
    assert told["delivery_id"] == kept.id
    assert "@bad.example" not in json.dumps(lines()) + said.text
    assert site.counted() == {"signup:failed": 1}


@pytest.mark.parametrize("name", [name for name, *_ in FAULTS])
def test_c2_a_retry_that_succeeds_replaces_the_failed_event(site: Site, name: str) -> None:
    """The same signed bytes: one delivery, one outcome, one count, applied once."""
    delivery = of(name)
    assert [call(delivery)["statusCode"] for _ in range(3)] == [500] * 3
    assert counts(site.app.store.database)["deliveries"] == 1
    assert site.counted() == {"signup:failed": 1}
    site.mend()
    assert [call(delivery)["statusCode"] for _ in range(2)] == [200] * 2
    (kept,) = site.ledger()
    assert (kept.outcome, kept.reply.status) == (Outcome.APPLIED, 200)
    assert site.counted() == {"signup:applied": 1}
    assert counts(site.app.store.database) == {
        "users": 1, "grants": 1, "deliveries": 1, "audit": 1,
    }  # fmt: skip


def test_c2_a_failed_event_stands_where_it_was_applied(site: Site) -> None:
    """After what came in between, so that a replay of the ledger ends in the same records."""
    first, second = of("raises"), signed("signup", account(email="ada@example.com"))
    deliver(site.app, [first, second])
    assert [each.outcome for each in site.ledger()] == ["failed", "applied"]
    site.mend()
    deliver(site.app, [first])
    assert [each.body for each in site.ledger()] == [second.body, first.body]


def test_c2_one_that_fails_harms_no_neighbour_in_its_batch(site: Site) -> None:
    """Nor another event of the same person, nor itself where it comes twice at once."""
    ada = account(email="ada@example.com")
    bad = of("raises")
    batch = [signed("signup", ada), bad, signed("login", ada), bad]
    answers = deliver(site.app, batch)
    assert [isinstance(answer, Reply) for answer in answers] == [True, False, True, False]
    assert [each.outcome for each in site.ledger()] == ["applied", "applied", "failed"]
    assert site.counted() == {"signup:applied": 1, "signup:failed": 1, "login:applied": 1}


def test_c2_mended_in_the_middle_of_a_batch(site: Site) -> None:
    """A delivery that fails and then succeeds in one batch is kept as what it came to."""
    site.policy.faults["raises@bad.example"] = lambda: site.policy.faults.clear() or 1 / 0
    bad = of("raises")
    answers = deliver(site.app, [bad, bad])
    assert [type(answer) for answer in answers] == [PolicyError, Reply]
    assert [each.outcome for each in site.ledger()] == ["applied"]
    assert site.counted() == {"signup:applied": 1}


def test_c2_the_policy_is_asked_for_once_a_batch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one policy decides a batch, whatever is put in its place meanwhile."""
    asked = []
    current = site.app.policy

    class Counting:
        @property
        def current(self) -> Any:
            asked.append(1)
            return current

    monkeypatch.setattr(site.app.webhooks, "_in_force", Counting())
    deliver(site.app, [signed("signup", account(email=f"p{n}@example.com")) for n in range(5)])
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), 500),
        (AssertionError("unreachable"), 500),
        (NotStorableError("invalid byte sequence for encoding"), 500),
    ],
)
def test_c2_an_error_of_our_own_is_kept_too(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Where it comes as the records are written, in a transaction of its own."""
    batch = [signed("signup", account(email=f"p{n}@example.com")) for n in range(3)]
    original = site.app.store.users.store

    def broken(connection: Any, before: Any, after: Any, *rest: Any) -> None:
        original(connection, before, after, *rest)
        if any(user.email == "p1@example.com" for user in after.values()):
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(site.app.store.users, "store", broken)
        answers = deliver(site.app, batch)
    assert [type(answer) for answer in answers] == [Reply, type(error), Reply]
    by_body = {each.body: each for each in site.ledger()}
    failed = by_body[batch[1].body]
    assert (failed.outcome, failed.reply.status) == (Outcome.FAILED, status)
    assert failed.reasons[0].text.startswith(type(error).__name__)
    assert counts(site.app.store.database)["users"] == 2
    assert isinstance(deliver(site.app, [batch[1]])[0], Reply)
    assert site.counted() == {"signup:applied": 3}


def test_c2_a_body_that_cannot_be_read_for_a_fault_of_ours_is_kept_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names no event then; the person is told to come again, and not that it is invalid."""

    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    delivery = of("nobody")
    with monkeypatch.context() as patched:
        patched.setattr("usher.core.webhooks.parse_event", broken)
        assert call(delivery)["statusCode"] == 500
    (kept,) = site.ledger()
    assert (kept.outcome, kept.event, kept.user_id) == (Outcome.FAILED, "", None)
    require_fit(to_delivery(from_delivery(kept)))
    assert call(delivery)["statusCode"] == 200


def test_c2_nothing_half_done_is_left_of_an_event_that_fails_late(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after the decision changes no record either."""
    original = Webhooks._delivery

    def broken(self: Webhooks, verified: Any, decision: Any, policy: Any) -> Delivery:
        if decision.outcome is Outcome.APPLIED:
            raise ValueError("late")
        return original(self, verified, decision, policy)

    monkeypatch.setattr(Webhooks, "_delivery", broken)
    assert call(signed("signup", account()))["statusCode"] == 500
    assert counts(site.app.store.database) == {
        "users": 0, "grants": 0, "deliveries": 1, "audit": 0,
    }  # fmt: skip


def test_c2_while_the_database_is_away_nothing_is_called_failed(site: Site) -> None:
    """That is no fault of a delivery's; it is tried again as ever."""
    delivery = signed("signup", account())
    with locked(site.app.settings.database_url):
        (answer,) = deliver(site.app, [delivery])
    assert isinstance(answer, DatabaseAwayError)
    assert site.ledger() == []


def test_c2_the_database_goes_away_before_a_failure_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the database is away, and the spool takes the delivery: nothing is lost."""
    site.app.start_store_and_forward()
    delivery = signed("login", account())

    def away(*_: Any) -> Delivery:
        raise DatabaseAwayError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(site.app.store.users, "after_events", lambda *_: 1 / 0)
        patched.setattr(Webhooks, "_failed", away)
        (answer,) = deliver(site.app, [delivery])
    assert answer == Reply(204)
    while site.app.store_and_forward.step():
        pass
    assert [each.outcome for each in site.ledger()] == ["applied"]


def test_c2_what_fails_out_of_the_spool_is_seen_and_holds_up_nobody(site: Site) -> None:
    """It is kept as failed and as a dead letter; put back, its record is replaced."""
    site.app.start_store_and_forward()
    bad, good = of("raises", "login"), signed("login", account(email="b@example.com"))
    with locked(site.app.settings.database_url):
        answers = deliver(site.app, [bad, good])
    assert answers == [Reply(204), Reply(204)]
    lines = LogLines()
    while site.app.store_and_forward.step():
        pass
    outcomes = {each.body: (each.outcome, each.reply.status) for each in site.ledger()}
    assert outcomes == {bad.body: ("failed", 204), good.body: ("applied", 204)}
    (told,) = lines("event.dead_letter")
    assert (told["error"], told["line"]) == ("KeyError", 5)
    site.mend()
    folder = site.app.settings.spool_folder
    (folder / DEAD_LETTERS).rename(folder / "again.spool")
    while site.app.store_and_forward.step():
        pass
    assert [each.outcome for each in site.ledger()] == ["applied", "applied"]
    assert site.counted() == {"login:applied": 2}


def test_c2_one_that_fails_during_an_outage_harms_no_neighbour(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised: the others are kept in the spool."""
    site.app.start_store_and_forward()

    def broken(event: Any, *_: Any) -> Reply:
        if event.user.email == "b@example.com":
            raise ZeroDivisionError
        return Reply(204)

    monkeypatch.setattr("usher.core.spool.forward.answer_without_record", broken)
    batch = [signed("signup", account(email=f"{name}@example.com")) for name in "abc"]
    with locked(site.app.settings.database_url):
        answers = deliver(site.app, batch)
    assert [type(answer) for answer in answers] == [Reply, ZeroDivisionError, Reply]


def test_c2_a_body_that_cannot_be_read_during_an_outage_is_no_answer_either(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender comes again; nothing of it is in the spool."""
    site.app.start_store_and_forward()
    delivery = of("nobody")
    with monkeypatch.context() as patched, locked(site.app.settings.database_url):
        patched.setattr("usher.core.webhooks.parse_event", lambda *_: 1 / 0)
        (answer,) = deliver(site.app, [delivery])
    assert isinstance(answer, ZeroDivisionError)
    while site.app.store_and_forward.step():
        pass
    assert site.ledger() == []


def test_c2_the_traceback_is_logged_only_where_it_is_asked_for(site: Site) -> None:
    """Below the line, which stays JSON; ``usher dev`` asks for it."""
    call(of("somebody"))  # names the instance, which is a line, too
    for asked in (True, False):
        stream = io.StringIO()
        log.configure(stream, tracebacks=asked)
        call(of("raises"))
        line, *below = stream.getvalue().splitlines()
        assert "traceback" not in json.loads(line)
        assert (below[:1] == ["Traceback (most recent call last):"]) is asked
        assert (below[-1:] == ["KeyError: 'plan of raises@bad.example'"]) is asked
    log.configure()


def test_c2_decided_again_by_hand_the_failed_event_gets_its_outcome(site: Site) -> None:
    """Counted once, and what Identity was told stays what it was told."""
    delivery = of("raises", "usermodified", confirmed_at=NOON)
    assert call(delivery)["statusCode"] == 500
    (failed,) = site.ledger()
    event = event_of(failed)
    assert event is not None
    users, change = site.app.store.users, Change("cli:ada")
    with pytest.raises(PolicyError):
        users.decide_again(event, site.app.policy, change, failed)
    assert [each.outcome for each in site.ledger()] == ["failed"]
    site.mend()
    for _ in range(2):
        decision = users.decide_again(event, site.app.policy, change, failed)
    (kept,) = site.ledger()
    assert (kept.outcome, kept.reply.status, kept.id) == (Outcome.APPLIED, 500, failed.id)
    assert kept.reasons != failed.reasons
    assert decision.user is not None
    assert site.counted() == {"usermodified:applied": 1}
    assert call(delivery)["statusCode"] == 200  # never the 500 that is on record
    assert [each.outcome for each in site.ledger()] == ["unchanged"]
    assert site.counted() == {"usermodified:unchanged": 1}


def test_c2_erasure_covers_what_was_kept_of_a_failure(site: Site) -> None:
    """Its body and its message go with the person; an event that fails later keeps neither."""
    who = account(email="raises@bad.example")
    call(signed("signup", who))
    call(signed("userdeleted", who, at=NOON + NOW))
    failed, _ = site.ledger()
    assert (failed.outcome, failed.body, failed.reasons) == (Outcome.FAILED, None, (ERASED,))
    assert "plan" not in str(rows(site.app.store.database, "SELECT reasons FROM deliveries"))


def test_c2_an_event_of_somebody_deleted_that_fails_keeps_nothing_personal(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says that they are deleted, also where deciding failed."""
    who = account(email="ada@example.com")
    call(signed("userdeleted", who))

    def broken(*_: Any) -> None:
        raise ValueError("Ada Lovelace")

    monkeypatch.setattr("usher.core.domain.decide.decide", broken)
    assert call(signed("login", who))["statusCode"] == 500
    failed = site.ledger()[-1]
    assert (failed.outcome, failed.body, failed.reasons) == (Outcome.FAILED, None, (ERASED,))


def test_c2_failed_events_are_pruned_like_all_others(site: Site, clock: Clock) -> None:
    """By age alone."""
    call(of("raises"))
    assert site.app.store.ledger.prune(NOON - NOW) == 0
    clock.advance(days=1)
    assert site.app.store.ledger.prune(clock()) == 1
    assert site.ledger() == []


def test_c2_a_failed_event_is_captured_replayed_and_imported(
    site: Site, make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    """Its outcome travels; an imported one is no answer to the event itself."""
    call(of("raises"))
    (failed,) = site.ledger()
    capture = read_line(write_line(from_delivery(failed)).encode())
    again = to_delivery(capture)
    require_fit(again)
    assert (again.outcome, again.reasons, again.reply) == (
        Outcome.FAILED, failed.reasons, failed.reply,
    )  # fmt: skip
    (played,) = Replayer(site.app.settings, site.app.policy_in_force, site.app.store).play(
        [capture]
    )
    assert isinstance(played.result, PolicyError)
    site.mend()
    (played,) = Replayer(site.app.settings, site.app.policy_in_force, site.app.store).play(
        [capture]
    )
    assert isinstance(played.result, Reply)
    assert site.counted() == {"signup:applied": 1}


def test_c2_an_import_that_is_superseded_is_counted_once(site: Site) -> None:
    """The event itself comes after what a file said of it."""
    good = signed("signup", account(email="ada@example.com"))
    call(good)
    (kept,) = site.ledger()
    site.app.store.ledger.prune(NOON + NOW)
    assert site.app.store.ledger.add([kept]) == 1
    assert site.counted() == {"signup:applied": 2}  # pruned ones stay counted
    site.app.webhooks.process([verified(site.app.webhooks, good)])
    assert site.counted()["signup:applied"] + site.counted().get("signup:unchanged", 0) == 2


def test_c2_the_reason_of_a_failure_has_one_rule(site: Site) -> None:
    """``error``, whatever the class, so that lists can be searched."""
    for name, *_ in FAULTS:
        call(of(name))
    assert {each.reasons[0].rule for each in site.ledger()} == {ERROR}
