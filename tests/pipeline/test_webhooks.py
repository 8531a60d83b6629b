"""The pipeline: retries, batches, and what is kept of each delivery; on both databases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.forgeries import refused
from tests.store.store_support import LogLines, checked, counts, deliver, raw, rows
from tests.support import NOON, Clock, Signed, account, call, signed
from usher.core.app import App
from usher.core.domain.at_identity import UNKNOWN
from usher.core.domain.records import Status
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import Check
from usher.core.settings import Settings
from usher.emulator.payload import ZERO_INSTANCE, event_body

NOT_AN_EVENT = raw(b'{"event":"signup"}')
DELIVERIES = {
    "signup": (lambda: signed("signup", account()), 200, "applied"),
    "validate": (lambda: signed("validate", account()), 204, "applied"),
    "login": (lambda: signed("login", account()), 200, "applied"),
    "usermodified": (lambda: signed("usermodified", account(confirmed_at=NOON)), 200, "applied"),
    "userdeleted": (lambda: signed("userdeleted", account()), 204, "applied"),
    "denied": (lambda: signed("signup", account(email="x@mailinator.com")), 403, "denied"),
    "invalid": (lambda: NOT_AN_EVENT, 400, "invalid"),
    "unknown": (lambda: signed("passwordchanged", account()), 204, "ignored"),
}


@pytest.mark.parametrize(("make", "status", "outcome"), DELIVERIES.values(), ids=DELIVERIES.keys())
def test_the_same_delivery_three_times_has_one_effect_and_three_identical_answers(
    usher: App, clock: Clock, make: Callable[[], Signed], status: int, outcome: str
) -> None:
    """Identity retries with the same bytes; only the notes tell that it was told again."""
    delivery, answers, states = make(), [], []
    for _ in range(3):
        answers.append(call(delivery, "identity"))
        people = [replace(one, at_identity=UNKNOWN) for one in usher.store.users.page().items]
        states.append((counts(usher.store.database), people))
        clock.advance(seconds=1)
    assert answers[0]["statusCode"] == status
    assert answers[1] == answers[0] == answers[2]
    assert states[1] == states[0] == states[2]
    (kept,) = usher.store.ledger.page().items
    assert (kept.outcome, kept.received_at) == (outcome, NOON)
    assert kept.body == (None if delivery.event == "userdeleted" else delivery.body)
    assert (kept.reply.status, kept.reply.body) == (status, answers[0]["body"])


def test_an_event_on_the_url_of_another_is_refused_three_times_alike(usher: App) -> None:
    """A wrong single-event URL is body trouble: 400, kept, and without effect."""
    delivery = signed("signup", account())
    answers = [call(delivery, "identity-login") for _ in range(3)]
    assert answers[0]["statusCode"] == 400
    assert json.loads(answers[0]["body"])["code"] == "event_mismatch"
    assert answers[1] == answers[0] == answers[2]
    assert counts(usher.store.database) == {"users": 0, "grants": 0, "deliveries": 1, "audit": 0}


def test_the_same_bytes_work_on_the_right_url_after_a_wrong_one(usher: App) -> None:
    """An invalid delivery has an id of its own, so it never stands in a good one's way."""
    delivery = signed("signup", account())
    assert call(delivery, "identity-login")["statusCode"] == 400
    assert call(delivery, "identity-signup")["statusCode"] == 200
    good, invalid = usher.store.ledger.page().items
    assert (good.outcome, invalid.outcome) == ("applied", "invalid")
    assert good.body == invalid.body
    assert good.id != invalid.id
    assert usher.store.users.find("ada@example.com").status is Status.ACTIVE


def test_an_unknown_event_is_kept_with_its_name_and_changes_nothing(usher: App) -> None:
    """A newer Identity's event: 204, ignored, its body there to be looked at."""
    delivery = signed("passwordchanged", account())
    assert deliver(usher, [delivery]) == [Reply(204, "", "")]
    (kept,) = usher.store.ledger.page().items
    assert (kept.event, kept.outcome, kept.user_id) == ("passwordchanged", "ignored", None)
    assert [reason.rule for reason in kept.reasons] == ["event.unknown"]
    assert counts(usher.store.database)["users"] == 0


def test_an_invalid_body_is_kept_with_the_code_of_its_trouble(usher: App) -> None:
    """What cannot be read names no event and no user, but its bytes are there."""
    (answer,) = deliver(usher, [NOT_AN_EVENT])
    assert isinstance(answer, Reply)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "body_field")
    (kept,) = usher.store.ledger.page().items
    assert (kept.event, kept.outcome, kept.user_id) == ("", "invalid", None)
    assert [reason.rule for reason in kept.reasons] == ["body_field"]
    assert kept.body == NOT_AN_EVENT.body


def test_a_kept_delivery_says_all_that_is_known_of_it(usher: App) -> None:
    """Signer, time, path, digest, key and policy, besides the decision."""
    ada = account()
    delivery = signed("signup", ada, at=NOON - timedelta(seconds=7))
    call(delivery)
    (kept,) = usher.store.ledger.page().items
    assert (kept.instance_id, kept.user_id, kept.event) == (ZERO_INSTANCE, ada.id, "signup")
    assert kept.issued_at == int(NOON.timestamp()) - 7
    assert kept.path == "/.netlify/functions/identity-signup"
    assert kept.key_index == 0
    assert kept.policy == usher.policy.fingerprint
    assert [reason.rule for reason in kept.reasons] == ["admission.default", "role.1", "role.2"]


