"""The table of requests: one HTTP request each, and what every runtime must answer to it.

A runtime starts from a database as ``world.seed`` leaves it and gets the requests in their order.
Beyond what the table says, all runtimes must answer the same status, headers and bytes, but for
``TRANSPORT_HEADERS``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote
from uuid import UUID

from tests.contract.world import ORIGIN, access_token, bearer, body_of, person, signature
from tests.forge import claims, token
from usher.core.door import NO_REASON, render

TRANSPORT_HEADERS: Final = frozenset(
    {
        "age",
        "connection",
        "content-length",  # compared with the body where there is one
        "date",
        "keep-alive",
        "server",
        "transfer-encoding",
        "via",
    }
)
"""What a transport adds to an answer, or takes off it, by itself; names in lower case."""

RENAMED_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"www-authenticate": "x-amzn-remapped-www-authenticate"} for name in ("rest", "url")
}
"""By runtime: AWS reserves the header for itself, and passes a function's on by another name. Who
calls the API loses nothing by it: the problem document says the same."""

OTHER: Final = str(UUID(int=8))
"""An Identity instance that is not in use."""
GENERIC_401: Final = (
    b'{"type":"urn:usher:error:signature_invalid","title":"The signature was not accepted",'
    b'"status":401,"code":"signature_invalid"}'
)
FUNCTIONS: Final = "/.netlify/functions"
HOOK: Final = f"{FUNCTIONS}/identity"
CAP: Final = 262_144
JSON: Final = ("Content-Type", "application/json")
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and its answer.

    Attributes:
        name: the rule that it shows.
        part: ``hook`` and ``api`` are functions; ``server`` is what only a runtime has.
        target: path and query as they stand in the request line.
        headers: in their order and spelling; Host and Content-Length are the client's to add.
        code: of the problem document.
        says: the exact body.
        differs: why a platform's answer cannot be the same, by the name of the runtime.
    """

    name: str
    part: str
    method: str
    target: str
    status: int
    headers: Headers = ()
    body: bytes = b""
    code: str = ""
    says: bytes | None = None
    differs: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its name among all."""
        return f"{self.part}: {self.name}"


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def comparable(self, runtime: str = "") -> tuple[int, list[tuple[str, str]], bytes]:
        """What must be the same everywhere: times of this run are made alike.

        Args:
            runtime: whose names of headers the answer shall be given.
        """
        names = RENAMED_HEADERS.get(runtime, {})
        headers = ((names.get(name, name), value) for name, value in self.headers)
        kept = [(name, value) for name, value in headers if name not in TRANSPORT_HEADERS]
        body = _NOW.sub(b'"<now>"', self.body)
        if body != self.body:  # an ETag of what was said tells the same time
            kept = [(n, _DIGEST.sub("-<now>", v) if n == "etag" else v) for n, v in kept]
        return self.status, sorted(kept), body


_NOW = re.compile(rb'"20(?!20)\d\d-\d\d-\d\dT[0-9:.]+Z"')
"""Any time but those of ``world.seed``."""
_DIGEST = re.compile('-[0-9a-f]{16}(?="$)')


def cases(at: int) -> tuple[Case, ...]:
    """The table, its events signed at this second and its tokens good for an hour from then."""
    return (*_server(), *_api(at), *_events(at), *_bytes(at), *_signatures(at), *_requests(at))


def _server() -> Iterator[Case]:
    def case(name: str, method: str, target: str, status: int, code: str = "") -> Case:
        return Case(
            name=name, part="server", method=method, target=target, status=status, code=code
        )

    yield case("the process is alive", "GET", "/healthz", 200)
    yield case("an event could be processed", "GET", "/readyz", 200)
    yield case("a probe asked by HEAD", "HEAD", "/healthz", 200)
    yield case("a probe takes no POST", "POST", "/healthz", 405, "method_not_allowed")
    yield case("a query at a probe is ignored", "GET", "/healthz?x=1", 200)
    yield case("an address that there is not", "GET", "/nowhere", 404, "not_found")
    yield case("the same by POST", "POST", "/nowhere", 404, "not_found")
    yield case("a function that there is not", "POST", f"{FUNCTIONS}/nobody", 404, "not_found")
    yield case("what only begins like a function", "POST", f"{HOOK}-", 404, "not_found")
    yield case("a slash too many", "POST", f"{HOOK}/", 404, "not_found")
    yield case("a path that is not UTF-8", "GET", "/%FF", 404, "not_found")


def _api(at: int) -> Iterator[Case]:
    ada, bob = ("Authorization", bearer("ada", at)), ("Authorization", bearer("bob", at))

    def case(
        name: str,
        method: str,
        target: str,
        status: int,
        *headers: tuple[str, str],
        body: bytes = b"",
        code: str = "",
        says: bytes | None = None,
        differs: Mapping[str, str] | None = None,
    ) -> Case:
        return Case(
            name=name,
            part="api",
            method=method,
            target=target,
            status=status,
            headers=headers,
            body=body,
            code=code,
            says=says,
            differs=differs or {},
        )

    api, user = "/api", f"/api/users/{person('bob')}"
    yield case("anybody may ask for health", "GET", f"{api}/health", 200)
    yield case("the function's own address", "GET", f"{FUNCTIONS}/api/health", 200)
    yield case("a resource that there is not", "GET", f"{api}/nothing", 404, ada, code="not_found")
    yield case("the API itself is no resource", "GET", api, 404, code="not_found")
    yield case("a slash at the end", "GET", f"{api}/me/", 404, bob, code="not_found")
    yield case("two slashes", "GET", f"{api}//me", 404, bob, code="not_found")
    yield case("another spelling", "GET", "/API/me", 404, bob, code="not_found")
    yield case("a method that is not offered", "PUT", f"{api}/me", 405, code="method_not_allowed")
    yield case("a method of nobody", "BREW", f"{api}/me", 405, code="method_not_allowed")

    # Who calls
    yield case("no token", "GET", f"{api}/me", 401, code="unauthenticated")
    yield case("no token, by HEAD", "HEAD", f"{api}/me", 401)
    for name, value in (
        ("a token that is none", "Bearer a.b.c"),
        ("another scheme", "Basic dXNlcjpwYXNzd29yZA=="),
        ("an old token", bearer("bob", at, exp=at - 3600)),
    ):
        sent = ("Authorization", value)
        yield case(name, "GET", f"{api}/me", 401, sent, code="unauthenticated")
    yield case("two tokens", "GET", f"{api}/me", 401, bob, ada, code="unauthenticated")
    yield case("one's own record", "GET", f"{api}/me", 200, bob)
    yield case("in odd letters", "GET", f"{api}/me", 200, ("aUTHORIZATION", bob[1]))
    cookie = ("Cookie", f"theme=dark; nf_jwt={access_token('bob', at)}")
    yield case("by cookie", "GET", f"{api}/me", 200, cookie)
    yield case("HEAD has the headers of GET", "HEAD", f"{api}/me", 200, bob)
    yield case("a body of GET is not read", "GET", f"{api}/me", 200, bob, JSON, body=b'{"a":1}')
    for name, code in (("sue", "account_suspended"), ("eve", "account_deleted")):
        sent = ("Authorization", bearer(name, at))
        yield case(f"{name} is out", "GET", f"{api}/me", 403, sent, code=code)
    yield case("no administrator", "GET", f"{api}/users", 403, bob, code="forbidden")

    # Lists and queries
    one = f"{api}/users?limit=1"
    yield case("a page with a link to the next", "GET", one, 200, ada)
    yield case("the outbox, empty", "GET", f"{api}/outbox", 200, ada)
    retry = f"{api}/outbox/1/retry"
    yield case("a change that is gone", "POST", retry, 404, ada, code="change_not_found")
    yield case("a page as CSV", "GET", one, 200, ada, ("Accept", "text/csv"))
    yield case("filters", "GET", f"{api}/users?status=active&role=admin&sort=email", 200, ada)
    yield case("an encoded value", "GET", f"{api}/users?email=sue%2Bsusp", 200, ada)
    yield case("a plus is a space", "GET", f"{api}/users?email=sue+susp", 200, ada)
    yield case("letters beyond ASCII", "GET", f"{api}/users?email=%C3%A9", 200, ada)
    yield case("an empty value", "GET", f"{api}/users?email=", 200, ada)
    for name, query in (
        ("a key twice", "limit=1&limit=1"),
        ("a key twice, apart", "limit=1&email=a&limit=2"),
        ("an unknown key", "colour=red"),
        ("a value out of range", "limit=0"),
        ("a key without a value", "limit"),
    ):
        yield case(name, "GET", f"{api}/users?{query}", 400, ada, code="input_invalid")
    yield case(
        "an unreadable cursor", "GET", f"{api}/users?cursor=AAAA", 400, ada, code="cursor_invalid"
    )
    yield case(
        "a query that is not UTF-8",
        "GET",
        f"{api}/users?email=%FF",
        400,
        ada,
        code="bad_request",
        differs=dict.fromkeys(("rest", "http1"), "the gateway decodes the query before us"),
    )
    yield case("one record, with its ETag", "GET", user, 200, ada)
    has = ("If-None-Match", "*")
    yield case("what one has already", "GET", f"{api}/me", 304, ada, has, says=b"")
    nobody = f"{api}/users/{person('nobody')}"
    yield case("somebody unknown", "GET", nobody, 404, ada, code="user_not_found")
    yield case("an id that is none", "GET", f"{api}/users/1", 404, ada, code="user_not_found")

    # Pages of other sites
    origin, asked = ("Origin", ORIGIN), ("Access-Control-Request-Method", "GET")
    other = ("Origin", "https://other.example")
    yield case("an origin on the list", "GET", f"{api}/me", 200, bob, origin)
    yield case("an origin not on the list", "GET", f"{api}/me", 200, bob, other)
    yield case("two origins", "GET", f"{api}/me", 200, bob, origin, origin)
    yield case("options", "OPTIONS", f"{api}/users", 204)
    yield case("a preflight", "OPTIONS", f"{api}/users", 204, origin, asked)
    yield case("a preflight from elsewhere", "OPTIONS", f"{api}/users", 204, other, asked)

    # The door
    door = f"{api}/door"
    for name, body in (
        ("door without an address", b"{}"),
        ("door with two addresses", b'{"email":"a@b.c","email":"d@e.f"}'),
        ("door with a list", b'{"email":["a@b.c"]}'),
        ("door with an address that is too long", b'{"email":"' + b"a" * 320 + b'@b.c"}'),
    ):
        yield case(name, "POST", door, 400, JSON, body=body, code="input_invalid")
    yield case("door about somebody whom nobody refused", "POST", door, 200, JSON, origin,
               body=b'{"email":"three@example.com"}', says=render(NO_REASON).encode())  # fmt: skip
    yield case("door takes no GET", "GET", door, 405, code="method_not_allowed")
    yield case("door from another site", "OPTIONS", door, 204, origin,
               ("Access-Control-Request-Method", "POST"))  # fmt: skip

    # Writing
    patch = f"{api}/me"
    profile = '{"profile":{"name":"Zoë 🎭"}}'.encode()
    yield case("a profile beyond ASCII", "PATCH", patch, 200, bob, JSON, body=profile)
    yield case("no body", "PATCH", patch, 400, bob, JSON, code="input_invalid")
    yield case(
        "a body that is not UTF-8", "PATCH", patch, 400, bob, JSON,
        body=b'{"profile":{"name":"\xff\xfe"}}', code="input_invalid",
    )  # fmt: skip
    yield case(
        "broken JSON", "PATCH", patch, 400, bob, JSON, body=b'{"profile":', code="input_invalid"
    )
    yield case(
        "a body where none is taken", "DELETE", f"{user}/roles/staff", 400, ada, JSON,
        body=b"{}", code="input_invalid",
    )  # fmt: skip
    types: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
        ("a type that is not JSON", (("Content-Type", "text/plain"),)),
        ("a type twice", (JSON, JSON)),
        ("no type", ()),
    )
    for name, media_types in types:
        yield case(
            name, "PATCH", patch, 415, bob, *media_types, body=b"{}", code="unsupported_media_type"
        )
    large = b'{"profile":{"a":"' + b"x" * CAP + b'"}}'
    yield case("too large", "PATCH", patch, 413, bob, JSON, body=large, code="body_too_large")
    yield case(
        "too large, and from nobody", "PATCH", patch, 413, JSON, body=large, code="body_too_large"
    )
    yield case("a cookie changes nothing", "PATCH", patch, 401, cookie, JSON,
               body=b'{"profile":{}}', code="unauthenticated")  # fmt: skip
    stale, twice = ("If-Match", '"99"'), (("If-Match", '"98"'), ("If-Match", '"99"'))
    role = f"{user}/roles/{quote('café bar')}"
    for name, conditions in (("an old ETag", (stale,)), ("two ETags", twice)):
        yield case(name, "PUT", role, 412, ada, *conditions, code="precondition_failed")
    yield case("an encoded path", "PUT", role, 200, ada)
    yield case("the same role again", "GET", f"{user}/roles", 200, ada)
    yield case("taken away", "DELETE", role, 200, ada)
    yield case("decoded once only", "PUT", f"{user}/roles/a%252Fb", 200, ada)
    yield case("a slash is a slash", "PUT", f"{user}/roles/a%2Fb", 404, ada, code="not_found")
    yield case("a plus in a path is a plus", "PUT", f"{user}/roles/a+b", 200, ada)
    # The last one: what it does differs
    yield case("a question mark in a path", "PUT", f"{user}/roles/a%3Fb", 200, ada,
               differs={"http": CUT, "http1": CUT})  # fmt: skip


CUT: Final = "an HTTP API cuts the path at a question mark that it decoded"


def _delivery(
    at: int,
    name: str,
    function: str,
    body: bytes,
    status: int,
    *headers: tuple[str, str],
    method: str = "POST",
    sign: bool = True,
    code: str = "",
    says: bytes | None = None,
) -> Case:
    sent = headers or (JSON,)
    if sign:
        sent = (*sent, ("X-Webhook-Signature", signature(body, at)))
    return Case(
        name=name,
        part="hook",
        method=method,
        target=f"{FUNCTIONS}/{function}",
        status=status,
        headers=sent,
        body=body,
        code=code,
        says=says,
    )


GIVEN: Final = {"provider": "email", "roles": ["member", "staff"]}
ROLES: Final = b'{"app_metadata":{"provider":"email","roles":["member","staff"]}}'


def _events(at: int) -> Iterator[Case]:
    """Every event, at its own address and at the one for all; and what may come of one."""
    case = partial(_delivery, at)
    for function in ("{}", "identity-{}"):
        who = "one" if function == "{}" else "two"
        for event, status, says in (
            ("validate", 204, b""),
            ("signup", 200, ROLES),
            ("login", 200, ROLES),
            ("usermodified", 204, b""),
            ("userdeleted", 204, b""),
        ):
            held = GIVEN if event in ("usermodified", "userdeleted") else {"provider": "email"}
            body = body_of(event, who, app_metadata=held)
            address = "identity" if function == "{}" else function.format(event)
            yield case(f"{event} at {address}", address, body, status, says=says)
    login = body_of("login", "three", app_metadata=GIVEN)
    yield case("nothing to change", "identity", login, 204, says=b"")
    yield case("the same delivery again", "identity", login, 204, says=b"")
    for event in ("validate", "signup"):
        body = body_of(event, "four", "four@mailinator.com")
        for tries in ("", ", again"):
            yield case(f"{event} denied{tries}", "identity", body, 403, code="denied")
    unknown = body_of("login", "five").replace(b'"login"', b'"promoted"')
    yield case("an event of the future", "identity", unknown, 204, says=b"")


def _bytes(at: int) -> Iterator[Case]:
    """What was signed is what came, byte for byte."""
    case = partial(_delivery, at)
    wide = body_of("signup", "six", user_metadata={"full_name": "Zoë 🎭 \\ \u2028"})
    yield case("letters beyond ASCII", "identity", wide, 200, says=ROLES)
    spaced = b" \r\n" + body_of("signup", "seven").replace(b",", b" ,\t") + b"\r\n\r\n"
    yield case("every space counts", "identity", spaced, 200, says=ROLES)
    for name, body in (
        ("not UTF-8", body_of("signup", "eight").replace(b"eight@", b"\xff\xfe\x80@")),
        ("no JSON", b"\x00\x01\x02"),
        ("a byte order mark", b"\xef\xbb\xbf" + body_of("signup", "eight")),
        ("an empty body", b""),
    ):
        yield case(name, "identity", body, 400, code="body_json")
    part = body_of("signup", "eight").replace(b'"email":"', b'"email":7,"was":"')
    yield case("a field of another type", "identity", part, 400, code="body_field")


def _signatures(at: int) -> Iterator[Case]:
    """One good signature, or nothing."""
    case = partial(_delivery, at)
    body = body_of("signup", "nine")
    sign = ("X-Webhook-Signature", signature(body, at))
    late = ("X-Webhook-Signature", signature(body, at - 3600))
    for name, sent in (
        ("no signature", ()),
        ("two signatures", (sign, sign)),
        ("an old signature", (late,)),
        ("no token at all", (("X-Webhook-Signature", "nonsense"),)),
    ):
        yield case(
            name, "identity", body, 401, JSON, *sent, sign=False, code="signature_invalid",
            says=GENERIC_401,
        )  # fmt: skip
    for name, altered in (
        ("one byte more", body + b" "),
        ("one letter changed", body.replace(b"nine", b"Nine")),
        ("no body", b""),
    ):
        yield case(
            name, "identity", altered, 401, JSON, sign, sign=False, says=GENERIC_401,
            code="signature_invalid",
        )  # fmt: skip
    for event, status, text in (("login", 401, GENERIC_401), ("userdeleted", 204, b"")):
        other = body_of(event, "three").replace(str(UUID(int=0)).encode(), OTHER.encode())
        signer = token(claims(other, at, sub=f'"{OTHER}"'))
        yield case(
            f"{event} of another instance", "identity", other, status, JSON,
            ("X-Webhook-Signature", signer), sign=False, says=text,
            code="signature_invalid" if status == 401 else "",
        )  # fmt: skip
    odd = (("cOnTeNt-tYpE", "Application/JSON; charset=utf-8"), ("x-WEBHOOK-signature", sign[1]))
    yield case("odd letters in headers", "identity", body, 200, *odd, sign=False, says=ROLES)


def _requests(at: int) -> Iterator[Case]:
    """The request around the event."""
    case = partial(_delivery, at)
    body = body_of("signup", "nine")
    login = body_of("login", "three", app_metadata=GIVEN)
    yield case("another event's address", "identity-login", body, 400, code="event_mismatch")
    yield case("a query is ignored", "identity?a=1&a=%FF", login, 204, says=b"")
    yield case("an encoded address", "identity%2Dlogin", login, 204, says=b"")
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        code = "" if method == "HEAD" else "method_not_allowed"
        yield case(f"{method} is not taken", "identity", b"", 405, method=method, code=code)
    yield case("PUT with a good event", "identity", body, 405, method="PUT",
               code="method_not_allowed")  # fmt: skip
    for name, types in (
        ("a type that is not JSON", (("Content-Type", "text/plain"),)),
        ("a type twice", (JSON, JSON)),
        ("no type", (("Accept", "*/*"),)),
    ):
        yield case(name, "identity", body, 415, *types, code="unsupported_media_type")
    large = body_of("signup", "ten", user_metadata={"x": "x" * CAP})
    yield case("large, and signed", "identity", large, 200, says=ROLES)
    yield case("too large, and from nobody", "identity", large, 413, JSON, sign=False,
               code="body_too_large")  # fmt: skip
    yield case("too large, and not JSON either", "identity", large, 413,
               ("Content-Type", "text/plain"), code="body_too_large")  # fmt: skip
