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
    assert found["key"] == "proxy.ok"


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        (problem("not_through_site", 403), "proxy.unsigned"),
        ((200, {}, b"<h1>a page</h1>"), "proxy.not_usher"),
        ((404, {}, b"not found"), "proxy.status"),
        ((502, {}, b""), "proxy.status"),
    ],
)
def test_doctor_says_what_is_wrong_on_the_way(
    site: Program, monkeypatch: pytest.MonkeyPatch, answer: Answer, key: str
) -> None:
    """And on which side to mend it."""
    with answering(answer) as stub:
        monkeypatch.setenv("USHER_IDENTITY_URL", stub.url + IDENTITY)
        found = bad(site)["proxy"]
    assert found["key"] == key
    if key == "proxy.status":
        assert found["facts"]["status"] == answer[0]


def test_doctor_without_a_site_to_ask(site: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it did not; a secret twice is one, whatever the site says."""
    found = findings(site)["proxy"]
    assert found["well"]
    monkeypatch.setenv("USHER_PROXY_SECRET", f"{SECRET.decode()},{SECRET.decode()}")
    assert bad(site)["proxy"]["key"] == "proxy.repeated"
    monkeypatch.delenv("USHER_PROXY_SECRET")
    assert "proxy" not in findings(site)


def test_doctor_tries_the_bridge(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it answers, what Identity answers by way of it, and that it is not there."""
    page: dict[str, Any] = {"status": 200, "headers": {}, "body": '{"users":[]}'}
    refused: dict[str, Any] = {"status": 401, "headers": {}, "body": '{"code":"signature_invalid"}'}
    monkeypatch.setenv("USHER_BRIDGE_SECRET", SECRET.decode())
    for status, document, key in (
        (200, page, "identity.ok"),
        (200, page | {"status": 401}, "identity.bridge"),
        (200, page | {"status": 404}, "identity.bridge"),
        (401, refused, "bridge.signature"),
        (503, refused | {"body": '{"code":"bridge_closed"}'}, "bridge.closed"),
        (400, refused | {"body": '{"code":"operation_unknown"}'}, "bridge.failed"),
    ):
        with answering((status, {}, json.dumps(document).encode())) as stub:
            monkeypatch.setenv("USHER_BRIDGE_URL", stub.url)
            found = findings(program, int(key != "identity.ok"))[key.partition(".")[0]]
        assert found["key"] == key
    monkeypatch.setenv("USHER_BRIDGE_URL", f"http://127.0.0.1:{free_port()}")
    assert bad(program)["bridge"]["key"] == "bridge.unreachable"


def test_the_bridge_needs_both_its_settings(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them is a slip."""
    monkeypatch.setenv("USHER_BRIDGE_URL", "https://site.example/.netlify/functions/usher-bridge")
    assert bad(program)["settings"]["key"] == "settings.invalid"
