"""The bridge under Netlify's own function runtime, with the emulator as Identity.

What the platform adds to a request, Identity's address and a token for it, is added by a forwarder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3

from core.bridge import AUDIENCE, ISSUER, BridgeTransport
from core.errors import BridgeError, IdentityCredentialsError, IdentityRefusedError
from core.identity import IdentityClient
from emulator.server import serving as emulating
from tests.emulator.world import MOUNT, OPERATOR, World, world
from tests.forge import STRANGER, encode, token
from tests.netlify_site import BRIDGE_SECRET, NetlifySite, netlify_site, run_node
from tests.stub import Answer, Stub, serving

SECRET = BRIDGE_SECRET.encode()
OLD = "an-older-secret-of-the-bridge-32-b"
LIST = {"method": "GET", "path": "/admin/users?page=1&per_page=5", "body": None}


@dataclass
class Bridge:
    """A deployed bridge, and what stands behind it."""

    site: NetlifySite
    world: World
    platform: Stub
    identity: dict[str, str]
    pool: urllib3.PoolManager

    @property
    def client(self) -> IdentityClient:
        """Usher's client by way of it."""
        return IdentityClient(None, BridgeTransport(self.platform.url, SECRET, time.time))

    def send(self, body: bytes, *signatures: str, method: str = "POST") -> tuple[int, Any]:
        """A request with these signatures: status, and the document."""
        headers = urllib3.HTTPHeaderDict({"Content-Type": "application/json"})
        for signature in signatures:
            headers.add("X-Usher-Signature", signature)
        answer = self.pool.request(method, self.platform.url, body=body, headers=headers)
        return answer.status, json.loads(answer.data) if answer.data else None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetlifySite]:
    """One for all tests: its start takes longer than they do."""
    folder = tmp_path_factory.mktemp("bridge")
    secrets = f"{BRIDGE_SECRET},{OLD}"
    nobody = "http://127.0.0.1:9"
    with netlify_site(folder, tmp_path_factory, nobody, USHER_BRIDGE_SECRET=secrets) as running:
        yield running


@pytest.fixture
def bridge(site: NetlifySite, tmp_path: Path) -> Iterator[Bridge]:
    """With an empty Identity."""
    with world(tmp_path) as identity, emulating(identity.emulator.handle) as url:
        context = {"url": url + MOUNT, "token": OPERATOR}
        with (
            urllib3.PoolManager(retries=False, timeout=30) as pool,
            platform(site.bridge_url, context, pool) as front,
        ):
            yield Bridge(site, identity, front, context, pool)


@contextmanager
def platform(url: str, context: dict[str, str], pool: urllib3.PoolManager) -> Iterator[Stub]:
    """Passes requests on, with Identity's address and token, as Netlify's edge does."""

    def forward(_number: int, _path: str, headers: dict[str, str], body: bytes) -> Answer:
        kept = {name: headers[name] for name in headers if name not in ("host", "connection")}
        if context:
            kept["x-nf-identity-info"] = base64.b64encode(json.dumps(context).encode()).decode()
        answer = pool.request("POST", url, body=body, headers=kept)
        return answer.status, {"Content-Type": answer.headers["Content-Type"]}, answer.data

    with serving(forward) as front:
        yield front


def sign(body: bytes, secret: bytes = SECRET, header: bytes | None = None, **changed: Any) -> str:
    """The signature as Usher makes it, by none of its code; a claim that is ... is left out."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(time.time()),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    claims = {name: value for name, value in (usual | changed).items() if value is not ...}
    return token(json.dumps(claims).encode(), *([header] if header else []), secret=secret)


def dump(call: Any) -> bytes:
    """A request's body."""
    return json.dumps(call).encode()


