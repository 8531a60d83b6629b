"""The contract's table through a site's functions, with all that differs and its causes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.contract import conftest as contract
from tests.contract.cases import FUNCTIONS, GENERIC_401, HOOK, JSON, Answer, Case, cases
from tests.contract.runtimes import Runtime, over_http
from tests.contract.test_contract import wrong
from tests.contract.world import VARIABLES, body_of, signature
from tests.forgeries import FORGERIES
from tests.netlify.bootstrapped import bootstrapped, inside
from tests.netlify_site import netlify_dev
from tests.store.store_support import counts
from usher.core.store.database import Database

reference = contract.reference
seeded = contract.seeded


SIGNATURE: Final = "X-Webhook-Signature"
NO_TRANSFORM: Final = ("cache-control", "no-store, no-transform")
"""What answers to Identity say there, and elsewhere without the second half."""


class Other(NamedTuple):
    """Another answer than elsewhere: its status, and the cause."""

    status: int
    why: str


TYPED: Final = "a body of text without a type gets one before us; the sentence names it"
JOINED: Final = "headers of one name are joined before us; the sentence names both types"
NO_BODY: Final = "Netlify's bootstrap makes no request of GET with a body"
BOOTSTRAP_DIFFERS: Final[Mapping[str, Other]] = {
    "api: a body of GET is not read": Other(500, NO_BODY),
    "api: a type twice": Other(415, JOINED),
    "hook: a type twice": Other(415, JOINED),
    "api: no type": Other(415, TYPED),
    "hook: no type": Other(415, TYPED),
}
ONCE: Final = "Node keeps the first of such headers that come twice"
DROPPED: Final = "the command line drops a body without a type, and names one"
REPAIRED: Final = "the command line hands a body of JSON on as text, and repairs what is not UTF-8"
LATER: Final = "a case before it had an effect, so the record is one version ahead"
CLI_DIFFERS: Final[Mapping[str, Other]] = {
    "api: a method of nobody": Other(400, "Node's HTTP knows no such method"),
    "api: two tokens": Other(200, ONCE),
    "api: a body of GET is not read": Other(500, NO_BODY),
    "api: a query that is not UTF-8": Other(200, "Netlify's proxy writes the query again"),
    "api: a body that is not UTF-8": Other(200, REPAIRED),
    "api: a type twice": Other(400, ONCE),
    "api: no type": Other(400, DROPPED),
    "api: an old ETag": Other(412, LATER),
    "api: two ETags": Other(412, LATER),
    "api: an encoded path": Other(200, LATER),
    "api: the same role again": Other(200, LATER),
    "api: taken away": Other(200, LATER),
    "api: decoded once only": Other(200, LATER),
    "api: a plus in a path is a plus": Other(200, LATER),
    "api: a question mark in a path": Other(200, LATER),
    "hook: not UTF-8": Other(401, REPAIRED),
    "hook: a byte order mark": Other(401, REPAIRED),
    "hook: a type twice": Other(200, ONCE),
}
"""What Netlify's command line changes; nothing passes for an event but what was signed."""
PAGE: Final = "<!doctype html><title>A site</title>"
REDIRECT: Final = """
[build]
publish = "public"
[functions]
directory = "netlify/functions"
[[redirects]]
from = "/api/*"
to = "/.netlify/functions/api"
status = 200
force = true
"""
"""As usher netlify setup writes it."""
NETLIFYS: Final = ("x-nf-", "x-powered-by")
WEAK: Final = "W/"
"""How the ETags begin that the command line gives to what has none of ours."""


def offered(at: int) -> Iterator[Case]:
    """The cases for the two functions that a site has.

    The others are a server's own, and addresses of events that Netlify reserves.
    """
    for case in cases(at):
        path = case.target.partition("?")[0]
        if path in (HOOK, f"{FUNCTIONS}/api/health") or path.startswith("/api/"):
            yield case


def ours(case: Case, answer: Answer) -> Answer:
    """An answer as elsewhere: without what Netlify says of itself, and the adapter to Identity."""
    kept = [
        (name, value)
        for name, value in answer.headers
        if not name.startswith(NETLIFYS) and not (name == "etag" and value.startswith(WEAK))
    ]
    if case.part == "hook":
        kept[kept.index(NO_TRANSFORM)] = ("cache-control", "no-store")
    return Answer(answer.status, tuple(kept), answer.body)


