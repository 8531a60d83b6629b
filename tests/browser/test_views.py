"""What each view shows and does, with a month of people behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.browser import Watch, keep, settle
from tests.browser.console import POLICY, Console
from tests.browser.people import OWNER, PLAIN
from tests.support import account, signed, verified
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.store.filters import DeliveryFilters

AsOwner = Callable[..., tuple[Page, Watch]]


def test_overview_counts_and_leads_on(as_owner: AsOwner, populated: Console) -> None:
    """Tiles and bars say what the store says, and lead to the people they count."""
    page, _ = as_owner("/#/overview?days=7")
    everybody = populated.app.store.users.page(limit=200).items
    stats = [user for user in everybody if user.status == "suspended"]
    tile = page.locator(".tile", has_text="Suspended")
    expect(tile).to_contain_text(str(len(stats)))
    expect(page.get_by_text("in the last 7 days")).to_be_visible()
    page.get_by_text("90 days").click()
    expect(page.get_by_text("in the last 90 days")).to_be_visible()
    page.get_by_text("The numbers as a table").click()
    expect(page.get_by_role("region", name="Numbers by day").locator("tbody tr")).to_have_count(90)
    tile.click()
    expect(page.locator("tbody tr")).to_have_count(len(stats))


def test_users_are_searched_filtered_sorted_and_paged(as_owner: AsOwner) -> None:
    """All of it stands in the address, so that it can be kept and shared."""
    page, _ = as_owner("/#/users")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(40)
    page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(80)
    page.get_by_label("Search").fill("bob.pl")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(PLAIN)
    assert page.url.endswith("#/users?email=bob.pl")
    page.get_by_role("button", name="Clear filters").click()
    expect(rows).to_have_count(40)
    page.get_by_label("Status").select_option("suspended")
    expect(page.locator("tbody .chip", has_text="Active")).to_have_count(0)
    page.get_by_label("Status").select_option("")
    page.get_by_label("Role").select_option("admin")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(OWNER)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Provider").select_option("github")
    page.get_by_label("Order").select_option("email.asc")
    expect(page.locator("tbody tr td:nth-child(4)").first).to_have_text("github")
    page.wait_for_function("location.hash.includes('sort=email.asc')")
    settle(page)
    addresses = page.locator("tbody .second").all_text_contents()
    assert addresses == sorted(addresses)


def test_a_record_is_changed_and_nobodys_change_is_lost(
    as_owner: AsOwner, populated: Console
) -> None:
    """Suspend, reactivate, a change that came between, and deletion, each asked first."""
    user = next(
        each
        for each in populated.app.store.users.page(limit=200).items
        if each.status == "active" and each.provider == "gitlab"
    )
    page, watch = as_owner(f"/#/users/{user.id}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Suspend").click()
    dialog.get_by_role("button", name="Cancel").click()
    assert populated.app.store.users.get(user.id).status == "active"
    page.get_by_role("button", name="Suspend").click()
    dialog.get_by_label("Reason").fill("Chargeback")
    dialog.get_by_role("button", name="Suspend").click()
    expect(page.locator("#main .page-head")).to_contain_text("Suspended")
    expect(page.get_by_role("tabpanel", name="Changes")).to_contain_text("Chargeback")

    watch.expect(412)
    page.get_by_role("button", name="Reactivate").click()
    token = populated.log_in(OWNER, "the right password")
    path = f"/api/users/{user.id}/roles/editor"
    assert populated.ask("PUT", path, {"reason": "meanwhile"}, token)[0] == 200
    dialog.get_by_role("button", name="Reactivate").click()
    expect(page.get_by_text("Somebody else changed this record")).to_be_visible()
    expect(page.locator("[data-role=editor]")).to_contain_text("meanwhile")
    page.get_by_role("button", name="Reactivate").click()
    dialog.get_by_role("button", name="Reactivate").click()
    expect(page.locator("#main .page-head")).to_contain_text("Active")

    page.get_by_role("button", name="Delete").click()
    dialog.get_by_label("To confirm").fill("somebody else")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(dialog.get_by_text("This is not the same")).to_be_visible()
    dialog.get_by_label("To confirm").fill(user.email)
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("This account was deleted")).to_be_visible()
    assert user.email not in page.locator("#main").inner_text()


def test_a_person_who_changes_their_own_record_is_suspended_even_so(
    as_owner: AsOwner, populated: Console
) -> None:
    """A profile written between the look and the decision is no reason to refuse it."""
    users = populated.app.store.users
    user = next(
        each
        for each in users.page(limit=200).items
        if each.status == "active" and each.provider == "github"
    )
    page, watch = as_owner(f"/#/users/{user.id}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Suspend").click()
    watch.expect(412)
    users.change(user, administration.edit(profile={"mood": "quick"}), Change(f"user:{user.id}"))
    dialog.get_by_role("button", name="Suspend").click()
    expect(page.locator("#main .page-head")).to_contain_text("Suspended")
    assert users.get(user.id).status == "suspended"
    assert users.get(user.id).profile == {"mood": "quick"}


def test_c1_roles_that_cannot_be_read_are_told(as_owner: AsOwner, populated: Console) -> None:
    """On the record, and with the event that told of them."""
    webhooks, now = populated.app.webhooks, populated.app.clock()
    who = account(at=now, app_metadata={"provider": "email", "roles": ["editor", 7]})
    webhooks.process([verified(webhooks, signed("login", who, at=now), now)])
    page, _ = as_owner(f"/#/users/{who.id}")
    expect(page.get_by_text("elements that are no role names")).to_be_visible()
    expect(page.locator("[data-role=editor]")).to_be_visible()
    (seen,) = populated.app.store.ledger.page(DeliveryFilters(user_id=who.id)).items
    page, _ = as_owner(f"/#/events/{seen.id}")
    expect(page.get_by_text("elements that are no role names")).to_be_visible()


def test_keys_that_handlers_wrote_are_told_with_who_wrote_them(
    as_owner: AsOwner, populated: Console
) -> None:
    """Of both maps, with the values; without any there is no such part."""
    plain = populated.app.store.users.find(PLAIN)
    page, _ = as_owner(f"/#/users/{plain.id}")
    expect(page.get_by_text("Further app_metadata")).to_be_visible()
    expect(page.get_by_text("Written by handlers")).to_have_count(0)
    keys: dict[str, Any] = {
        "extra_app_metadata": {"customer": {"id": 7}, "gone": None, "plan": "gold"},
        "user_metadata": {"seat": "<b>4</b>"},
        "written": {
            "app_metadata": {"customer": "site.billing", "gone": "site.billing"},
            "user_metadata": {"seat": "seats"},
        },
    }

    def answer(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), **keys})

    page.route(f"**/api/users/{plain.id}", answer)
    page.reload()
    part = page.locator("details", has_text="Written by handlers")
    expect(part.locator("dt")).to_have_text(["customer", "gone", "seat"])
    told = ['{"id":7} by the handler site.billing', "removed by the handler site.billing"]
    expect(part.locator("dd")).to_have_text([*told, '"<b>4</b>" by the handler seats'])
    keep(page, "written-by-handlers")


def test_the_last_administrator_cannot_lock_everybody_out(as_owner: AsOwner) -> None:
    """The dialog says so and stays, and nothing is changed."""
    page, watch = as_owner()
    watch.expect(409)
    page.get_by_role("link", name="Your record").click()
    page.get_by_role("button", name="Take away admin").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Take away admin").click()
    expect(dialog.get_by_role("alert")).to_contain_text("This is the last administrator")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-role=admin] .chip.role")).to_be_visible()


def test_events_come_by_themselves_and_can_be_paused(as_owner: AsOwner, populated: Console) -> None:
    """What happens while one looks is put on top; a filter holds for it, too."""
    page, _ = as_owner("/#/events")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(30)
    page.get_by_role("button", name="Load older ones").click()
    expect(rows).to_have_count(60)
    page.get_by_label("Outcome").select_option("denied")
    settle(page)
    before = rows.count()
    denied = {"email": "live@mailinator.com", "password": "a long password"}
    assert populated.identity("POST", "/signup", denied)[0] == 422
    expect(page.locator("tbody tr.fresh")).to_have_count(1)
    expect(rows).to_have_count(before + 1)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused")).to_be_visible()


def test_an_event_is_played_back_without_changing_anything(
    as_owner: AsOwner, populated: Console
) -> None:
    """Both decisions stand side by side."""
    seen = next(
        each
        for each in populated.app.store.ledger.page(limit=200).items
        if each.event == "signup" and each.outcome == "applied" and each.body
    )
    page, _ = as_owner(f"/#/events/{seen.id}")
    assert seen.user_id is not None
    version = populated.app.store.users.get(seen.user_id).version
    expect(page.get_by_role("region", name="Body of the event")).to_contain_text('"signup"')
    page.get_by_role("button", name="Replay, changing nothing").click()
    expect(page.get_by_role("heading", name="Recorded")).to_be_visible()
    assert populated.app.store.users.get(seen.user_id).version == version


def test_audit_and_policy_say_who_and_why(as_owner: AsOwner) -> None:
    """Filters of the audit; the rules in words; an address tried out."""
    page, _ = as_owner("/#/audit")
    page.get_by_label("Action").select_option("user.suspended")
    settle(page)
    expect(page.locator(".timeline")).to_contain_text("Chargeback")
    page.get_by_label("Action").select_option("codes.made")
    settle(page)
    expect(page.locator(".timeline")).to_contain_text(re.compile(r"\d+ codes? for "))
    page.get_by_role("navigation").get_by_role("link", name="Policy").click()
    expect(page.locator(".rules li")).not_to_have_count(0)
    page.get_by_label("E-mail").fill("x@mailinator.com")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict")).to_contain_text("Please use an address that lasts.")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict .notice")).to_contain_text("staff")
    page.get_by_label("E-mail").fill("new@newcomers.example")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict .notice")).to_contain_text("Waiting")
    page.get_by_label("Invitation code").select_option("valid")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict .notice")).to_contain_text("Admitted")


def test_a_policy_is_tried_before_it_is_in_force(as_owner: AsOwner, tmp_path: Path) -> None:
    """Typed or from a file, on events or records; the differences lead to the people."""
    page, watch = as_owner("/#/policy")
    expect(page.locator(".tests > li")).to_have_count(2)
    expect(page.get_by_text("All 2 pass.")).to_be_visible()
    page.get_by_role("link", name="Next policy").click()
    text = page.get_by_label("The policy to try")
    text.fill("[admission")
    watch.expect(400)
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("alert")).to_contain_text("policy")
    (tmp_path / "next.toml").write_text(POLICY.replace("mailinator.com", "example.net"))
    page.get_by_label("Or take a file").set_input_files(tmp_path / "next.toml")
    expect(text).to_have_value(re.compile("example.net"))
    page.get_by_role("button", name="Try it").click()
    refused = page.locator(".differences tr", has_text="Admission at sign-up")
    expect(refused).to_contain_text("admission.deny_email_domains")
    page.get_by_text("On the records of now").click()
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("asked about the records of")).to_be_visible()
    page.locator(".instances a").first.click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()


def test_a_policy_that_fails_its_tests_or_was_rejected_is_told(as_owner: AsOwner) -> None:
    """With the test, what came out, and why."""
    page, _ = as_owner("/#/overview")
    answer = {
        "fingerprint": "0" * 12,
        "rules": ["Lets everyone else wait until an administrator approves."],
        "mode": "live",
        "rejected": "policy.toml is empty.",
        "tests": [
            {
                "number": 1,
                "passed": False,
                "sentence": "[[test]] number 1: a@b.example should be refused, and is waiting",
                "reasons": [{"rule": "admission.default", "text": "everyone waits by default"}],
            }
        ],
    }
    page.route("**/api/policy", lambda route: route.fulfill(json=answer))
    page.get_by_role("navigation").get_by_role("link", name="Policy").click()
    expect(page.get_by_role("alert")).to_contain_text("policy.toml is empty.")
    expect(page.get_by_text("1 of 1 fail.")).to_be_visible()
    failed = page.locator(".tests > li")
    expect(failed).to_contain_text("a@b.example should be refused, and is waiting")
    expect(failed.get_by_text("Everyone waits by default.")).to_be_visible()


def test_invitation_codes_are_made_shown_once_used_and_revoked(
    as_owner: AsOwner, populated: Console
) -> None:
    """Their spelling can be kept as a file, and is nowhere after that."""
    page, _ = as_owner("/#/policy/codes")
    page.get_by_role("button", name="Make codes").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Label").fill("Winter course")
    dialog.get_by_label("Uses of each").fill("2")
    dialog.get_by_role("button", name="Add beta").click()
    dialog.get_by_role("button", name="Make them").click()
    made = page.get_by_role("region", name="New codes")
    expect(made).to_be_focused()
    code = made.inner_text()
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download as CSV").click()
    lines = Path(kept.value.path()).read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f'"{code}"')
    row = page.locator("[data-code]", has_text="Winter course")
    expect(row).to_contain_text("0 of 2 used, 2 left")
    webhooks, now = populated.app.webhooks, populated.app.clock()
    who = account(email="guest@example.edu", at=now, user_metadata={"code": code})
    webhooks.process([verified(webhooks, signed("signup", who, at=now), now)])
    page.reload()
    expect(row).to_be_visible()
    assert code not in page.locator("body").inner_text()
    row.get_by_text("Who used it: 1").click()
    expect(row.get_by_role("link", name="guest@example.edu")).to_be_visible()
    expect(page.get_by_text("No policy looks at codes yet")).to_have_count(0)
    row.get_by_role("button", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    expect(row.get_by_role("button", name="Revoke")).to_have_count(0)


def test_a_shadow_policy_tells_what_it_would_have_done(
    as_owner: AsOwner, populated: Console
) -> None:
    """In a sentence, counted by rule, and each event with the person."""
    page, _ = as_owner("/#/overview")
    seen = next(
        each
        for each in populated.app.store.ledger.page(limit=200).items
        if each.event == "login" and each.outcome in ("applied", "unchanged")
    )
    rule = {"rule": "rule.2", "text": "refuses everybody whose account is from gitlab"}
    change = {"change": "refused", "role": None, **rule}
    role = {"change": "gains", "role": "beta", "rule": "role.5", "text": "grants 'beta'"}
    event = {
        "event_id": seen.id,
        "event": seen.event,
        "user_id": str(seen.user_id),
        "received_at": "2026-11-27T10:00:00Z",
    }
    run = {
        "fingerprint": "1" * 12,
        "live": "0" * 12,
        "since": "2026-11-23T08:00:00Z",
        "seen_at": "2026-11-27T10:00:00Z",
        "events": 214,
        "behind": 2,
        "error": "the process was killed",
        "failed_at": "2026-11-27T09:00:00Z",
    }
    answer = {
        "source": "policies/next.toml",
        "absent": False,
        "run": run,
        "changes": [{**change, "events": 3, "people": 2}, {**role, "events": 1, "people": 1}],
        "differences": [{**event, **change}],
        "next_cursor": "more",
    }
    rest = {**answer, "differences": [{**event, **role}], "next_cursor": None}
    page.route(
        "**/api/policy/shadow?*",
        lambda route: route.fulfill(json=rest if "cursor=more" in route.request.url else answer),
    )
    page.evaluate("location.hash = '#/policy/next'")
    lead = page.get_by_text("would have refused 3 of 214 events since")
    expect(lead).to_contain_text("next.toml")
    expect(page.get_by_role("alert")).to_contain_text("the process was killed")
    rules = page.get_by_role("list", name="By rule")
    expect(rules).to_contain_text("Refuses everybody whose account is from gitlab.")
    page.get_by_role("button", name="Load more").click()
    rows = page.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("Gains beta")
    for width, height in ((1280, 860), (360, 740)):
        page.set_viewport_size({"width": width, "height": height})
        keep(page, f"shadow-{width}", full_page=True)
    rows.first.get_by_role("link", name="Login").click()
    expect(page.get_by_role("heading", name="Login")).to_be_visible()


def test_a_promoted_shadow_policy_leaves_nothing_to_watch(as_owner: AsOwner) -> None:
    """Said calmly; and an empty text to try means the shadow policy, of which there is none."""
    page, watch = as_owner("/#/overview")
    gone: dict[str, Any] = {
        "source": "next.toml",
        "absent": True,
        "run": None,
        "changes": [],
        "differences": [],
    }
    page.route(
        "**/api/policy/shadow?*", lambda route: route.fulfill(json={**gone, "next_cursor": None})
    )
    page.evaluate("location.hash = '#/policy/next'")
    expect(page.get_by_text("There is nothing to watch: next.toml is not there.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    watch.expect(400)
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("alert")).to_contain_text("USHER_POLICY_SHADOW is not set")
    keep(page, "shadow-gone", full_page=True)


def test_codes_that_no_policy_looks_at_are_told(as_owner: AsOwner) -> None:
    """As the command that makes them says it."""
    page, _ = as_owner("/#/overview")
    unread: dict[str, Any] = {"codes": [], "invitation_code": None, "next_cursor": None}
    page.route("**/api/codes?*", lambda route: route.fulfill(json=unread))
    page.evaluate("location.hash = '#/policy/codes'")
    expect(page.get_by_text('[admission] invitation_code = "code"')).to_be_visible()
    keep(page, "codes-unread", full_page=True)
