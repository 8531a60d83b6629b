"""What else works inside Netlify's functions: policies, replay, keys, feed, sinks, code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.api.api_support import JWT_SECRET, bearer
from tests.netlify.bootstrapped import bootstrapped, inside, logged
from tests.netlify.functions import Functions, Told
from tests.receivers import Receiver
from tests.support import Signed, account, signed
from usher.emulator.payload import Account

JSON = ("Content-Type", "application/json")
MAINTENANCE = "/.netlify/functions/usher-maintenance"
LISTED = """
[admission]
deny_email_domains = { file = "denied.txt", message = "Not from there." }
signups_per_domain = "1/d"
[[role]]
grant = "reader"
"""
NEXT = '[[role]]\ngrant = "guest"\n'


def signup_of(email: str) -> Signed:
    """A signup of somebody, now."""
    return signed("signup", account(email=email), at=datetime.now(UTC))


class Site:
    """The functions, and an administrator to ask them."""

    def __init__(self, functions: Functions) -> None:
        self.functions = functions
        self.owner = account(email="owner@example.com")
        assert self.deliver("signup", self.owner).status == 200
        told = self.deliver("login", self.owner)
        assert "admin" in told.document["app_metadata"]["roles"]

    def deliver(self, event: str, who: Account) -> Told:
        """An event of now."""
        return self.functions.deliver(signed(event, who, at=datetime.now(UTC)))

    def ask(self, method: str, address: str, body: object = None, by: str = "") -> Told:
        """A call of the administrator, or with a key."""
        token = by or bearer(self.owner.id, datetime.now(UTC), JWT_SECRET)
        sent = None if body is None else json.dumps(body).encode()
        headers = (("Authorization", f"Bearer {token}"), *((JSON,) if sent else ()))
        return self.functions.ask(f"/api{address}", method, headers=headers, body=sent)


@pytest.fixture
def variables(postgresql_url: str) -> dict[str, str]:
    """The site's."""
    return {
        "USHER_DATABASE_URL": inside(postgresql_url),
        "USHER_JWT_SECRET": JWT_SECRET.decode(),
        "USHER_SINK_NETWORKS": "127.0.0.0/8",
        "USHER_HANDLERS": "mysite.hooks",
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the functions print."""
    return tmp_path / "log"


@pytest.fixture
def inner(
    site: Path, variables: dict[str, str], log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The site with its policy's file."""
    with bootstrapped(site, tmp_path_factory, variables, log) as running:
        yield Site(running)


def test_a_policy_with_lists_and_counts_holds(
    site: Path, variables: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its lists lie beside it in the bundle; what it counts is counted in the database."""
    linked = tmp_path / "site"
    shutil.copytree(site, linked, copy_function=os.link)
    files = linked / "netlify" / "usher" / "site"  # where the build puts what a policy names
    (files / "listed.toml").write_text(LISTED)
    (files / "denied.txt").write_text("denied.example\n")
    variables["USHER_POLICY"] = "listed.toml"
    with bootstrapped(linked, tmp_path_factory, variables) as running:
        told = {
            email: running.deliver(signup_of(email))
            for email in ("a@denied.example", "b@taken.example", "c@taken.example")
        }
    assert [answer.status for answer in told.values()] == [403, 200, 403]
    assert b"Not from there." in told["a@denied.example"].body
    assert told["b@taken.example"].document["app_metadata"]["roles"] == ["reader"]


def test_a_policy_in_code_holds(
    site: Path, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A module of the site, which the build took along."""
    variables["USHER_POLICY"] = "mysite.hooks:friends"
    with bootstrapped(site, tmp_path_factory, variables) as running:
        refused = running.deliver(signup_of("ada@example.com"))
        admitted = running.deliver(signup_of("friend@example.com"))
    assert (refused.status, b"Friends only." in refused.body) == (403, True)
    assert (admitted.status, admitted.document["app_metadata"]["roles"]) == (200, ["friend"])


@pytest.mark.parametrize("emptied", ["", "USHER_DATABASE_URL"])
def test_an_address_that_names_another_driver_is_taken(
    inner: Site, postgresql_url: str, emptied: str
) -> None:
    """As SQLAlchemy spells it; the platform's own counts where ours is empty."""
    told = {"USHER_DATABASE_URL": postgresql_url, "NETLIFY_DB_URL": "postgresql://nowhere"}
    if emptied:
        told = {"USHER_DATABASE_URL": "", "NETLIFY_DB_URL": postgresql_url}
    assert inner.functions.deliver(signup_of("ada@example.com"), env=told).status == 200


def test_events_are_replayed_and_a_policy_is_tried(inner: Site) -> None:
    """By the API, as anywhere; the command line replays from elsewhere."""
    assert inner.deliver("signup", account(email="ada@example.com")).status == 200
    events = inner.ask("GET", "/events").document["events"]
    assert [each["outcome"] for each in events] == ["applied"] * 3
    for dry in (True, False):
        told = inner.ask("POST", f"/events/{events[0]['id']}/replay", {"dry_run": dry})
        assert (told.status, told.document["differs"]) == (200, False)
    for on, count in (("events", 3), ("records", 2)):
        tried = inner.ask("POST", "/policy/try", {"policy": NEXT, "on": on})
        assert (tried.status, tried.document["count"]) == (200, count)
        assert tried.document["differences"]


def test_a_page_reads_with_its_cookie_and_changes_nothing_by_it(inner: Site) -> None:
    """As the guards of usher.integrations do, which need a server of the site's own."""
    token = bearer(inner.owner.id, datetime.now(UTC), JWT_SECRET)
    cookie = ("Cookie", f"nf_jwt={token}")
    ask = inner.functions.ask
    assert ask("/api/me", "GET", headers=(cookie,)).status == 200
    changed = ask("/api/me", "PATCH", headers=(cookie, JSON), body=b'{"profile":{}}')
    assert changed.status == 401


def test_a_key_follows_the_feed_and_a_wait_ends_at_once(inner: Site) -> None:
    """A function holds no request open: an empty page is answered instead."""
    expires = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    wanted = {"name": "feed", "scopes": ["changes:read"], "expires_at": expires}
    made = inner.ask("POST", "/keys", wanted)
    assert made.status == 201, made
    key = made.document["key"]
    page = inner.ask("GET", "/changes?after=start", by=key)
    assert "user.created" in [each["kind"] for each in page.document["changes"]]
    after = page.document["next_cursor"]
    told = inner.ask("GET", f"/changes?after={after}&wait=25&kinds=user.deleted", by=key)
    assert (told.status, told.document["changes"]) == (200, [])
    assert inner.ask("DELETE", "/keys/feed").status == 200
    assert inner.ask("GET", "/changes?after=start", by=key).status == 401


def test_the_schedule_hands_changes_to_sinks_and_to_code(inner: Site, log: Path) -> None:
    """Signed webhooks over Node's HTTP, and a handler out of the bundle."""
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        assert inner.functions.ask(MAINTENANCE, body=b"{}").document == {"done": True}
        kinds = ["user.created", "user.suspended"]
        made = inner.ask("POST", "/sinks", {"url": url, "changes": kinds})
        assert made.status == 201, made
        tested = inner.ask("POST", f"/sinks/{made.document['id']}/test")
        assert (tested.status, len(receiver.came)) == (200, 1), tested
        ada = account(email="ada@example.com")
        assert inner.deliver("signup", ada).status == 200
        suspended = inner.ask("PATCH", f"/users/{ada.id}", {"status": "suspended"})
        assert suspended.status == 200, suspended
        later = int((datetime.now(UTC) + timedelta(minutes=9)).timestamp() * 1000)
        told = inner.functions.ask(MAINTENANCE, body=b"{}", clock=later)
        assert told.document == {"done": True}
        assert [json.loads(each.body)["type"] for each in receiver.came[1:]] == kinds
    assert [line for line in logged(log) if line["event"] == "outbox.failed"] == []
    standing = inner.ask("GET", "/outbox").document
    waits = {each["name"]: each["waiting"] for each in standing["consumers"]}
    handlers = ("handler:mysite.hooks.greet", "handler:mysite.hooks.turn_for_ever")
    assert waits == dict.fromkeys((*handlers, f"sink:{made.document['id']}"), 0)
    assert all(each["seen_at"] and not each["behind"] for each in standing["consumers"])


def test_a_handler_that_never_ends_is_stopped(inner: Site, log: Path) -> None:
    """There is no timer of the operating system: the thread of the wires interrupts Python."""
    assert inner.functions.ask(MAINTENANCE, body=b"{}").document == {"done": True}
    ada = account(email="ada@example.com")
    assert inner.deliver("signup", ada).status == 200
    for status in ("suspended", "active"):
        assert inner.ask("PATCH", f"/users/{ada.id}", {"status": status}).status == 200
    later = int((datetime.now(UTC) + timedelta(minutes=9)).timestamp() * 1000)
    told = inner.functions.ask(MAINTENANCE, body=b"{}", clock=later)
    assert told.document == {"done": True}
    [failed] = [line for line in logged(log) if line["event"] == "outbox.failed"]
    assert failed["consumer"] == "handler:mysite.hooks.turn_for_ever"
    assert "was stopped after 0.5 s" in json.dumps(failed)
