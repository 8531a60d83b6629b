"""``usher sync`` and pushes with accounts that are large, odd, or cannot be read at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.cli.sync_support import Site
from usher.core import bounds
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.identity import http as identity_http
from usher.functions._shared.http import Response

MEMBER = {"provider": "email", "roles": ["member", "staff", "vip"]}
DIGITS = "9" * 401
ODD_MAPS = {
    "U+0000": r'{"x":"a\u0000b"}',
    "U+0000 in a key": r'{"a\u0000":1}',
    "40 levels": '{"x":' + "[" * 40 + "]" * 40 + "}",
    "401 digits": f'{{"x":{DIGITS}}}',
    "1e400": '{"x":[1e400]}',
    "half a pair": r'{"x":"\ud800"}',
    "the other half": r'{"x":{"y":"\udc00"}}',
    "10,000 keys, over 64 KiB": "{" + ",".join(f'"{n}":{n}' for n in range(10_000)) + "}",
    "keys that stand twice": '{"x":1,"x":{"y":2,"y":3}}',
    "over 64 KiB": f'{{"x":"{"x" * bounds.MAX_MAP_BYTES}"}}',
    "over 64 KiB, and U+0000": f'{{"x":"{"x" * bounds.MAX_MAP_BYTES}","y":"\\u0000"}}',
}


def written(maps: dict[str, str]) -> Callable[[str, Response], Response]:
    """Identity's answers with these texts in place of maps that hold their names."""

    def answer(_what: str, given: Response) -> Response:
        body = given.body
        for name, text in maps.items():
            body = body.replace(f'{{"odd":"{name}"}}', text)
            body = body.replace(f'"odd":"{name}"', text[1:-1])
        return replace(given, body=body)

    return answer


def records(site: Site) -> dict[str, Any]:
    """The status of everybody on record, by id."""
    listed = site.program.json("users", "list", "--limit", "200")["users"]
    return {user["id"]: user["status"] for user in listed}


def pending(site: Site, user_id: UUID) -> str | None:
    """Why a push of this user waits; None: it does not."""
    with site.program.app() as app:
        waiting = app.pushes.of(app.store.users.get(user_id))
    return None if waiting is None else waiting.error


@pytest.mark.usefixtures("small_pages")
def test_a4_odd_metadata_is_settled_account_by_account(site: Site) -> None:
    """Every account is imported with its roles, and the second comparison finds nothing."""
    ids = site.fill(3)
    odd: dict[UUID, str] = {}
    for name in ODD_MAPS:
        odd[site.fill(1, app_metadata=MEMBER, user_metadata={"odd": name})[0]] = name
        odd[site.fill(1, app_metadata=MEMBER | {"odd": name})[0]] = name
    for email in ("", "nobody", "@", "a@b@c", "x" * 5_000 + "@example.com"):
        odd[site.fill(1, app_metadata=MEMBER, email=email)[0]] = email
    site.answer = written(ODD_MAPS)
    done = site.sync("--both")
    assert (done["accounts"], done["unreadable"], done["left"]) == (len(ids) + len(odd), [], {})
    for user_id in odd:
        assert site.program.roles(user_id) == ["member", "staff", "vip"]
    assert site.sync("--both")["found"] == {}
    assert not any(call.startswith("PUT") for call in site.calls)


@pytest.mark.parametrize("name", ODD_MAPS)
def test_a4_a_push_to_an_odd_account_goes_through(site: Site, name: str) -> None:
    """Odd in either map: a role reaches Identity, everything else stays, nothing is pending."""
    odd = MEMBER | {"odd": name}
    (ours,) = site.fill(1, app_metadata=odd, user_metadata={})
    (theirs,) = site.fill(1, app_metadata=MEMBER, user_metadata={"odd": name})
    site.answer = written(ODD_MAPS)
    site.sync("--both")
    for user_id, held in ((ours, odd), (theirs, MEMBER)):
        site.program("users", "grant", str(user_id), "editor")
        assert site.held(user_id) == held | {"roles": ["editor", "member", "staff", "vip"]}
        assert pending(site, user_id) is None
        site.program("users", "revoke", str(user_id), "editor")
        assert site.held(user_id) == held
    assert site.sync("--both")["found"] == {}


