"""Forged events and access tokens: refused inside Netlify's functions as anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.access_tokens import FORGED, good
from tests.api.api_support import JWT_SECRET, People
from tests.contract.cases import GENERIC_401, JSON
from tests.door import now
from tests.forge import good as signature
from tests.forgeries import FORGERIES
from tests.netlify.bootstrapped import bootstrapped, inside, logged
from tests.netlify.functions import HOOK, Functions, Told
from tests.server.test_bad_input import BODIES, HEADERS, signup
from tests.store.store_support import counts
from tests.support import NOON
from usher.core.app import App
from usher.core.errors import Check
from usher.core.settings import Settings
from usher.core.store.database import Database

SIGNATURE: Final = "X-Webhook-Signature"
TAKEN: Final = ("users", "deliveries", "audit")
Pairs = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the functions print."""
    return tmp_path_factory.mktemp("forged") / "log"


@pytest.fixture(scope="module")
def served(
    site: Path, postgresql_server: str, log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Functions]:
    """The functions on PostgreSQL."""
    variables = {
        "USHER_DATABASE_URL": inside(postgresql_server),
        "USHER_JWT_SECRET": JWT_SECRET.decode(),
    }
    with bootstrapped(site, tmp_path_factory, variables, log) as running:
        yield running


def headers(lines: list[bytes]) -> Pairs:
    """Lines of a request as names and values."""
    parts = (line.decode("latin-1").partition(":") for line in lines)
    return tuple((name, value.strip()) for name, _, value in parts)


def forged() -> Iterator[tuple[str, bytes, Pairs, Check]]:
    """Every forgery: a body, headers, and the check that it fails."""
    body = signup()
    for name, forgery in FORGERIES.items():
        yield name, body, ((SIGNATURE, forgery.make(body, now())),), forgery.check
    sealed = signature(body, now()).encode()
    for name, (lines, check) in HEADERS.items():
        yield name, body, headers([line.replace(b"GOOD", sealed) for line in lines]), check
    for octets in (b"\xff.\xfe.\xff", "é.é.é".encode(), b"a.b.\x80"):
        sent = ((SIGNATURE, octets.decode("latin-1")),)
        yield repr(octets), body, sent, Check.TOKEN_ENCODING
    written_again = json.dumps(json.loads(body)).encode()
    of_body = ((SIGNATURE, sealed.decode()),)
    for altered in (body.replace(b"ada@", b"eve@"), body[:-1], body + b"\n", written_again, b""):
        yield f"altered: {altered[:9]!r}", altered, of_body, Check.CLAIM_SHA256


def test_a_forged_event_is_refused_and_only_the_log_knows_why(
    served: Functions, log: Path, postgresql_url: str
) -> None:
    """401, the same bytes for each; nothing is stored, and no token is in the log."""
    database = Database(postgresql_url)
    before = counts(database)
    found: dict[str, object] = {}
    looks: set[tuple[object, ...]] = set()
    for name, body, sent, check in forged():
        read = len(logged(log)) if log.exists() else 0
        told = served.ask(HOOK, headers=(JSON, *sent), body=body)
        lines = logged(log)[read:]
        said = [(line["event"], line.get("reason")) for line in lines]
        if (told.status, told.body) != (401, GENERIC_401):
            found[name] = told
        elif said != [("signature.rejected", check.value)]:
            found[name] = said
        for _, value in sent:
            assert len(value) < 20 or value not in json.dumps(lines), name
        kept = (pair for pair in told.headers.items() if not pair[0].startswith("x-nf-"))
        looks.add(tuple(sorted(kept)))
    assert found == {}
    assert len(looks) == 1
    assert counts(database) == before
    database.dispose()


def test_a_body_that_is_no_event_is_refused_with_its_code(
    served: Functions, postgresql_url: str
) -> None:
    """After a good signature: 400, whatever bytes they are."""

    def send(body: bytes) -> Told:
        return served.ask(HOOK, headers=(JSON, (SIGNATURE, signature(body, now()))), body=body)

    told = {name: (send(body), code) for name, (body, code) in BODIES.items()}
    wrong = {
        name: answer
        for name, (answer, code) in told.items()
        if answer.status not in (400, 401) or answer.document["code"] != code
    }
    assert wrong == {}
    database = Database(postgresql_url)
    assert counts(database)["users"] == 0
    database.dispose()


def test_an_access_token_that_is_not_good_opens_nothing(
    served: Functions, postgresql_url: str, make_settings: Callable[..., Settings]
) -> None:
    """401, at the hour in which the tokens would be good; the good one opens."""
    settings = make_settings(database_url=postgresql_url, jwt_secret=JWT_SECRET)
    app = App(settings, lambda: NOON)
    people = People(app)
    clock = int(NOON.timestamp() * 1000)

    def ask(token: str) -> Told:
        offered = (("Authorization", token),)
        return served.ask("/api/users", "GET", headers=offered, clock=clock)

    assert ask(f"Bearer {good(people)}").status == 200
    told = {name: ask(make(people)) for name, make in FORGED.items()}
    wrong = {
        name: answer
        for name, answer in told.items()
        if (answer.status, answer.document.get("code")) != (401, "unauthenticated")
        or b"claim" in answer.body
        or b"signature" in answer.body
        or (b"expired" in answer.body) is not (name == "expired")
    }
    assert wrong == {}
    app.close()
