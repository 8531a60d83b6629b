"""The same requests through every runtime: the same status, headers and bytes."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.cases import Answer, Case, cases
from tests.contract.gateways import GATEWAYS, received
from tests.contract.runtime_api import function
from tests.contract.runtimes import Runtime, over_http
from tests.contract.world import VARIABLES
from tests.support import Server


def wrong(case: Case, answer: Answer) -> Iterator[str]:
    """Where an answer is not what the table says."""
    if answer.status != case.status:
        yield f"status {answer.status}, not {case.status}"
    if case.code:
        code = json.loads(answer.body).get("code") if answer.body else "none"
        if code != case.code:
            yield f"code {code}, not {case.code}"
    if case.says is not None and answer.body != case.says:
        yield f"body {answer.body!r}"
    if (case.method == "HEAD" or case.status == 204) and answer.body:
        yield "a body where none belongs"


def check(send: Runtime, reference: Mapping[str, Answer], name: str) -> None:
    """Send the table through a runtime: as the table says, and as the handlers answered."""
    found: dict[str, object] = {}
    for case in cases(int(time.time())):
        answer, same = send(case), reference[case.id]
        if name in case.differs:
            if answer.comparable() == same.comparable(name):
                found[case.id] = f"no difference, though: {case.differs[name]}"
        elif problems := list(wrong(case, answer)):
            found[case.id] = problems
        elif answer.comparable() != same.comparable(name):
            found[case.id] = {"was": answer, "handlers": same}
    assert found == {}


def test_the_table_names_each_case_once() -> None:
    """A name finds its case."""
    named = Counter(case.id for case in cases(0))
    assert [name for name, count in named.items() if count > 1] == []


def test_the_handlers_answer_as_the_table_says(reference: Mapping[str, Answer]) -> None:
    """Called directly, with the event of Netlify's functions."""
    found = {case.id: list(wrong(case, reference[case.id])) for case in cases(0)}
    assert {name: problems for name, problems in found.items() if problems} == {}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_server_answers_as_the_handlers(
    database: str,
    request: pytest.FixtureRequest,
    seeded: Callable[[str], str],
    start_server: Callable[..., Server],
    reference: Mapping[str, Answer],
    tmp_path: Path,
) -> None:
    """`usher serve` over HTTP, with either database."""
    url = request.getfixturevalue(f"{database}_url")
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'served.db'}"
    server = start_server(seeded(url), **VARIABLES)
    check(over_http(server.port), reference, "server")


@pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric runs on Linux only, as Lambda")
@pytest.mark.parametrize("gateway", sorted(GATEWAYS))
def test_lambda_answers_as_the_handlers(
    gateway: str,
    postgresql_url: str,
    policy_file: Path,
    seeded: Callable[[str], str],
    reference: Mapping[str, Answer],
    tmp_path: Path,
) -> None:
    """Under Lambda's own runtime, by each of AWS's ways in."""
    variables: dict[str, Any] = VARIABLES | {
        "USHER_DATABASE_URL": seeded(postgresql_url),
        "USHER_POLICY": str(policy_file),
    }
    with function(tmp_path, **variables) as running:

        def send(case: Case) -> Answer:
            return received(gateway, case, running.invoke(GATEWAYS[gateway](case)))

        check(send, reference, gateway)
