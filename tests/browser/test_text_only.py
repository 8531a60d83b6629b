"""Whatever people call themselves is text, and never runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.browser import Watch, settle, sign_in
from tests.browser.console import OLIVIA, PASSWORD, Console, alone, console
from tests.browser.people import CANARY, NAUGHTY, OWNER
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.held_roles import is_role
from usher.core.domain.records import User

Visit = Callable[..., tuple[Page, Watch]]
pytestmark = pytest.mark.timeout(300)  # half a thousand people sign up
WHITE = (
    "".join(map(chr, [*range(33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029]))
    + "\u202f\u205f\u3000\ufeff"
)
SCRIPTS = [
    *NAUGHTY,
    f"<iframe srcdoc='<script>parent.{CANARY}</script>'>",
    f'<a href="javascript:{CANARY}">here</a>',
    "<style>@import 'http://other.example/x'</style><base href='http://other.example/'>",
    f"<form action=javascript:{CANARY}><button autofocus>",
    "<meta http-equiv=refresh content='0;url=http://other.example/'>",
    "<img src=http://other.example/pixel.png>",
]
ADDRESSES = [
    "o'brien&amp{{7*7}}@b.example",
    f'"<script>{CANARY}</script>" <named@b.example>',
    f'"<img/src=x/onerror={CANARY}>"@b.example',
]
"""What Identity takes. The policy reads the first only, and admits nobody whom it cannot read."""


@pytest.fixture(scope="module")
def strings(packages: Path) -> list[str]:
    """The Big List of Naughty Strings, as npm's blns has it."""
    found: list[str] = json.loads((packages / "blns/resources/blns.json").read_text("utf-8"))
    assert len(found) > 450
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Console]:
    """A console whose only believable person is its owner."""
    with console(tmp_path, alone(OLIVIA)) as running:
        yield running


def test_no_name_of_the_naughty_list_runs(visit: Visit, site: Console, strings: list[str]) -> None:
    """Each is somebody's name, sent through Identity; lists and records show it as it is."""
    token = site.log_in(OWNER, PASSWORD)
    for number, name in enumerate(strings):
        body = {"email": f"n{number}@b.example", "data": {"full_name": name, name: name}}
        status, answer = site.ask("POST", "/api/users", body, token)
        assert status == 201, (name, answer)
    page, watch = visit(site, "/#/users?sort=created.asc")
    sign_in(page, OWNER)
    settle(page)
    rows = page.locator("tbody tr")
    expect(rows.first).to_be_visible()
    while rows.count() <= len(strings):
        known = rows.count()
        page.get_by_role("button", name="Load more").click()
        expect(rows.nth(known)).to_be_visible()
    shown = set(page.locator("tbody td:first-child a").all_text_contents())
    assert {name.strip(WHITE) for name in strings} - {""} <= {name.strip(WHITE) for name in shown}
    watch.check()


def test_no_string_of_anybodys_runs_anywhere(visit: Visit, site: Console) -> None:
    """Names, metadata, addresses, reasons and roles, in every view that shows them."""
    token = site.log_in(OWNER, PASSWORD)
    for number, text in enumerate(SCRIPTS):
        account = {
            "email": ADDRESSES[number] if number < len(ADDRESSES) else f"s{number}@b.example",
            "password": "a long password",
            "data": {"full_name": text, "name": text, text: {text: [text]}},
        }
        status, answer = site.identity("POST", "/signup", account)
        assert status == (422 if number in (1, 2) else 200), (account, answer)
        password = text.encode()[:72].decode(errors="ignore")  # longer ones are a 500 there
        body = {"email": f"{number}@mailinator.com", "password": password, "data": {text: text}}
        assert site.identity("POST", "/signup", body)[0] == 422
    for text in SCRIPTS:
        codes = {
            "label": text,
            "roles": [text[:100].strip()] if is_role(text[:100].strip()) else [],
        }
        assert site.ask("POST", "/api/codes", codes, token)[0] == 201, text
    people = [user for user in site.app.store.users.page(limit=200).items if user.email != OWNER]
    assert len(people) == len(SCRIPTS) - 2
    for user, text in zip(people, SCRIPTS, strict=False):
        _burden(site, token, user, text)

    page, watch = visit(site, "/")
    sign_in(page, OWNER)
    page.get_by_role("navigation").wait_for()
    shown = site.app.store.users.page(limit=200).items
    ledger = site.app.store.ledger.page(limit=200).items
    views = ["overview", "requests", "users", "events", "audit", "policy", "policy/codes"]
    views += [f"users/{user.id}" for user in shown]
    views += [f"events/{each.id}" for each in ledger if each.outcome == "denied"][:4]
    views += [f"events/{each.id}" for each in ledger if each.event == "validate"][:4]
    views += [f"users?{quote('role')}={quote(text)}&email={quote(text)}" for text in SCRIPTS[:3]]
    for view in views:
        page.evaluate("view => { location.hash = view; }", f"#/{view}")
        settle(page)
        if view.startswith("users/"):
            page.get_by_role("tab", name="Events").click()
            page.locator("details.data").evaluate_all("all => all.forEach(one => one.open = true)")
            settle(page)
        if view.startswith("events/"):
            page.get_by_role("button", name="Replay, changing nothing").click()
            expect(page.locator(".compare, .notice").first).to_be_visible()
        watch.check()
    page.evaluate("location.hash = '#/policy'")
    for text in SCRIPTS:
        page.get_by_label("E-mail").fill(text[:300])
        page.get_by_role("button", name="Try it").click()
        expect(page.locator(".verdict-place > *").first).to_be_visible()
    watch.expect(400)
    watch.check()


def _burden(site: Console, token: str, user: User, text: str) -> None:
    """A reason, and where it may be one a role, of this text."""
    users = site.app.store.users
    change = Change(f"cli:{text}"[:100], text)
    role = text[:100].strip()
    if is_role(role):
        users.change(users.get(user.id), administration.grant(role), change)
        site.app.requests.ask(users.get(user.id), f"{role[:90]} too", text, change.actor)
    users.change(users.get(user.id), administration.suspend(), change)
    assert site.ask("GET", f"/api/users/{user.id}", token=token)[0] == 200