def test_every_admin_call_goes_by_way_of_it(bridge: Bridge) -> None:
    """With Usher's own client, and with what Identity says of pages and of what it refuses."""
    client, identity = bridge.client, bridge.world
    ids = []
    for number in range(3):
        ids.append(client.create(f"p{number}@example.com", "a password", confirm=True).id)
        identity.clock.advance(seconds=1)
    pages = [client.users(page, 2) for page in (1, 2)]
    assert [user.id for page in pages for user in page.users] == ids
    assert [(page.more, page.total) for page in pages] == [(True, 3), (False, 3)]
    big = 2**63 + 1  # JavaScript's numbers could not hold it
    client.update(ids[0], app_metadata={"plan": "gold", "number": big, "name": "Zoë 🎭 \u2028"})
    changed = client.update(ids[0], app_metadata={"roles": ["editor"], "plan": None})
    held = {"provider": "email", "number": big, "name": "Zoë 🎭 \u2028", "roles": ["editor"]}
    assert changed is not None
    assert changed.app_metadata == held
    read = client.user(ids[0])
    assert read is not None
    assert read.app_metadata == held
    guest = client.invite("guest@example.com", {"full_name": "Guest"})
    assert guest.user_metadata == {"full_name": "Guest"}
    assert client.delete(ids[1])
    assert client.user(ids[1]) is None
    with pytest.raises(IdentityRefusedError, match="already registered"):
        client.create("p0@example.com", "a password")
    bridge.identity["token"] = "another"
    with pytest.raises(IdentityCredentialsError):
        client.users()


GONE = "/admin/users/" + str(UUID(int=5))


@pytest.mark.parametrize(
    "call",
    [
        {
            "method": "POST",
            "path": "/admin/users",
            "body": '{"email":"a@b.cc","password":"secret"}',
        },
        {"method": "POST", "path": "/invite", "body": '{"email":"a@b.cc"}'},
        {"method": "PUT", "path": "/admin/users/{}", "body": '{"app_metadata":{"roles":["x"]}}'},
        {"method": "DELETE", "path": "/admin/users/{}", "body": None},
    ],
    ids=lambda call: f"{call['method']} {call['path']}",
)
def test_a_request_that_comes_twice_does_nothing_new(bridge: Bridge, call: dict[str, Any]) -> None:
    """The accounts and the mails are those of once."""
    user_id = bridge.world.member()
    body = dump(call | {"path": call["path"].format(user_id)})
    signature = sign(body)
    states = []
    for _ in range(3):
        status, told = bridge.send(body, signature)
        assert (status, set(told)) == (200, {"status", "headers", "body"})
        listed = bridge.world.admin("GET", "/admin/users").json["users"]
        states.append(([user | {"updated_at": ""} for user in listed], len(bridge.world.mails)))
    assert states[0] == states[1] == states[2]


def test_an_older_secret_still_opens_it(bridge: Bridge) -> None:
    """So that it can be changed on one side after the other."""
    status, told = bridge.send(dump(LIST), sign(dump(LIST), OLD.encode()))
    assert (status, told["status"]) == (200, 200)


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


def test_other_methods_and_bodies_without_end_are_refused(bridge: Bridge) -> None:
    """Before the signature is looked at."""
    assert bridge.pool.request("GET", bridge.site.bridge_url).status == 405
    assert bridge.send(b"x" * 1_048_577)[0] == 413


def test_without_the_platforms_token_it_is_closed(bridge: Bridge) -> None:
    """To a good signature only, and the log says what may be amiss; Usher says where to look."""
    bridge.identity.clear()
    assert bridge.send(dump(LIST))[0] == 401
    with pytest.raises(BridgeError, match="its function's log on Netlify"):
        bridge.client.users()
    assert "gave no admin token; is Identity enabled" in bridge.site.log.read_text()


def test_identity_away_is_told_as_identitys_trouble(bridge: Bridge) -> None:
    """And worth a repeat."""
    bridge.identity["url"] = "http://127.0.0.1:9"
    status, told = bridge.send(dump(LIST), sign(dump(LIST)))
    assert (status, told) == (200, {"status": 504, "headers": {}, "body": ""})


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