@pytest.mark.usefixtures("small_pages")
def test_a4_a_page_too_large_is_asked_for_in_smaller_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each account is compared once; where they are small again, pages are large again."""
    monkeypatch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 100_000)
    site.fill(10)
    large = site.fill(12, user_metadata={"x": "x" * 30_000})
    site.fill(28)
    done = site.sync("--pull", code=3)
    assert (done["accounts"], done["unreadable"]) == (50, [])
    assert len(records(site)) == 50
    asked = [call.partition("?page=")[2].partition("&sort")[0] for call in site.calls]
    assert asked.count("2&per_page=10") == 1
    assert {f"{page}&per_page=1" for page in range(11, 21)} <= set(asked)
    assert "4&per_page=10" in asked
    assert site.program.roles(large[1]) == ["member", "staff", "vip"]


def test_a4_eighteen_accounts_of_two_megabytes(site: Site) -> None:
    """All are imported and told, though no page of many can be read."""
    ids = site.fill(18, app_metadata=MEMBER, user_metadata={"x": "x" * 2_000_000})
    done = site.sync("--both")
    assert (done["accounts"], done["left"], done["unreadable"]) == (18, {}, [])
    site.program("users", "grant", str(ids[3]), "editor")
    assert "editor" in site.held(ids[3])["roles"]


UNREADABLE = {
    "email": '"email":7',
    "created_at": '"created_at":"yesterday"',
    "twice": '"email":"a@b.example","email":"b@b.example"',
    "scalar": '"email":x',
    "U+0000": r'"email":"a\u0000b@example.com"',
    "list": '"app_metadata":[]',
}


@pytest.mark.usefixtures("small_pages")
def test_a4_an_account_that_cannot_be_read_is_named_and_left_alone(site: Site) -> None:
    """Its record stays as it is, whatever is pruned; all others are settled."""
    ids = site.fill(15)
    site.sync("--both")
    broken = {str(user_id): text for user_id, text in zip(ids, UNREADABLE.values(), strict=False)}

    def spoil(_what: str, answer: Response) -> Response:
        body = answer.body
        for user_id, text in broken.items():
            body = body.replace(f'{{"id":"{user_id}"', f'{{"id":"{user_id}",{text},"x":0')
            body = body.replace('"x":0,"aud":"","role":"","email":"user', '"x":0,"was":"user')
            if '"app_metadata"' in text:
                before, mark, rest = body.partition(f'"{user_id}",{text}')
                rest = rest.replace('"app_metadata":', '"y":', 1)
                body = before + mark + rest
            if '"created_at"' in text:
                before, mark, rest = body.partition(f'"{user_id}",{text}')
                body = before + mark + rest.replace('"created_at":', '"z":', 1)
        return replace(answer, body=body)

    site.answer = spoil
    gone = ids[-1]
    site.identity.admin("DELETE", f"/admin/users/{gone}")
    done = site.sync("--both", "--prune", "--force", code=4)
    assert [each["id"] for each in done["unreadable"]] == list(broken)
    assert [each["number"] for each in done["unreadable"]] == [1, 2, 3, 4, 5, 6]
    assert all(each["why"] and each["remedy"] for each in done["unreadable"])
    assert done["left"] == {"unreadable": 6}
    assert done["mended"] == {"missing_there": 1}
    assert {user_id for user_id, how in records(site).items() if how == "deleted"} == {str(gone)}
    told = site.program("sync", code=4).stdout
    for user_id in broken:
        assert f"{user_id}  " in told
    assert "/user/email: must be a string" in told
    assert "mend it at Identity, or delete it there" in told


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("plan", [(), ("--pull",), ("--push",), ("--both", "--prune", "--force")])
def test_a4_an_account_too_large_even_alone_is_named_by_its_id(
    site: Site, monkeypatch: pytest.MonkeyPatch, plan: tuple[str, ...]
) -> None:
    """It is taken for present, whatever is pruned, and readable again it is compared again."""
    ids = site.fill(25)
    site.sync("--both")
    with monkeypatch.context() as patch:
        patch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 50_000)
        site.put(ids[12], user_metadata={"x": "x" * 60_000})
        done = site.sync(*plan, code=4)
        (named,) = done["unreadable"]
        assert (named["id"], named["number"]) == (str(ids[12]), 13)
        assert (named["trouble"], done["accounts"]) == ("too_large", 24)
        assert "shorten its metadata" in named["remedy"]
        assert set(records(site).values()) == {"active"}
    assert site.sync("--both")["unreadable"] == []


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("spoilt", [500, 502, "<html>", "torn", "nobody"])
@pytest.mark.parametrize("known", [True, False])
def test_a4_an_account_for_which_identity_fails_is_named(
    site: Site, spoilt: int | str, known: bool
) -> None:
    """By its number, or by its id where a record leads to it; nobody is taken for missing."""
    ids = site.fill(25)
    if known:
        site.sync("--both")

    def spoil(what: str, answer: Response) -> Response:
        if str(ids[12]) not in answer.body:
            return answer
        if isinstance(spoilt, int):
            return replace(answer, status=spoilt)
        if spoilt == "nobody" and "?page" in what:
            return replace(answer, body='{"users":[]}')
        if spoilt == "nobody":
            return replace(answer, body="{}")
        return replace(answer, body=answer.body[:300] if spoilt == "torn" else spoilt)

    site.answer = spoil
    done = site.sync("--both", "--prune", "--force", code=4)
    (named,) = done["unreadable"]
    assert (named["id"], named["number"]) == (str(ids[12]) if known else None, 13)
    assert named["trouble"] == "no_answer"
    assert done["accounts"] == 24
    assert set(records(site)) == set(map(str, ids)) - (set() if known else {str(ids[12])})
    assert set(records(site).values()) == {"active"}
    told = site.program("sync", code=4).stdout
    assert (str(ids[12]) if known else "number 13 by age") in told
    site.answer = lambda _, answer: answer
    assert site.sync("--both")["left"] == {}


@pytest.mark.usefixtures("small_pages")
def test_a4_a_page_that_fails_as_a_whole_is_read_in_smaller_ones(site: Site) -> None:
    """A proxy's own limit, for one: nobody is lost, and nothing is told as a failure."""
    site.fill(30)
    bad = ("page=2&per_page=10", "page=4&per_page=5")
    site.answer = lambda what, answer: (
        replace(answer, status=413, body="") if any(f"{each}&" in what for each in bad) else answer
    )
    done = site.sync("--pull", code=3)
    assert (done["accounts"], done["unreadable"]) == (30, [])


