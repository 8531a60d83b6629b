"""A site's own page beside ``usher netlify dev``: the whole circle, as on Netlify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import urllib3
from playwright.sync_api import Page, expect

from tests.browser.browser import Watch, keep, settle, sign_in
from tests.netlify import conftest as netlify
from tests.netlify_dev import WAIT_SECONDS, make_site, usher_netlify_dev
from tests.netlify_site import CLI, INSTALL_SECONDS, NPM_PATH
from tests.npm import installed

built = netlify.site

PATIENCE_MS = 120_000
"""Each request to a function is a start of Python, and a console's first page takes several."""
EMAIL, PASSWORD = "owner@example.com", "a long password"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>
<link rel="icon" href="data:,">
<h1>A shop</h1>
<form>
  <label>E-mail <input name="email"></label>
  <label>Password <input name="password" type="password"></label>
  <button>Sign up</button> <button value="in">Sign in</button>
</form>
<output>nobody</output>
<script type="module">
  const output = document.querySelector("output");
  const ask = async (path, body) => {
    const answer = await fetch(`/.netlify/identity${path}`, {
      method: "POST",
      body: body instanceof URLSearchParams ? body : JSON.stringify(body),
    });
    return answer.json();
  };
  const show = async ({ access_token: token }) => {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const answer = await fetch("/api/me", { headers: { Authorization: `Bearer ${token}` } });
    const me = await answer.json();
    output.textContent = `${me.email} is ${me.status}: ${claims.app_metadata.roles}`;
  };
  document.forms[0].addEventListener("submit", async (event) => {
    event.preventDefault();
    const { email, password } = Object.fromEntries(new FormData(event.target));
    if (event.submitter.value) {
      const asked = { grant_type: "password", username: email, password };
      await show(await ask("/token", new URLSearchParams(asked)));
    } else {
      await ask("/signup", { email, password });
      output.textContent = "check your inbox";
    }
  });
  const token = new URLSearchParams(location.hash.slice(1)).get("confirmation_token");
  if (token) await show(await ask("/verify", { type: "signup", token }));
</script>"""


class At(NamedTuple):
    """A page's address, in the form that ``visit`` takes."""

    url: str


def test_a_page_signs_up_and_its_roles_come_back(
    visit: Callable[..., tuple[Page, Watch]],
    built: Path,
    empty_postgresql: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The function fires, the roles are in the token, the API and the console know the person."""
    locks = tmp_path_factory.getbasetemp().parent
    programs = installed(CLI, locks, path=NPM_PATH, seconds=INSTALL_SECONDS) / "node_modules/.bin"
    folder = make_site(tmp_path / "site", built, PAGE, netlify.VARIABLES)
    with usher_netlify_dev(folder, programs, empty_postgresql, **netlify.VARIABLES) as running:
        page, _ = visit(At(running.site))
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign up").click()
        output = page.locator("output")
        expect(output).to_have_text("check your inbox", timeout=PATIENCE_MS)
        page.goto(confirmation(running.site))
        page.reload()
        expect(output).to_have_text(f"{EMAIL} is active: admin,member,staff", timeout=PATIENCE_MS)
        page.goto(running.site)
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(output).to_have_text(f"{EMAIL} is active: admin,member,staff", timeout=PATIENCE_MS)
        keep(page, "netlify-dev-page")
        console, _ = visit(At(running.console), "/#/users")
        sign_in(console, EMAIL, PASSWORD)
        expect(console.get_by_role("navigation")).to_be_visible(timeout=PATIENCE_MS)
        expect(console.get_by_text(EMAIL).first).to_be_visible(timeout=PATIENCE_MS)
        settle(console)
        keep(console, "netlify-dev-console")
        for opened in (page, console):
            opened.goto("about:blank")  # so that none of them asks while all of it ends
        parts = running.parts
        next(part for part in parts if "front.mjs" not in " ".join(part.cmdline())).kill()
        assert running.process.wait(WAIT_SECONDS) == 1
        running.says("Netlify's command line has ended, and with it all else.")
        assert psutil.wait_procs(parts, WAIT_SECONDS)[1] == []


def confirmation(site: str) -> str:
    """The link in the newest mail of the inbox."""
    answer = urllib3.request("GET", f"{site}/_dev/mail", headers={"Accept": "application/json"})
    link: str = answer.json()["mails"][0]["link"]
    return link
