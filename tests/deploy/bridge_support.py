"""A deployed bridge: Netlify's own function runtime, with the emulator as Identity.

What the platform adds to a request, Identity's address and a token for it, is added by a forwarder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.emulator.world import World
from tests.forge import HEADER, token
from tests.netlify_site import BRIDGE_SECRET, NetlifySite
from tests.stub import Answer, Stub, serving
from usher.core.identity.bridge import AUDIENCE, ISSUER, BridgeTransport
from usher.core.identity.client import IdentityClient

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
    return token(json.dumps(claims).encode(), header or HEADER, secret)


def dump(call: Any) -> bytes:
    """A request's body."""
    return json.dumps(call).encode()
