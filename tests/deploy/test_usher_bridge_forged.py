"""What the bridge lets nobody do: forged, stale and altered requests, calls not on its table."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.deploy.bridge_support import LIST, Bridge, dump, sign
from tests.forge import STRANGER, encode
from tests.netlify_site import BRIDGE_SECRET, NetlifySite, run_node
from usher.core.identity.bridge import AUDIENCE

GONE = "/admin/users/" + str(UUID(int=5))
NONE = b'{"alg":"none","typ":"JWT"}'
FORGED: dict[str, Callable[[bytes], tuple[str, ...]]] = {
    "no signature": lambda _: (),
    "an empty one": lambda _: ("",),
    "nonsense": lambda _: ("nonsense",),
    "two": lambda body: (f"{sign(body)}, {sign(body)}",),  # as Node joins them
    "another secret": lambda body: (sign(body, STRANGER),),
    "alg none": lambda body: (sign(body, header=NONE),),
    "alg none, unsigned": lambda body: (sign(body, header=NONE).rpartition(".")[0] + ".",),
    "alg of another size": lambda body: (sign(body, header=b'{"alg":"HS512"}'),),
    "crit": lambda body: (sign(body, header=b'{"alg":"HS256","crit":["x"]}'),),
    "header no object": lambda body: (sign(body, header=b"[]"),),
    "header null": lambda body: (sign(body, header=b"null"),),
    "header of nothing": lambda body: (f"{encode(b'x')}.{sign(body).partition('.')[2]}",),
    "padding": lambda body: (sign(body) + "=",),
    "the other alphabet": lambda body: (sign(body).replace(".", ".+", 1),),
    "a byte less": lambda body: (sign(body)[:-4],),
    "stale": lambda body: (sign(body, iat=int(time.time()) - 40),),
    "ahead": lambda body: (sign(body, iat=int(time.time()) + 40),),
    "no time": lambda body: (sign(body, iat=...),),
    "time as text": lambda body: (sign(body, iat=str(int(time.time()))),),
    "time as true": lambda body: (sign(body, iat=True),),
    "an event's": lambda body: (sign(body, iss="gotrue", aud=..., sub=str(uuid4())),),
    "Netlify's": lambda body: (sign(body, iss="netlify", aud=..., exp=int(time.time()) + 300),),
    "for another": lambda body: (sign(body, aud="somebody"),),
    "for several": lambda body: (sign(body, aud=[AUDIENCE]),),
    "of nobody": lambda body: (sign(body, iss=...),),
    "another body": lambda _: (sign(b"{}"),),
    "no body's": lambda body: (sign(body, sha256=...),),
    "a digest in capitals": lambda b: (sign(b, sha256=hashlib.sha256(b).hexdigest().upper()),),
    "a digest of another type": lambda body: (sign(body, sha256=7),),
    "too long": lambda body: (sign(body, x="x" * 4096),),
}


@pytest.mark.parametrize("name", FORGED)
def test_nothing_passes_without_a_good_signature(bridge: Bridge, name: str) -> None:
    """One answer for all; Identity is not asked. Why is in the function's log."""
    user_id = bridge.world.member()
    body = dump({"method": "DELETE", "path": f"/admin/users/{user_id}", "body": None})
    before = len(bridge.site.log.read_bytes())
    status, told = bridge.send(body, *FORGED[name](body))
    assert status == 401
    assert told == {"status": 401, "headers": {}, "body": '{"code":"signature_invalid"}'}
    assert bridge.world.admin("GET", f"/admin/users/{user_id}").status == 200
    line = bridge.site.log.read_bytes()[before:].decode()
    assert "usher-bridge: refused a request: " in line
    assert BRIDGE_SECRET not in line


def test_a_body_that_was_altered_is_refused(bridge: Bridge) -> None:
    """By one letter, or by a space at its end."""
    signature = sign(dump(LIST))
    assert bridge.send(dump(LIST), signature)[0] == 200
    for altered in (dump(LIST) + b" ", dump(LIST | {"path": "/admin/users?page=2&per_page=5"})):
        assert bridge.send(altered, signature)[0] == 401