def test_a_forged_delivery_is_not_kept_and_opens_no_database(
    make_settings: Callable[..., Settings], clock: Clock, tmp_path: Path
) -> None:
    """Nothing happens without a signature; the database need not even exist."""
    app = App(make_settings(database_url=f"sqlite:///{tmp_path}/absent.db"), clock)
    lines = LogLines()
    with refused(Check.SIGNATURE_MISMATCH):
        checked(app, [signed("signup", account(), secret=b"x" * 32)])
    (line,) = lines()
    assert (line["event"], line["reason"]) == ("signature.rejected", "signature_mismatch")
    assert not (tmp_path / "absent.db").exists()


def test_a_duplicate_inside_a_batch_gets_its_twins_answer(usher: App) -> None:
    """A retry can overtake the first attempt into the same batch."""
    first, other = signed("signup", account()), signed("signup", account(email="x@mailinator.com"))
    lines = LogLines()
    answers = deliver(usher, [first, other, first, other, first])
    assert answers[2] == answers[0] == answers[4]
    assert answers[3] == answers[1]
    assert counts(usher.store.database)["deliveries"] == 2
    names = [line["event"] for line in lines()]
    assert names == ["instance.adopted", "event.applied", "event.denied", *["event.repeated"] * 3]


def test_a_batch_folds_one_users_events_in_their_order_of_arrival(usher: App) -> None:
    """Signup, login and deletion in one transaction end as a tombstone, each with its answer."""
    ada = account()
    moments = [NOON + timedelta(seconds=n) for n in range(3)]
    names = ("signup", "login", "userdeleted")
    answers = deliver(usher, [signed(n, ada, at=at) for n, at in zip(names, moments, strict=True)])
    assert [a.status for a in answers if isinstance(a, Reply)] == [200, 200, 204]
    user = usher.store.users.find(str(ada.id))
    assert (user.status, user.email, user.grants) == (Status.DELETED, "", ())
    assert [d.event for d in usher.store.ledger.page().items] == ["userdeleted", "login", "signup"]
    audit = rows(usher.store.database, "SELECT action, after FROM audit ORDER BY sequence")
    assert [action for action, _ in audit] == ["user.created", "user.deleted"]
    assert "ada@example.com" not in str(audit)


def test_neighbours_in_a_batch_do_not_see_each_others_records(usher: App, clock: Clock) -> None:
    """Two people with one address stay two; roles and denials go to whom they belong."""
    people = [account(email=e) for e in ("a@example.com", "b@x.org", "c@mailinator.com", "b@x.org")]
    answers = deliver(usher, [signed("signup", who) for who in people])
    assert [a.status for a in answers if isinstance(a, Reply)] == [200, 200, 403, 200]
    found = {user.id: effective(user.grants, clock()) for user in usher.store.users.page().items}
    assert found == {
        people[0].id: {"member", "staff"},
        people[1].id: {"member"},
        people[3].id: {"member"},
    }


def test_a_batch_ends_exactly_as_its_deliveries_one_by_one(
    usher: App,
    make_settings: Callable[..., Settings],
    clock: Clock,
    sqlite_template: Path,
    tmp_path: Path,
) -> None:
    """How deliveries were gathered leaves no trace: same answers, records, audit and ledger."""
    copy = shutil.copy(sqlite_template, tmp_path / "single.db")
    single = App(make_settings(database_url=f"sqlite:///{copy}"), clock)
    ada, bob = account(), account(email="bob@mailinator.com")
    events = [
        ("validate", ada, 0), ("signup", bob, 1), ("signup", ada, 2), ("validate", bob, 3),
        ("login", account(user_id=ada.id, roles=["member", "extra"]), 5),
        ("usermodified", account(user_id=ada.id, email="ada@new.org", roles=["extra"]), 9),
        ("login", ada, 4), ("signup", ada, 2), ("userdeleted", bob, 11), ("login", bob, 12),
        ("nonsense", bob, 13),
    ]  # fmt: skip
    deliveries = [signed(n, who, at=NOON + timedelta(seconds=s)) for n, who, s in events]
    together = deliver(usher, deliveries)
    apart = [deliver(single, [delivery])[0] for delivery in deliveries]
    assert together == apart
    assert _everything(usher) == _everything(single)
    single.close()


def _everything(app: App) -> list[Any]:
    audit = rows(
        app.store.database,
        "SELECT sequence, action, actor, delivery_id, reason FROM audit ORDER BY sequence",
    )
    return [app.store.users.page().items, app.store.ledger.page(), audit]


def test_a_delivery_that_changes_nothing_writes_only_itself(usher: App, clock: Clock) -> None:
    """A second login that finds all as it was: in the ledger, no new version, no audit."""
    ada = account(roles=["member", "staff"])
    call(signed("signup", ada))
    before = usher.store.users.find(str(ada.id))
    clock.advance(seconds=5)
    call(signed("usermodified", ada, at=NOON - timedelta(seconds=5)))
    assert usher.store.users.find(str(ada.id)) == before
    assert counts(usher.store.database)["audit"] == 1
    assert usher.store.ledger.page().items[0].outcome == "unchanged"


def test_the_body_reaches_the_ledger_byte_for_byte(usher: App) -> None:
    """What was signed is what is kept, whatever its spelling of JSON."""
    body = event_body("signup", account()).replace(b":", b" :\t", 3) + b"\n"
    assert deliver(usher, [raw(body)])[0] != Reply(204, "", "")
    assert usher.store.ledger.page().items[0].body == body
