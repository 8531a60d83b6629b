"""A policy tried over the API: the command's figures, within bounds, for administrators."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from msgspec.structs import replace

from tests.api.api_support import People
from tests.store.store_support import deliver
from tests.support import account, signed
from usher.core.app import App
from usher.core.domain.policy import Applicant, Verdict
from usher.core.domain.trial import COMPARED
from usher.core.policy_source import load_policy
from usher.functions.api_methods import policy_trial

ADMIN = "administrator"
NEXT = """
[admission]
deny_email_domains = ["x.org"]
[[role]]
grant = "member"
[[role]]
grant = "guest"
providers = ["google"]
"""


def tried(people: People, on: str = "events", policy: str = NEXT) -> Any:
    """The answer to an administrator."""
    answer = people.ask(ADMIN, "POST", "/policy/try", {"policy": policy, "on": on})
    assert answer.status == 200, answer.text
    return answer.json


def told(answer: Any) -> set[tuple[str, str, str, int]]:
    """The differences, without their examples."""
    return {(g["what"], g["was"], g["now"], g["count"]) for g in answer["differences"]}


def three_come(app: App) -> None:
    """Three people sign up."""
    emails = ("a@x.org", "b@x.org", "c@y.org")
    deliver(app, [signed("signup", account(email=email)) for email in emails])


def test_a_candidate_is_tried_on_the_newest_events(people: People) -> None:
    """Its fingerprint, how many of how many events, and what would have come out differently."""
    earlier = tried(people)["count"]
    three_come(people.app)
    found = tried(people)
    assert (found["on"], found["count"]) == ("events", earlier + 3)
    assert 3 <= found["users"] <= found["count"] <= found["of"]
    assert len(found["fingerprint"]) == 12
    assert told(found) >= {
        ("admission at signup", "admitted", "denied by admission.deny_email_domains", 2),
        ("role 'member'", "had", "not had", 2),
    }


def test_a_candidate_that_counts_is_tried_on_the_newest_events(people: People) -> None:
    """The second of two people of one domain finds no place."""
    three_come(people.app)
    limited = '[admission]\nsignups_per_domain = "1/d"'
    full = ("admission at signup", "admitted", "denied by admission.signups_per_domain")
    counts = {each[:3]: each[3] for each in told(tried(people, policy=limited))}
    assert counts[full] >= 1
    assert not any("denied" in now for _, _, now in {*counts} - {full})


def test_a_candidate_is_tried_on_the_records(people: People) -> None:
    """Those of now, without the suspended and the deleted."""
    three_come(people.app)
    found = tried(people, "records")
    alive = [u for u in people.app.store.users.page().items if u.status in COMPARED]
    assert found["count"] == found["of"] == found["users"] == len(alive)
    refused = sum(user.email.endswith("@x.org") for user in alive)
    denied = ("admission", "admitted", "denied by admission.deny_email_domains", refused)
    assert denied in told(found)


@pytest.mark.parametrize("on", ["events", "records"])
def test_the_policy_in_force_changes_nothing(
    sqlite_people: People, policy_file: Any, on: str
) -> None:
    """Nothing is told, and nothing is written by any trial."""
    store = sqlite_people.app.store
    three_come(sqlite_people.app)
    before = (store.users.page().items, store.users.audit_page().items, store.ledger.page().items)
    assert tried(sqlite_people, on, policy_file.read_text())["differences"] == []
    assert tried(sqlite_people, on)["differences"] != []
    after = (store.users.page().items, store.users.audit_page().items, store.ledger.page().items)
    assert before == after


@pytest.mark.parametrize("on", ["events", "records"])
def test_a_trial_looks_at_so_many_at_most(
    sqlite_people: People, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    """And says of how many these are; nor does it take longer than its time."""
    three_come(sqlite_people.app)
    monkeypatch.setattr(policy_trial, "MOST", 3)  # of which the suspended and the deleted are two
    found = tried(sqlite_people, on)
    assert 0 < found["count"] <= 3 < found["of"]
    monkeypatch.setattr(policy_trial, "MOST_SECONDS", 0)
    assert tried(sqlite_people, on)["count"] == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "/policy: is needed where USHER_POLICY_SHADOW is not set"),
        ({"policy": ""}, "/policy: "),
        ({"policy": "[admision]"}, "/policy: policy.toml: unknown key 'admision'"),
        ({"policy": "[admission", "on": "records"}, "/policy: policy.toml: "),
        ({"policy": NEXT, "on": "users"}, "/on: "),
    ],
)
def test_a_text_that_is_no_policy_is_refused(sqlite_people: People, body: Any, said: str) -> None:
    """By its place and problem, as the command says it."""
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/try", body)
    assert (answer.status, answer.code) == (400, "input_invalid")
    assert said in answer.json["detail"]


def test_without_a_text_the_shadow_policy_is_tried(
    sqlite_people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, with the lists that it names; code is left to the command."""
    app, following = sqlite_people.app, tmp_path / "next.toml"
    (tmp_path / "junk.txt").write_text("x.org\n")
    following.write_text('[admission]\ndeny_email_domains = { file = "junk.txt" }\n')

    def shadow(source: str) -> None:
        monkeypatch.setattr(app, "settings", replace(app.settings, policy_shadow=source))

    def refused() -> str:
        answer = sqlite_people.ask(ADMIN, "POST", "/policy/try", {"on": "records"})
        assert (answer.status, answer.code) == (400, "input_invalid")
        return str(answer.json["detail"])

    shadow(str(following))
    three_come(app)
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/try", {"on": "events"})
    assert answer.json["fingerprint"] == load_policy(str(following)).fingerprint
    assert ("admission at signup", "admitted", "denied by admission.deny_email_domains", 2) in told(
        answer.json
    )
    following.write_text("[admision]")
    assert "next.toml: unknown key 'admision'" in refused()
    following.unlink()
    assert "there is no such file" in refused()
    shadow("rules:decide")
    assert "rules:decide is code, which only usher policy try asks" in refused()