@pytest.mark.usefixtures("small_pages")
def test_a4_accounts_deleted_and_made_while_pages_are_small_hide_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of the pages is as the list moves."""
    monkeypatch.setattr(identity_http, "MAX_ADMIN_ANSWER_BYTES", 60_000)
    ids = site.fill(10) + site.fill(10, user_metadata={"x": "x" * 10_000}) + site.fill(20)
    gone = iter([*ids[:2], ids[9], *ids[30:32]])
    asked = iter(
        ("page=3&per_page=5&", "page=4&per_page=5&", "page=17&per_page=1&", "page=2&per_page=10&")
    )
    now = next(asked)

    def move(what: str) -> None:
        nonlocal now
        if now in what:
            now = next(asked, "nothing")
            if user_id := next(gone, None):
                site.identity.admin("DELETE", f"/admin/users/{user_id}")
            site.fill(1, email="new@example.com")

    site.before = move
    site.sync("--pull", code=3)
    site.before = None
    assert "missing_here" not in site.sync(code=3)["found"]


@pytest.mark.usefixtures("small_pages")
def test_a4_an_unreadable_account_holds_up_no_other_push(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own push waits with the reason; those of others go through in the same run."""
    ids = site.fill(6)
    site.sync("--both")
    url = str(ids[0])

    def spoil(_what: str, answer: Response) -> Response:
        return replace(answer, status=500) if url in answer.body else answer

    site.answer = spoil
    for user_id in ids:
        site.program("users", "grant", str(user_id), "editor")
    for user_id in ids[1:]:
        assert "editor" in site.held(user_id)["roles"]
    assert "editor" not in site.held(ids[0])["roles"]
    assert str(pending(site, ids[0])).startswith("identity_account_unreadable: ")
    site.answer = lambda _, answer: answer
    site.sync("--push")
    assert "editor" in site.held(ids[0])["roles"]