def compare(send: Runtime, reference: Mapping[str, Answer], differs: Mapping[str, Other]) -> None:
    """Send the offered cases in their order: the same status, headers and bytes."""
    found: dict[str, object] = {}
    for case in offered(int(time.time())):
        answer, same = ours(case, send(case)), reference[case.id]
        if other := differs.get(case.id):
            if answer.comparable() == same.comparable():
                found[case.id] = f"no difference, though: {other.why}"
            elif answer.status != other.status:
                found[case.id] = f"status {answer.status}, not {other.status}"
        elif problems := list(wrong(case, answer)):
            found[case.id] = problems
        elif answer.comparable() != same.comparable():
            found[case.id] = {"was": answer, "handlers": same}
    assert found == {}
    assert set(differs) <= {case.id for case in offered(0)}


def test_the_functions_answer_as_the_handlers(
    site: Path,
    postgresql_url: str,
    seeded: Callable[[str], str],
    reference: Mapping[str, Answer],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Under Netlify's bootstrap, in a process that goes on from case to case."""
    variables = VARIABLES | {"USHER_DATABASE_URL": inside(seeded(postgresql_url))}
    with bootstrapped(site, tmp_path_factory, variables) as running:

        def send(case: Case) -> Answer:
            told = running.ask(
                case.target,
                case.method,
                headers=case.headers,
                body=case.body or None,
                name="identity" if case.part == "hook" else "api",
            )
            return Answer(told.status, tuple(told.headers.items()), told.body)

        compare(send, reference, BOOTSTRAP_DIFFERS)


def forgeries(at: int) -> Iterator[tuple[tuple[tuple[str, str], ...], bytes]]:
    """Headers and bodies that the command line could change into something good."""
    body = body_of("signup", "mallory")
    sealed = signature(body, at)
    for name in (
        "wrong key",
        "percent-encoding",
        "a space in the payload",
        "a tab before the signature",
        "padding in the signature",
        "+ and /",
        "4097 characters",
    ):
        yield ((SIGNATURE, FORGERIES[name].make(body, at)),), body
    yield ((SIGNATURE, "bad"), (SIGNATURE, sealed)), body
    yield ((SIGNATURE, sealed), (SIGNATURE, sealed)), body
    for name in ("X-Nf-Sign", "X_Webhook_Signature", "Authorization"):
        yield ((name, sealed),), body
    yield (("X-Netlify-Event", "signup"), ("X-Nf-Sign", "a.b.c")), body
    for altered in (body + b"\r\n", body.replace(b"@", b"\xff@"), b""):
        yield ((SIGNATURE, sealed),), altered


def check_forgeries(send: Runtime, postgresql_url: str) -> None:
    """Each is refused as anywhere, and leaves nothing."""
    database = Database(postgresql_url)
    before = counts(database)
    found = [
        (headers, body[:9], answer)
        for headers, body in forgeries(int(time.time()))
        if (answer := send(forged_case(headers, body))).body != GENERIC_401 or answer.status != 401
    ]
    assert found == []
    assert counts(database) == before
    database.dispose()


def forged_case(headers: tuple[tuple[str, str], ...], body: bytes) -> Case:
    """A forgery as a request."""
    sent = (JSON, *headers)
    return Case(
        name="forged", part="hook", method="POST", target=HOOK, status=401, headers=sent, body=body
    )


def test_the_functions_answer_as_the_handlers_under_netlifys_command_line(
    site: Path,
    postgresql_url: str,
    seeded: Callable[[str], str],
    reference: Mapping[str, Answer],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each request starts Python anew, behind Netlify's own proxy and redirects."""
    project = tmp_path / "project"
    shutil.copytree(site, project, copy_function=os.link)
    (project / "netlify.toml").write_text(REDIRECT)
    (project / "public").mkdir()
    (project / "public" / "index.html").write_text(PAGE)
    variables = VARIABLES | {"USHER_DATABASE_URL": inside(seeded(postgresql_url))}
    with netlify_dev(project, tmp_path_factory, **variables) as running:
        check_forgeries(over_http(running.port), postgresql_url)
        compare(over_http(running.port), reference, CLI_DIFFERS)