def test_a_candidate_may_read_no_file_of_the_server(sqlite_people: People) -> None:
    """Its text comes from outside: a list in a file would tell lines of any file in an error."""
    text = '[admission]\ndeny_emails = { file = "/etc/passwd" }'
    answer = sqlite_people.ask(ADMIN, "POST", "/policy/try", {"policy": text, "on": "events"})
    assert answer.status == 400
    assert "which only the command line reads" in answer.text
    assert "root" not in answer.text


def test_one_trial_runs_at_a_time(sqlite_people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another is told to come again; afterwards it may."""
    began, go_on = Event(), Event()

    class Slow:
        fingerprint = "slow"
        counting = None

        def evaluate(self, applicant: Applicant) -> Verdict:
            """Wait."""
            began.set()
            assert go_on.wait(60)
            return Verdict()

        def screen(self, _: object, verdict: Verdict) -> Verdict:
            """Leave the verdict as it is."""
            return verdict

    three_come(sqlite_people.app)
    first: list[int] = []

    def ask() -> None:
        body = {"policy": NEXT}
        first.append(sqlite_people.ask(ADMIN, "POST", "/policy/try", body).status)

    with monkeypatch.context() as patch:
        patch.setattr(policy_trial, "parse_policy", lambda _, folder: Slow())
        running = Thread(target=ask)
        running.start()
        try:
            assert began.wait(60)
            second = sqlite_people.ask(ADMIN, "POST", "/policy/try", {"policy": NEXT})
            assert (second.status, second.code) == (429, "too_many_requests")
            assert second.headers["Retry-After"] == "3"
        finally:
            go_on.set()
            running.join(60)
    assert first == [200]
    assert tried(sqlite_people)["count"] >= 3
