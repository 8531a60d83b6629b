"""Pictures of every view in both themes and on a phone, to look at.

python -m tests.site.shots FOLDER [NAME…]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from core import log
from emulator.people import OWNER
from tests.site.browser import launch, sign_in
from tests.site.people import PLAIN, grown_up
from tests.site.serve import Console, console

SIZES = {"wide": (1280, 860), "phone": (390, 844)}


def views(server: Console) -> dict[str, tuple[str, Callable[[Page], None] | None]]:
    """Address and what to do there before the picture."""
    store = server.app.store
    users = store.users.page(limit=200).items
    rich = max(users, key=lambda user: (any(g.expires_at for g in user.grants), len(user.grants)))
    gone = next(user for user in users if user.status == "deleted")
    denied = next(each for each in store.ledger.page(limit=200).items if each.outcome == "denied")
    seen = next(each for each in store.ledger.page(limit=50).items if each.event == "signup")

    def replayed(page: Page) -> None:
        page.get_by_role("button", name="Replay, changing nothing").click()
        page.get_by_text("The answer would be").wait_for()

    def tried(page: Page) -> None:
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("heading", name="Why").wait_for()

    def granting(page: Page) -> None:
        page.get_by_role("button", name="Give a role").click()

    def deleting(page: Page) -> None:
        page.get_by_role("button", name="Delete").click()

    return {
        "overview": ("#/overview", None),
        "users": ("#/users", None),
        "nobody": ("#/users?email=zzzz", None),
        "user": (f"#/users/{rich.id}", None),
        "grant": (f"#/users/{rich.id}", granting),
        "delete": (f"#/users/{rich.id}", deleting),
        "gone": (f"#/users/{gone.id}", None),
        "events": ("#/events", None),
        "event": (f"#/events/{seen.id}", replayed),
        "denied": (f"#/events/{denied.id}", None),
        "audit": ("#/audit", None),
        "policy": ("#/policy", tried),
    }


def take(folder: Path, only: list[str]) -> None:
    """Every picture, or those that are named."""
    log.configure()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        console(Path(temporary)) as server,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        grown_up(server.app, OWNER)
        for theme in ("light", "dark"):
            for size, (width, height) in SIZES.items():
                if size == "phone" and theme == "dark" and not only:
                    continue
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=theme,
                    device_scale_factor=1,
                )
                page = context.new_page()

                def snap(name: str, page: Page = page, stem: str = f"{size}-{theme}") -> None:
                    page.wait_for_timeout(350)
                    page.screenshot(path=folder / f"{name}-{stem}.png", full_page=True)

                page.goto(server.url)
                page.get_by_label("Password").wait_for()
                if not only or "door" in only:
                    snap("door")
                if not only or "own" in only:
                    sign_in(page, PLAIN)
                    page.get_by_role("heading", name="Your roles").wait_for()
                    snap("own")
                    page.get_by_role("button", name="Sign out").click()
                sign_in(page, OWNER)
                page.get_by_role("navigation").wait_for()
                for name, (address, act) in views(server).items():
                    if only and name not in only:
                        continue
                    page.goto(f"{server.url}/{address}")
                    page.wait_for_timeout(150)
                    expect(page.locator("#main .skeleton")).to_have_count(0)
                    if act:
                        act(page)
                    snap(name)
                context.close()
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), sys.argv[2:])
