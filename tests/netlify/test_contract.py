"""The contract's table, and every forgery, through the functions of the bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.contract.cases import GENERIC_401, HOOK, JSON, Answer, Case, cases
from tests.contract.conftest import reference, seeded
from tests.contract.test_contract import wrong
from tests.contract.world import VARIABLES
from tests.forgeries import FORGERIES
from tests.netlify.functions import Functions, functions
from tests.support import account
from usher.emulator.payload import event_body
from usher.netlify.entry import FOR_IDENTITY
from usher.server import routes

__all__ = ["reference", "seeded"]

JOINED: Final = "a Request joins headers that come twice, so the sentence names them otherwise"
DIFFERS: Final[Mapping[str, str]] = {
    "api: a type twice": JOINED,
    "hook: a type twice": JOINED,
}
IMPOSSIBLE: Final = "api: a body of GET is not read"
"""A Request cannot be made so; Netlify's bootstrap answers 500 before the function is called."""


def send(running: Functions, case: Case) -> Answer:
    """The answer of the function at an address, without what only answers to Identity have."""
    name = "api" if routes.is_api(case.target.partition("?")[0]) else "identity"
    told = running.ask(
        case.target,
        case.method,
        headers=case.headers,
        body=case.body or None,
        name=name,
    )
    headers = {**told.headers}
    if name == "identity":
        assert headers.pop("cache-control") == FOR_IDENTITY["Cache-Control"]
        headers["cache-control"] = "no-store"
    return Answer(told.status, tuple(headers.items()), told.body)


def test_the_functions_answer_as_the_handlers(
    site: Path,
    postgresql_url: str,
    seeded: Callable[[str], str],
    reference: Mapping[str, Answer],
) -> None:
    """All that a request of the web's own form can say."""
    url = seeded(postgresql_url).replace("+psycopg", "")
    found: dict[str, object] = {}
    with functions(site, None, USHER_DATABASE_URL=url, **VARIABLES) as running:
        for case in cases(int(time.time())):
            if case.id == IMPOSSIBLE:
                continue
            answer, same = send(running, case), reference[case.id]
            if problems := list(wrong(case, answer)):
                found[case.id] = problems
            elif (answer.comparable() == same.comparable()) == (case.id in DIFFERS):
                found[case.id] = {"was": answer, "handlers": same}
    assert found == {}


def test_every_forgery_is_refused(site: Path, tmp_path: Path) -> None:
    """By the check that must refuse it, and with the answer that all of them get."""
    body, log = event_body("signup", account()), tmp_path / "log"
    with functions(site, log) as running:
        for forgery in FORGERIES.values():
            headers = [JSON, ("X-Webhook-Signature", forgery.make(body, int(time.time())))]
            told = running.ask(HOOK, headers=headers, body=body)
            assert (told.status, told.body) == (401, GENERIC_401)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = dict(zip(FORGERIES, (line["reason"] for line in lines), strict=True))
    assert found == {name: forgery.check.value for name, forgery in FORGERIES.items()}
