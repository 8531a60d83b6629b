"""A policy that is a Python callable: as good as the file, and no harm to others' deliveries."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.store.store_support import LogLines, counts, deliver
from tests.support import Clock, account, call, signed
from usher.core.app import App, use
from usher.core.domain.reply import Reply
from usher.core.settings import Settings

SAME_AS_THE_FILE = '''
from usher.core.domain.policy import Verdict

def decide(applicant):
    """The rules of tests.conftest.POLICY."""
    roles = {"member"}
    if applicant.proven and applicant.domain == "example.com":
        roles.add("staff")
    if applicant.proven and applicant.address == "owner@example.com":
        roles.add("admin")
    denied = applicant.domain == "mailinator.com"
    message = "Please use an address that lasts." if denied else ""
    return Verdict(not denied, message, frozenset(roles))
'''
SCREENING = """
from usher.core.domain.policy import Ask, Refuse, Rules, Verdict

def typed(event):
    name = event.user.user_metadata["full_name"]
    return Refuse("Your own name.", "junk") if "casino" in name else None

decide = Rules(lambda applicant: Verdict(roles=frozenset({"member"})), typed)
"""
POISONED = """
from usher.core.domain.policy import Verdict

faults = {FAULTS}

def decide(applicant):
    fault = faults.get(applicant.address)
    if fault is None:
        return Verdict(roles=frozenset({"member"}))
    return fault()
"""
FAULTS = {
    "raises": '{"bad@example.com": lambda: 1 / 0}',
    "no verdict": '{"bad@example.com": lambda: "yes"}',
    "no role name": '{"bad@example.com": lambda: Verdict(roles=frozenset({" "}))}',
    "a reserved key": '{"bad@example.com": lambda: Verdict(app_metadata={"roles": []})}',
    "no JSON": '{"bad@example.com": lambda: Verdict(app_metadata={"a": object()})}',
    "NaN": '{"bad@example.com": lambda: Verdict(app_metadata={"a": float("nan")})}',
    "half a surrogate pair": '{"bad@example.com": lambda: Verdict(False, chr(0xD800))}',
}
MakeApp = Callable[[str], App]


@pytest.fixture
def make_app(
    database_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeApp]:
    """The process's App, with a policy that is the function ``decide`` in this source."""
    name = f"policy_{uuid4().hex}"
    monkeypatch.syspath_prepend(tmp_path)
    apps: list[object] = []

    def make(source: str) -> App:
        (tmp_path / f"{name}.py").write_text(source)
        app = App(make_settings(database_url=database_url, policy=f"{name}:decide"), clock)
        entered = use(app)
        apps.append(entered)
        return entered.__enter__()

    yield make
    for entered in apps:
        entered.__exit__(None, None, None)  # type: ignore[attr-defined]
    sys.modules.pop(name, None)


def test_a_callable_policy_works_like_the_file(make_app: MakeApp, usher: App) -> None:
    """The same people get the same answers and grants from either."""
    people = [
        account(),
        account(email="owner@example.com"),
        account(email="owner@example.com", proven=False),
        account(email="b@x.org", provider="google"),
        account(email="x@mailinator.com"),
    ]
    by_file = [call(signed("signup", who)) for who in people]
    app = make_app(SAME_AS_THE_FILE)
    others = [account(email=who.email, app_metadata=who.app_metadata,
                      confirmation_sent_at=who.confirmation_sent_at) for who in people]  # fmt: skip
    by_callable = [call(signed("signup", who)) for who in others]
    assert by_callable == by_file
    for one, other in zip(people[:4], others[:4], strict=True):
        first, second = (app.store.users.find(str(who.id)).grants for who in (one, other))
        assert [(g.role, g.source) for g in first] == [(g.role, g.source) for g in second]