def test_a4_what_is_written_to_a_large_app_metadata_is_told_once(site: Site) -> None:
    """Its keys cannot be seen, so they are written; Identity merges them, and it is settled."""
    name = "over 64 KiB, and U+0000"
    (user_id,) = site.fill(1, app_metadata=MEMBER | {"odd": name})
    site.answer = written(ODD_MAPS)
    site.sync("--both")
    with site.program.app() as app:
        user = app.store.users.get(user_id)
        command = administration.edit(app_metadata={"plan": "gold"})
        changed = app.store.users.change(user, command, Change("test"))
        assert not app.pushes.push(changed).at_identity.pending
    assert site.held(user_id) == MEMBER | {"odd": name, "plan": "gold"}
    assert site.sync("--both")["found"] == {}


ODD_ROLES: dict[str, Any] = {
    "an object": {"editor": True},
    "a number": 7,
    "a boolean": True,
    "elements": ["member", 7, "", None, {"x": 1}],
    "elements that are no text": [["editor"]],
    "too long": ["r" * 101],
    "too many": ["r" * 100] * 3_000,
}


def test_c1_accounts_whose_roles_cannot_be_read_are_listed_and_stay_as_they_are(
    site: Site,
) -> None:
    """By every plan and in every run, with what is wrong; what is no name is never taken away."""
    fine = site.fill(2, app_metadata={"provider": "email", "roles": "editor"})
    odd = {
        site.fill(1, app_metadata={"provider": "email", "roles": roles})[0]: roles
        for roles in ODD_ROLES.values()
    }
    for plan in ([], ["--pull"], ["--both"], ["--push"], ["--both", "--prune"]):
        done = site.sync(*plan, code=3)
        assert [each["id"] for each in done["roles_unreadable"]] == list(map(str, odd))
        assert done["left"]["roles_unreadable"] == len(odd)
        assert all(each["trouble"] == "roles" for each in done["roles_unreadable"])
        assert done["unreadable"] == []
    for user_id, roles in odd.items():
        held = site.held(user_id)["roles"]
        if isinstance(roles, list) and len(roles) < 10:
            names = [each for each in held if each in ("member", "staff")]
            assert held == [*names, *(each for each in roles if each != "member")]
        else:
            assert held == roles
    assert "editor" in site.program.roles(fine[0])
    told = site.program("sync", code=3).stdout
    assert "roles is an object, not a list" in told
    assert "make roles a list of role names at Identity" in told
    for user_id in odd:
        site.put(user_id, app_metadata={"roles": ["member", "staff"]})
    assert site.sync("--both")["roles_unreadable"] == []


def test_a4_what_identity_itself_takes_is_settled(site: Site) -> None:
    """Written at its own API: U+0000, keys that stand twice, half a pair, and two megabytes."""
    written = {
        "U+0000": r'{"x":"a\u0000b","y\u0000":1}',
        "twice": '{"x":1,"x":{"y":2,"y":3}}',
        "half a pair": r'{"x":"\ud800"}',
        "40 levels": '{"x":' + "[" * 40 + "]" * 40 + "}",
        "two megabytes": f'{{"x":"{"x" * 2_000_000}"}}',
    }
    ids = {}
    for number, (name, text) in enumerate(written.items()):
        body = f'{{"email":"p{number}@example.com","password":"correct horse","confirm":true}}'
        made = site.identity.admin("POST", "/admin/users", body).json["id"]
        ids[made] = name
        for where in ("user_metadata", "app_metadata"):
            put = site.identity.admin("PUT", f"/admin/users/{made}", f'{{"{where}":{text}}}')
            assert put.status == 200
    assert "\\u0000" in site.identity.admin("GET", "/admin/users").text
    done = site.sync("--both")
    assert (done["accounts"], done["unreadable"], done["left"]) == (len(written), [], {})
    for made, name in ids.items():
        site.program("users", "grant", made, "editor")
        held = site.held(made)
        assert ("editor" in held["roles"], "x" in held) == (True, True), name
    assert site.sync("--both")["found"] == {}
