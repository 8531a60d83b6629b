"""``/openapi.json``: the API in OpenAPI 3.1, made from the route table and the models. Public."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from usher.core.settings import PREFIX
from usher.core.strict_json import dumps
from usher.functions._shared.http import Response
from usher.functions._shared.operation import MERGE_PATCH, Access, Call, Document, Input, Operation
from usher.functions.api_methods import schemas

REFERENCE: Final = "#/components/schemas/{model}"
_MEANINGS: Final = {
    400: "What was sent is not valid.",
    401: "No access token and no key, or none that is good.",
    403: "The account is shut out, or lacks the administrators' role; or the key lacks the scope.",
    404: "There is no such record.",
    405: "The address does not take this method.",
    409: "The record does not allow it.",
    410: "Entries after the cursor may have been removed.",
    412: "The record was changed meanwhile.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "The caller asks more often than allowed; Retry-After says when to come again.",
    503: "The database, or Identity, cannot be asked now.",
}
_PARAMETERS: Final = {
    "id": "A UUID of a user; of an event, the first characters of its id.",
    "role": "The name of a role.",
    "number": "The number of a request.",
    "code": "A UUID of an invitation code.",
    "key": "The name of a key.",
    "sink": "A UUID of a sink.",
}


def operations(table: Callable[[], Sequence[Operation]]) -> tuple[Operation, ...]:
    """Return the operation that describes a table, itself included."""

    @cache
    def text() -> str:
        return dumps(describe(table()))

    def read(_call: Call) -> Response:
        return Response(200, text(), "application/json")

    summary = "This description"
    return (Operation("GET", "/openapi.json", summary, Access.PUBLIC, read, Anything),)


class Anything(BaseModel):
    """Any JSON object."""


def describe(table: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of these operations."""
    models: list[type[BaseModel]] = [schemas.Problem]
    for operation in table:
        models += [model for model in (operation.body, operation.answer) if model]
    unique = list(dict.fromkeys(models))
    _, definitions = models_json_schema(
        [
            (model, "serialization" if issubclass(model, Document) else "validation")
            for model in unique
        ],
        ref_template=REFERENCE,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Usher",
            "version": "1",
            "description": "Users, roles, events and audit of a site's Netlify Identity accounts.",
        },
        "servers": [{"url": "/api"}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "nf_jwt"},
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of a machine, with the scopes that are listed.",
                },
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _identifier(operation),
        "summary": operation.summary,
        "description": _for_whom(operation),
        "security": _security(operation),
        "parameters": [*_path_parameters(operation), *_query_parameters(operation.query)],
        "responses": _responses(operation),
    }
    if operation.conditional:
        described["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "The ETag of the version that is meant; 412 when it is another.",
                "schema": {"type": "string"},
            }
        )
    if operation.cached:
        described["parameters"].append(
            {
                "name": "If-None-Match",
                "in": "header",
                "description": "ETags of answers that the caller has; 304 where one is of now.",
                "schema": {"type": "string"},
            }
        )
    if operation.body:
        content = {"schema": {"$ref": REFERENCE.format(model=operation.body.__name__)}}
        types = ["application/json", *([MERGE_PATCH] if operation.method == "PATCH" else [])]
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": dict.fromkeys(types, content),
        }
    return described


def _for_whom(operation: Operation) -> str:
    keys = f", and keys with `{operation.scope}`" if operation.scope else ""
    return f"For {operation.access.value}{keys}."


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.access is Access.PUBLIC:
        return []
    ways: list[dict[str, list[str]]] = [{"bearer": []}]
    if operation.method == "GET":
        ways.append({"cookie": []})
    if operation.scope is not None:
        ways.append({"key": [operation.scope.value]})
    return ways


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _query_parameters(model: type[Input]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer:
        shape = {"$ref": REFERENCE.format(model=operation.answer.__name__)}
        good["content"] = {"application/json": {"schema": shape}}
    if operation.csv:
        good["content"]["text/csv"] = {"schema": {"type": "string"}}
    if operation.pages:
        text = 'The next page: `<address>; rel="next"` (RFC 8288); absent on the last.'
        good["headers"] = {"Link": {"description": text, "schema": {"type": "string"}}}
    statuses = {400, 405, 503, *operation.errors}
    meanings = dict(_MEANINGS)
    if operation.setting:
        statuses |= {404}
        meanings[404] = f"{PREFIX}{operation.setting.upper()} is not on."
    if operation.access is not Access.PUBLIC:
        statuses |= {401, 403, 429}
    if operation.body:
        statuses |= {413, 415}
    if operation.conditional:
        statuses |= {412}
    problem = {"application/problem+json": {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
    cached = {"304": {"description": "The caller has this answer."}} if operation.cached else {}
    return {
        str(operation.status): good,
        **cached,
        **{
            str(status): {"description": meanings[status], "content": problem}
            for status in sorted(statuses)
        },
    }


def _identifier(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path.replace("{", "by {"))
    return "_".join([operation.method.lower(), *words])
