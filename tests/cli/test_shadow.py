"""``usher policy shadow``: what another policy would have decided otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.pipeline.shadow_support import follow, follower
from usher.cli import shadow as shadow_command
from usher.core.store import shadows

NEXT = """
[admission]
deny_email_domains = ["example.net"]

[[role]]
grant = "member"

[[role]]
grant = "reader"
providers = ["google"]
"""


@pytest.fixture
def shadowed(on_both: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with a shadow policy."""
    (tmp_path / "next.toml").write_text(NEXT)
    monkeypatch.setenv("USHER_POLICY_SHADOW", "next.toml")
    return on_both


def test_each_kind_of_difference_is_a_sentence_and_each_event_is_explained(
    shadowed: Program,
) -> None:
    """How many of how many, since when, by which rule of which policy; addresses stay out."""
    assert shadowed("policy", "shadow").stdout == "No server follows next.toml yet.\n"
    with shadowed.app() as app:
        shadow = follower(app)
        follow(shadow)
    assert "UTC; no event came yet." in shadowed("policy", "shadow").stdout
    eve = shadowed.deliver("signup", "eve@example.net")
    shadowed.deliver("signup", "bob@example.net")
    shadowed.deliver("signup", "x@mailinator.com")
    shadowed.deliver("signup", "ada@example.com", provider="google")
    assert "4 newer events are still to be looked at." in shadowed("policy", "shadow").stdout
    with shadowed.app() as app:
        follow(follower(app, lease=shadow._lease, ended="it hung"))
    told = " ".join(shadowed("policy", "shadow").stdout.split())
    for said, by in (
        (
            "next.toml would have refused 2 of 4 events since ",
            " UTC, by admission.deny_email_domains: the domain example.net is on the deny list",
        ),
        (
            "next.toml would have admitted 1 of 4 events since ",
            "today's policy has admission.deny_email_domains: the domain mailinator.com is on",
        ),
        (
            "next.toml would have given 'reader' at 1 of 4 events since ",
            "by role.2: grants 'reader' to everybody whose account is from google",
        ),
        (
            "next.toml would not have given 'staff' at 1 of 4 events since ",
            "where today's policy has role.2: grants 'staff' to everybody whose",
        ),
    ):
        assert said in told
        assert by in told
    assert "Its process ended at " in told
    assert "UTC: it hung." in told
    assert str(eve) in told
    assert "eve@" not in told
    assert "More:" not in told
    document = shadowed.json("policy", "shadow")
    assert {(c["change"], c["role"], c["events"], c["people"]) for c in document["changes"]} == {
        ("refused", None, 2, 2),
        ("admitted", None, 1, 1),
        ("gains", "reader", 1, 1),
        ("loses", "staff", 1, 1),
    }
    assert (document["run"]["events"], document["run"]["behind"]) == (4, 0)


def test_the_list_goes_on_page_by_page(shadowed: Program) -> None:
    """The newest first; a cursor that was made up is refused."""
    with shadowed.app() as app:
        shadow = follower(app)
        follow(shadow)
    shadowed.sign_up("a@example.net", "b@example.net", "c@example.net")
    with shadowed.app() as app:
        follow(follower(app, lease=shadow._lease))
    first = shadowed.json("policy", "shadow", "--limit", "2")
    cursor = first["next_cursor"]
    assert f"More: --cursor {cursor}" in shadowed("policy", "shadow", "--limit", "2").stdout
    rest = shadowed.json("policy", "shadow", "--limit", "2", "--cursor", cursor)
    found = [each["user_id"] for each in first["differences"] + rest["differences"]]
    assert (len(found), len(set(found)), rest["next_cursor"]) == (3, 3, None)
    assert "cursor" in shadowed("policy", "shadow", "--cursor", "none", code=1).stderr


def test_events_that_both_decide_alike_are_counted_in_one_line(shadowed: Program) -> None:
    """Without a table that has no rows."""
    with shadowed.app() as app:
        shadow = follower(app)
        follow(shadow)
    shadowed.sign_up("ada@example.org")
    with shadowed.app() as app:
        follow(follower(app, lease=shadow._lease))
    told = shadowed("policy", "shadow").stdout
    assert told.startswith("next.toml would have decided alike: 1 event since ")
    assert told.endswith(" UTC.\n")


def test_once_the_file_is_promoted_there_is_nothing_to_watch(
    shadowed: Program, tmp_path: Path, policy_file: Path
) -> None:
    """Told by the promotion and by each place that tells of the shadow; a new file is watched."""
    with shadowed.app() as app:
        shadow = follower(app)
        follow(shadow)
        shadowed.sign_up("ada@example.com")
        follow(shadow)
        assert app.shadows.run("next.toml") is not None
        told = shadowed("policy", "promote", "--yes").stdout
        assert policy_file.read_text() == NEXT
        assert "Nothing is watched now. Write the next policy to next.toml, and it is." in told
        assert "usher policy promote --undo puts the policy before back." in told
        assert not shadow.step()
        said = "There is nothing to watch: next.toml is not there. Put the next policy there.\n"
        assert shadowed("policy", "shadow").stdout == said
        document = shadowed.json("policy", "shadow")
        assert (document["absent"], document["run"], document["changes"]) == (True, None, [])
        findings = {each["key"]: each for each in shadowed.json("doctor", code=(0, 1))}
        assert findings["shadow.absent"]["severity"] == "warning"
        (tmp_path / "next.toml").write_text('[admission]\ndefault = "ask"\n')
        follow(shadow)
        shadowed.sign_up("bob@example.com")
        follow(shadow)  # sees by this event that another policy is in force: the count begins
        shadowed.sign_up("carl@example.com")
        follow(shadow)
    assert "next.toml would have let wait 1 of 1 event since " in shadowed(
        "policy", "shadow"
    ).stdout.replace("\n", " ")


def test_it_says_what_it_leaves_out(shadowed: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare kinds, and what is older than it counts; no secret is needed."""
    with shadowed.app() as app:
        shadow = follower(app)
        follow(shadow)
    shadowed.deliver("signup", "eve@example.net")
    shadowed.deliver("signup", "x@mailinator.com")
    with shadowed.app() as app:
        follow(follower(app, lease=shadow._lease))
    monkeypatch.delenv("USHER_WEBHOOK_SECRETS")
    monkeypatch.setattr(shadows, "MAX_GROUPS", 1)
    assert "Less frequent kinds that are not shown: 1." in shadowed("policy", "shadow").stdout
    for module in (shadows, shadow_command):
        monkeypatch.setattr(module, "MAX_COUNTED", 1)
    assert "Only the newest 1 differences are counted." in shadowed("policy", "shadow").stdout


def test_without_a_shadow_policy_it_says_so(program: Program) -> None:
    """Nothing is wrong."""
    assert program("policy", "shadow").stdout == "USHER_POLICY_SHADOW is not set.\n"
    document = program.json("policy", "shadow")
    assert (document["source"], document["run"], document["changes"]) == (None, None, [])
