"""The guarded endpoints."""

from __future__ import annotations

from fastapi.testclient import TestClient

from usher.testing.client import Client
from usher.testing.people import People


def test_a_stranger_has_no_account(site: TestClient) -> None:
    assert site.get("/account").status_code == 401


def test_an_account_tells_whose_it_is(site: TestClient, usher_person: People) -> None:
    ada = usher_person(roles={"member"}, email="ada@example.org")
    answer = site.get("/account", headers=ada.headers)
    assert answer.json() == {"email": "ada@example.org", "roles": ["member"]}


def test_drafts_are_for_editors(site: TestClient, usher_person: People) -> None:
    member, editor = usher_person(roles={"member"}), usher_person(roles={"editor"})
    assert site.get("/drafts", headers=member.headers).status_code == 403
    assert site.get("/drafts", headers=editor.headers).json() == {"drafts": ["Spring sale"]}


def test_whoever_loses_a_role_is_refused_at_once(
    site: TestClient, usher_person: People, usher_client: Client
) -> None:
    editor, administrator = usher_person(roles={"editor"}), usher_person(roles={"admin"})
    headers = editor.headers  # the token is as good as before, and still says "editor"
    revoked = usher_client.request(
        "DELETE", f"/api/users/{editor.id}/roles/editor", headers=administrator.headers
    )
    assert revoked.status == 200
    assert site.get("/drafts", headers=headers).status_code == 403


def test_colleagues_are_editors(site: TestClient, usher_client: Client) -> None:
    colleague = usher_client.sign_up("grace@example.com")
    assert site.get("/drafts", headers=colleague.headers).status_code == 200