def test_a_callable_policy_sees_no_metadata_of_the_users_choice(make_app: MakeApp) -> None:
    """Nothing in user_metadata or aud can give a role, since the question does not hold them."""
    app = make_app("""
from usher.core.domain.policy import Verdict

def decide(applicant):
    return Verdict(roles=frozenset({"admin"} if "wish" in repr(applicant) else ()))
""")
    call(signed("signup", account(user_metadata={"roles": ["wish"]}, aud="wish")))
    (user,) = app.store.users.page().items
    assert user.grants == ()


def test_a_screen_refuses_by_what_was_typed_and_its_faults_name_its_line(make_app: MakeApp) -> None:
    """403 with its sentence and its reason in the ledger; a name that is no text is its fault."""
    app = make_app(SCREENING)
    typed = ({"full_name": "Ada"}, {"full_name": "a casino"}, {"full_name": 7})
    answers = [call(signed("signup", account(user_metadata=each))) for each in typed]
    assert [answer["statusCode"] for answer in answers] == [200, 403, 500]
    assert "Your own name." in answers[1]["body"]
    failed, denied, _ = app.store.ledger.page().items
    assert denied.reasons[-1].text == "junk"
    assert denied.reasons[-1].rule.endswith(":decide.screen")
    place = next(reason.text for reason in failed.reasons if reason.rule == "error.at")
    name, _, line = place.rpartition(":")
    assert SCREENING.splitlines()[int(line) - 1].startswith("    return Refuse")
    assert name.endswith(".py")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_poisoned_delivery_fails_alone(make_app: MakeApp, fault: str) -> None:
    """Its neighbours are applied; itself it is kept as failed, and changed nothing."""
    app = make_app(POISONED.replace("{FAULTS}", fault))
    names = ("a", "bad", "c")
    batch = [signed("signup", account(email=f"{name}@example.com")) for name in names]
    lines = LogLines()
    answers = deliver(app, batch)
    assert [isinstance(answer, Reply) for answer in answers] == [True, False, True]
    assert counts(app.store.database) == {"users": 2, "grants": 2, "deliveries": 3, "audit": 2}
    outcomes = [kept.outcome for kept in reversed(app.store.ledger.page().items)]
    assert outcomes == ["applied", "failed", "applied"]
    (failed,) = lines("event.failed")
    assert failed["level"] == "error"
    assert "bad@example.com" not in json.dumps(lines())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_poisoned_delivery_is_answered_500_and_runs_once_the_policy_is_mended(
    make_app: MakeApp, fault: str
) -> None:
    """A failure is no stored answer: the retry of the same bytes asks the policy again."""
    app = make_app(POISONED.replace("{FAULTS}", fault))
    delivery = signed("signup", account(email="bad@example.com"))
    answer = call(delivery)
    assert answer["statusCode"] == 500
    assert counts(app.store.database) == {"users": 0, "grants": 0, "deliveries": 1, "audit": 0}
    sys.modules[app.settings.policy.partition(":")[0]].faults.clear()
    assert call(delivery)["statusCode"] == 200
    assert counts(app.store.database) == {"users": 1, "grants": 1, "deliveries": 1, "audit": 1}


def test_a_poisoned_login_does_not_undo_its_neighbour_of_the_same_user(make_app: MakeApp) -> None:
    """What the user's other deliveries in the batch did is kept; it did nothing itself."""
    app = make_app("""
from usher.core.domain.policy import Verdict

def decide(applicant):
    if applicant.event == "login":
        raise RuntimeError
    return Verdict(roles=frozenset({"member"}))
""")
    ada = account()
    answers = deliver(app, [signed("signup", ada), signed("login", ada), signed("signup", ada)])
    assert [isinstance(answer, Reply) for answer in answers] == [True, False, True]
    user = app.store.users.find(str(ada.id))
    assert [grant.role for grant in user.grants] == ["member"]
    kept = [(each.event, each.outcome) for each in reversed(app.store.ledger.page().items)]
    assert kept == [("signup", "applied"), ("login", "failed")]
