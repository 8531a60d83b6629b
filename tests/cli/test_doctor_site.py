"""``usher doctor`` and the site on Netlify: what comes through it, and the bridge on it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Program
from tests.cli.test_doctor import bad, findings
from tests.stub import Answer, answering
from tests.support import OLD_SECRET, SECRET, free_port

IDENTITY = "/.netlify/identity"
PROXY = f"{SECRET.decode()},{OLD_SECRET.decode()}"


def problem(code: str, status: int) -> Answer:
    """An error of the API."""
    return status, {}, json.dumps({"code": code}).encode()


@pytest.fixture
def site(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """With a proxy secret."""
    monkeypatch.setenv("USHER_PROXY_SECRET", PROXY)
    return program


def test_doctor_asks_through_the_site(site: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same way as everybody who calls the API."""
    with answering((200, {}, b'{"status":"ok"}')) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url + IDENTITY)
        found = findings(site)["proxy"]
        assert [path for path, _, _ in stub.requests] == ["/api/health"]
    assert found["well"]
    assert "signed as it should be" in found["text"]


@pytest.mark.parametrize(
    ("answer", "text", "remedy"),
    [
        (problem("not_through_site", 403), "unsigned or with another secret", "to the same at"),
        ((200, {}, b"<h1>a page</h1>"), "does not answer as Usher does", "BACKEND_URL"),
        ((404, {}, b"not found"), "answers 404", "BACKEND_URL"),
        ((502, {}, b""), "answers 502", "Is Usher running"),
    ],
)
def test_doctor_says_what_is_wrong_on_the_way(
    site: Program, monkeypatch: pytest.MonkeyPatch, answer: Answer, text: str, remedy: str
) -> None:
    """And on which side to mend it."""
    with answering(answer) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url + IDENTITY)
        found = bad(site)["proxy"]
    assert text in found["text"]
    assert remedy in found["remedy"]


def test_doctor_without_a_site_to_ask(site: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it did not; a secret twice is one, whatever the site says."""
    found = findings(site)["proxy"]
    assert found["well"]
    assert "does not say which" in found["text"]
    monkeypatch.setenv("USHER_PROXY_SECRET", f"{SECRET.decode()},{SECRET.decode()}")
    assert "listed twice" in bad(site)["proxy"]["text"]
    monkeypatch.delenv("USHER_PROXY_SECRET")
    assert "proxy" not in findings(site)


def test_doctor_tries_the_bridge(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it answers, what Identity answers by way of it, and that it is not there."""
    page: dict[str, Any] = {"status": 200, "headers": {}, "body": '{"users":[]}'}
    refused: dict[str, Any] = {"status": 401, "headers": {}, "body": '{"code":"signature_invalid"}'}
    monkeypatch.setenv("USHER_BRIDGE_SECRET", SECRET.decode())
    for status, document, name, says in (
        (200, page, "identity", "accepts USHER_BRIDGE_SECRET"),
        (200, page | {"status": 401}, "identity", "does not accept USHER_BRIDGE_SECRET"),
        (401, refused, "bridge", "does not accept Usher's signature"),
    ):
        with answering((status, {}, json.dumps(document).encode())) as stub:
            monkeypatch.setenv("USHER_BRIDGE_URL", stub.url)
            found = (findings if status + document["status"] == 400 else bad)(program)[name]
        assert says in found["text"]
        assert found["well"] or "docs/netlify.md" in found["remedy"]
    monkeypatch.setenv("USHER_BRIDGE_URL", f"http://127.0.0.1:{free_port()}")
    assert "could not be reached" in bad(program)["bridge"]["text"]


def test_the_bridge_needs_both_its_settings(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them is a slip."""
    monkeypatch.setenv("USHER_BRIDGE_URL", "https://site.example/.netlify/functions/usher-bridge")
    assert "go together" in bad(program)["settings"]["text"]
