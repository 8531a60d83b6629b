"""Pictures of every view in both themes and on a phone, to look at; and the README's.

python -m tests.browser.shots FOLDER [NAME…]
python -m tests.browser.shots --readme
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from playwright.sync_api import Page, sync_playwright

from tests.browser.browser import launch, picture, settle, sign_in
from tests.browser.console import Console, believable, console
from tests.browser.people import NEWCOMER, OWNER, PLAIN
from tests.support import ROOT
from usher.core import log

README: Final = ROOT / "docs" / "console.png"
README_BYTES: Final = 200_000
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 360, "height": 740},
        "is_mobile": True,
        "has_touch": True,
    },
}
"""How the console is looked at."""
CANDIDATE: Final = """
[admission]
default = "ask"
deny_email_domains = ["mailinator.com", "example.net"]

[[role]]
grant = "member"
"""
"""A policy to compare with the one in force."""


def _adding(page: Page) -> None:
    page.get_by_role("button", name="Add a sink").click()
    page.get_by_label("Every change").uncheck()


def _added(page: Page) -> None:
    _adding(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Address").fill("http://127.0.0.1:1025/hooks")
    dialog.get_by_label("Deleted").check()
    dialog.get_by_role("button", name="Add it").click()
    _shown_once(page)


def _making_key(page: Page) -> None:
    page.get_by_role("button", name="Make a key").click()
    page.get_by_role("dialog").wait_for()


def _made_key(page: Page) -> None:
    _making_key(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(f"shown-once-{uuid4().hex[:8]}")
    dialog.get_by_role("checkbox", name=re.compile("^Read people")).check()
    dialog.get_by_role("button", name="Make it").click()
    _shown_once(page)


def _told(page: Page) -> None:
    page.get_by_text("What led to it").first.click()
    page.get_by_text("Key", exact=True).wait_for()
    settle(page)


def _undelivered(page: Page) -> None:
    page.get_by_text("dead letter").wait_for()


def _skipping(page: Page) -> None:
    page.get_by_role("button", name="Skip:").first.click()
    page.get_by_role("dialog").wait_for()


def _led(page: Page) -> None:
    page.get_by_role("tab", name="Led to").click()
    settle(page)
    page.get_by_role("tabpanel", name="Led to").get_by_role("listitem").first.wait_for()


def _shown_once(page: Page) -> None:
    page.get_by_text("Shown this once").wait_for()
    settle(page)


def views(site: Console) -> dict[str, tuple[str, Callable[[Page], None] | None]]:
    """Address and what to do there before the picture."""
    store = site.app.store
    users = store.users.page(limit=200).items
    rich = max(users, key=lambda user: (any(g.expires_at for g in user.grants), len(user.grants)))
    gone = next(user for user in users if user.status == "deleted")
    events = store.ledger.page(limit=200).items
    denied = next(each for each in events if each.outcome == "denied")
    seen = next(each for each in events if each.event == "signup" and each.body)

    def replayed(page: Page) -> None:
        page.get_by_role("button", name="Replay, changing nothing").click()
        page.get_by_text("The answer would be").wait_for()

    def tried(page: Page) -> None:
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("heading", name="Why").wait_for()

    def granting(page: Page) -> None:
        page.get_by_role("button", name="Give a role").click()
        page.get_by_role("dialog").wait_for()

    def deleting(page: Page) -> None:
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").wait_for()

    def approving(page: Page) -> None:
        page.get_by_role("button", name="Approve", exact=False).first.click()
        page.get_by_role("dialog").wait_for()

    def choosing(page: Page) -> None:
        page.get_by_label("Choose all shown").check()
        page.get_by_text("chosen").wait_for()

    def compared(page: Page) -> None:
        page.get_by_label("The policy to try").fill(CANDIDATE)
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("heading", name="What would come out differently").wait_for()

    def making(page: Page) -> None:
        page.get_by_role("button", name="Make codes").click()
        page.get_by_role("dialog").wait_for()

    def made(page: Page) -> None:
        making(page)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("How many").fill("3")
        dialog.get_by_label("Label").fill("Shown once")
        dialog.get_by_role("button", name="Make them").click()
        _shown_once(page)

    return {
        "outbox": ("#/connect", _told),
        "skip": ("#/connect?state=waiting", _skipping),
        "sinks": ("#/connect/sinks", None),
        "sink-adding": ("#/connect/sinks?add", _adding),
        "sink-added": ("#/connect/sinks?added", _added),
        "keys": ("#/connect/keys", None),
        "key-making": ("#/connect/keys?make", _making_key),
        "key-made": ("#/connect/keys?made", _made_key),
        "requests": ("#/requests", choosing),
        "approve": ("#/requests?approve", approving),
        "codes": ("#/policy/codes", None),
        "making": ("#/policy/codes?make", making),
        "made": ("#/policy/codes?made", made),
        "next": ("#/policy/next", compared),
        "overview": ("#/overview", _undelivered),
        "users": ("#/users", None),
        "nobody": ("#/users?email=zzzz", None),
        "user": (f"#/users/{rich.id}", None),
        "grant": (f"#/users/{rich.id}?grant", granting),
        "delete": (f"#/users/{rich.id}?delete", deleting),
        "led": (f"#/users/{store.users.find(PLAIN).id}", _led),
        "gone": (f"#/users/{gone.id}", None),
        "events": ("#/events", None),
        "event": (f"#/events/{seen.id}", replayed),
        "denied": (f"#/events/{denied.id}", None),
        "audit": ("#/audit", None),
        "policy": ("#/policy", tried),
    }


def take(
    page: Page, site: Console, wanted: Callable[[str], bool], snap: Callable[[str], None]
) -> None:
    """Go through the door and every view, and call ``snap`` with the name of each."""
    page.get_by_role("heading", name="Sign in").wait_for()
    if wanted("door"):
        snap("door")
    if wanted("sign-up"):
        page.get_by_role("button", name="Make an account").click()
        snap("sign-up")
        page.get_by_role("button", name="I have an account").click()
    if wanted("own"):
        sign_in(page, PLAIN)
        page.get_by_role("heading", name="Your roles").wait_for()
        snap("own")
        page.get_by_role("button", name="Sign out").click()
    if wanted("waiting"):
        sign_in(page, NEWCOMER)
        page.get_by_role("heading", name="Waiting for approval").wait_for()
        snap("waiting")
        page.get_by_role("button", name="Sign out").click()
    sign_in(page, OWNER)
    page.get_by_role("navigation").wait_for()
    for name, (address, act) in views(site).items():
        if not wanted(name):
            continue
        page.evaluate("hash => { location.hash = hash; }", address)
        settle(page)
        if act:
            act(page)
        snap(name)
        if page.get_by_role("dialog").count():
            page.keyboard.press("Escape")


def main(arguments: list[str]) -> None:
    """Every picture, those that are named, or the README's."""
    log.configure()
    with (
        tempfile.TemporaryDirectory() as temporary,
        console(Path(temporary), believable(320)) as site,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        if arguments == ["--readme"]:
            page = browser.new_page(color_scheme="light", viewport={"width": 1200, "height": 780})
            page.goto(site.url)
            take(
                page,
                site,
                {"overview"}.__contains__,
                lambda _: picture(page, README.stem, README.parent),
            )
            size = README.stat().st_size
            if size > README_BYTES:
                sys.exit(f"{README} has {size} bytes, more than {README_BYTES}")
            return
        folder, *only = arguments
        for look, options in LOOKS.items():
            context = browser.new_context(**options)
            page = context.new_page()
            page.goto(site.url)

            def snap(name: str, page: Page = page, look: str = look) -> None:
                picture(page, f"{name}-{look}", Path(folder), full_page=True)

            take(page, site, lambda name: not only or name in only, snap)
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
