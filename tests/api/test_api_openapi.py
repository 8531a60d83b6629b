"""The OpenAPI document: valid, complete, and true for what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.api_support import People, ask
from usher.functions.api_methods import OPERATIONS

OPEN = {"/health", "/openapi.json", "/door"}


@pytest.fixture(name="document")
def _document(sqlite_people: People) -> Any:
    del sqlite_people
    return ask("GET", "/openapi.json").json


def test_it_is_valid_and_served_to_anybody(document: Any) -> None:
    """OpenAPI 3.1, by its own rules."""
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_it_describes_every_operation_with_whom_it_is_for(document: Any) -> None:
    """A method of a path, its refusals, and who may call it."""
    for operation in OPERATIONS:
        described = document["paths"][operation.path][operation.method.lower()]
        assert described["summary"]
        if operation.path in OPEN:
            assert described["security"] == []
        else:
            assert {"bearer": []} in described["security"]
            assert {"401", "403"} <= set(described["responses"])
            cookie = {"cookie": []} in described["security"]
            assert cookie == (operation.method == "GET")
    identifiers = [
        each["operationId"] for path in document["paths"].values() for each in path.values()
    ]
    assert len(identifiers) == len(set(identifiers)) == len(OPERATIONS)


ANSWERS = [
    ("GET", "/health"), ("GET", "/me"), ("GET", "/users"), ("GET", "/users/{id}"),
    ("GET", "/users/{id}/roles"), ("GET", "/users/{id}/events"), ("GET", "/roles"),
    ("GET", "/events"), ("GET", "/audit"), ("GET", "/stats"), ("GET", "/policy"),
    ("GET", "/policy/me"), ("GET", "/me/requests"), ("GET", "/requests"),
    ("GET", "/requests/{number}"),
    ("GET", "/codes"), ("GET", "/policy/shadow"), ("GET", "/keys"), ("GET", "/changes"),
    ("GET", "/sinks"), ("GET", "/outbox"), ("GET", "/users/{id}/changes"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ANSWERS)
def test_answers_are_as_described(
    sqlite_people: People, document: Any, method: str, path: str
) -> None:
    """Not a member more, nor less."""
    for name in ("user", "suspended", "deleted"):
        address = path.replace("{id}", str(sqlite_people.ids[name]))
        address = address.replace("{number}", "1")
        answer = sqlite_people.ask("administrator", method, address)
        responses = document["paths"][path][method.lower()]["responses"]
        shape = responses[str(answer.status)]["content"]["application/json"]["schema"]
        schema = {**shape, "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)
