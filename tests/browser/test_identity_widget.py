"""npm's netlify-identity-widget, unmodified, in a page beside ``usher dev``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import FrameLocator, Page, Route, expect

from tests.browser.browser import Watch, keep
from tests.browser.console import DENIED, TRIES, Console
from tests.npm import door_snippets, installed
from tests.support import ROOT

Visit = Callable[..., tuple[Page, Watch]]
CHOSEN = "a long password"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>
<link rel="icon" href="data:,">
<button onclick="netlifyIdentity.open()">Account</button><output></output>
<script src="/widget.js"></script>
<script>
  const output = document.querySelector("output");
  const show = (user) => {
    output.textContent = user ? `${user.email} ${user.app_metadata.roles}` : "nobody";
  };
  for (const event of ["init", "login", "logout"]) netlifyIdentity.on(event, show);
  netlifyIdentity.on("logout", () => show(null));
  netlifyIdentity.on("error", (error) => { output.dataset.error = String(error); });
  netlifyIdentity.init({ APIUrl: `${location.origin}/.netlify/identity` });
</script>"""


@pytest.fixture(scope="module")
def widget(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its program, as npm has it."""
    folder = installed(
        ROOT / "tests" / "emulator" / "clients", tmp_path_factory.getbasetemp().parent
    )
    return folder / "node_modules/netlify-identity-widget/build/netlify-identity-widget.js"


@pytest.fixture
def door_shop(visit: Visit, telling: Console, widget: Path) -> tuple[Page, Watch]:
    """The same page with the programs of docs/door.md, where the door is on."""
    page, watch = visit(telling)
    watch.allow("DO NOT USE HTTP IN PRODUCTION FOR GOTRUE")
    why, _, listener = door_snippets()
    files = {
        "shop": (PAGE + '<script type="module" src="/door.js"></script>', "text/html"),
        "widget.js": (widget.read_text(), "text/javascript"),
        "why.js": (why, "text/javascript"),
        "door.js": (listener, "text/javascript"),
    }

    def serve(route: Route) -> None:
        body, kind = files[urlsplit(route.request.url).path.removeprefix("/")]
        route.fulfill(body=body, content_type=kind)

    for name in files:
        page.context.route(f"**/{name}", serve)
    page.goto(f"{telling.url}/shop")
    return page, watch


def test_door_shows_the_policys_sentence_in_the_widget(door_shop: tuple[Page, Watch]) -> None:
    """In the place of Identity's, within its own window."""
    page, watch = door_shop
    watch.expect(422)
    watch.allow("Failed to handle signup webhook")
    frame = page.frame_locator("iframe#netlify-identity-widget")
    expect(page.locator("output")).to_have_text("nobody")
    page.get_by_role("button", name="Account").click()
    frame.get_by_role("button", name="Sign up").first.click()
    for _ in range(TRIES):
        with page.expect_response("**/api/door") as answered:
            fill(frame, "Sign up", name="Promo", email="promo@mailinator.com", password=CHOSEN)
        if answered.value.json()["message"] == DENIED:
            break
    expect(frame.get_by_text(DENIED)).to_be_visible()
    keep(page, "widget-refused")


@pytest.fixture
def shop(visit: Visit, fresh: Console, widget: Path) -> tuple[Page, Watch]:
    """A site's page that loads the widget, in a browser."""
    page, watch = visit(fresh)
    watch.allow("DO NOT USE HTTP IN PRODUCTION FOR GOTRUE")
    page.context.route("**/shop*", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.context.route("**/widget.js", lambda route: route.fulfill(path=widget))
    page.goto(f"{fresh.url}/shop")
    return page, watch


def follow(page: Page, site: Console, kind: str) -> None:
    """Open the link of the newest mail, on the shop's page."""
    mails = site.ask("GET", "/_dev/mail")[1]["mails"]
    mail = next(each for each in mails if each["kind"] == kind)
    page.goto("about:blank")
    page.goto(f"{site.url}/shop#{kind}_token={mail['token']}")


def fill(frame: FrameLocator, button: str, **values: str) -> None:
    """Fill in the widget's form and send it."""
    for name, value in values.items():
        frame.locator(f"input[name={name}]").fill(value)
    frame.locator("button[type=submit]", has_text=button).click()


def test_the_widget_signs_up_confirms_logs_in_and_out_and_recovers(
    shop: tuple[Page, Watch], fresh: Console
) -> None:
    """Every step through its own window; the person has the role that the policy gives."""
    page, _ = shop
    frame = page.frame_locator("iframe#netlify-identity-widget")
    said = page.locator("output")
    expect(said).to_have_text("nobody")
    page.get_by_role("button", name="Account").click()
    frame.get_by_role("button", name="Sign up").first.click()
    fill(frame, "Sign up", name="Ada", email="ada@b.example", password=CHOSEN)
    expect(frame.get_by_text("A confirmation message was sent")).to_be_visible()
    keep(page, "widget-signed-up")
    follow(page, fresh, "confirmation")
    expect(said).to_have_text("ada@b.example member")

    page.goto(f"{fresh.url}/shop")
    expect(said).to_have_text("ada@b.example member")
    page.get_by_role("button", name="Account").click()
    frame.get_by_role("button", name="Log out").click()
    expect(said).to_have_text("nobody")
    fill(frame, "Log in", email="ada@b.example", password=CHOSEN)
    expect(said).to_have_text("ada@b.example member")
    page.evaluate("netlifyIdentity.logout()")
    expect(said).to_have_text("nobody")

    page.goto(f"{fresh.url}/shop")
    page.get_by_role("button", name="Account").click()
    frame.get_by_role("button", name="Forgot password?").click()
    fill(frame, "Send recovery email", email="ada@b.example")
    expect(frame.get_by_text("sent a recovery email")).to_be_visible()
    follow(page, fresh, "recovery")
    fill(frame, "Update password", password="another password")
    expect(said).to_have_text("ada@b.example member")
    assert fresh.log_in("ada@b.example", "another password")
    assert page.locator("output").get_attribute("data-error") is None