NOT_OFFERED = [
    (b"", "request_invalid"),
    (b"nonsense", "request_invalid"),
    (b"[]", "request_invalid"),
    (b"null", "request_invalid"),
    ({}, "operation_unknown"),
    (LIST | {"path": 7}, "operation_unknown"),
    (LIST | {"path": "/admin/audit"}, "operation_unknown"),
    (LIST | {"path": "/admin/users?filter=a"}, "operation_unknown"),
    (LIST | {"path": "/admin/users/../../settings"}, "operation_unknown"),
    (LIST | {"path": GONE + "/"}, "operation_unknown"),
    (LIST | {"path": GONE + "?page=1"}, "operation_unknown"),
    (LIST | {"path": "@evil.example/admin/users"}, "operation_unknown"),
    (LIST | {"body": "{}"}, "operation_unknown"),
    (LIST | {"method": "get"}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": '{"role":"admin"}'}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": '{"ROLE":"admin"}'}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": '{"password":"x"}'}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": '{"email":"a@b.cc"}'}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": "[]"}, "operation_unknown"),
    ({"method": "PUT", "path": GONE, "body": {"app_metadata": {}}}, "operation_unknown"),
    ({"method": "POST", "path": "/admin/users", "body": '{"role":"a"}'}, "operation_unknown"),
    ({"method": "POST", "path": "/token", "body": "{}"}, "operation_unknown"),
    ({"method": "DELETE", "path": "/admin/users", "body": None}, "operation_unknown"),
]
ASK = """
    import { createInterface } from "node:readline";
    globalThis.netlifyIdentityContext = { url: "http://127.0.0.1:9", token: "t" };
    const { default: bridge } = await import("./netlify/functions/usher-bridge.mjs");
    for await (const line of createInterface({ input: process.stdin })) {
        const [signature, body] = JSON.parse(line);
        const headers = { "X-Usher-Signature": signature };
        const asked = new Request("http://site", { method: "POST", headers, body });
        const answer = await bridge(asked);
        console.log(JSON.stringify([answer.status, await answer.text()]));
    }
"""
"""Calls the bridge itself, once for each line, with an Identity that nobody answers at."""


def call_bridge(
    project: Path, *requests: tuple[str, bytes], **variables: str
) -> tuple[list[Any], str]:
    """Status and text of each answer, and what the function logged."""
    lines = "".join(json.dumps([sign, body.decode()]) + "\n" for sign, body in requests)
    done = run_node("--input-type=module", "-e", ASK, cwd=project, stdin=lines, **variables)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_only_what_usher_needs_is_offered(site: NetlifySite) -> None:
    """Whoever has the secret makes nobody an administrator of Identity, and changes no password."""
    bodies = [call if isinstance(call, bytes) else dump(call) for call, _ in NOT_OFFERED]
    requests = [(sign(body), body) for body in (*bodies, dump(LIST))]
    answers, _ = call_bridge(
        site.log.parent / "project", *requests, USHER_BRIDGE_SECRET=BRIDGE_SECRET
    )
    told = [(status, json.loads(json.loads(text)["body"] or "{}")) for status, text in answers]
    assert told[:-1] == [(400, {"code": code}) for _, code in NOT_OFFERED]
    assert told[-1] == (200, {})  # the control: this one went to Identity


@pytest.mark.parametrize("secret", ["", "short", f"{BRIDGE_SECRET},short", f"{BRIDGE_SECRET},"])
def test_without_a_good_secret_it_is_closed(secret: str, site: NetlifySite) -> None:
    """503 to everybody, also to who signs with the weak secret; the function's log says why."""
    body = dump(LIST)
    signature = sign(body, secret.rpartition(",")[2].encode() or b"x")
    for variables in ({"USHER_BRIDGE_SECRET": secret}, *([] if secret else [{}])):
        answers, log = call_bridge(site.log.parent / "project", (signature, body), **variables)
        told = {"status": 503, "headers": {}, "body": '{"code":"bridge_closed"}'}
        assert answers == [[503, json.dumps(told, separators=(",", ":"))]]
        assert "USHER_BRIDGE_SECRET is not set, or holds a secret of fewer than 32" in log
