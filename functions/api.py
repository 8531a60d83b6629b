"""``/api/…`` and ``/.netlify/functions/api/…``: the central API function.

Each request is checked in one order, before anything runs: size, path, method, preflight, caller,
role, parameters and body. Then one small file of ``api_methods`` does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from usher.core import app
from usher.core.app import App
from usher.core.auth import Credentials, Principal, TrustedCaller
from usher.core.domain.records import Status
from usher.core.errors import (
    AccountWaitingError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    NotThroughSiteError,
    UnauthenticatedError,
)
from usher.core.jws import SITE_HEADER, require_site
from usher.core.keys import KEY_HEADER, Machine
from usher.core.log import elapsed_ms, get_logger
from usher.core.settings import Settings
from usher.functions._shared.addresses import API_BASES
from usher.functions._shared.cors import VARY, cors_headers, preflight
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, Response, hold
from usher.functions._shared.operation import Access, Call, Operation, read_body, read_query
from usher.functions.api_methods import find_operations


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one request in a platform's form.

    Args:
        event: as ``Request.from_event`` reads it.
        context: a ``usher.core.auth.TrustedCaller`` where the runtime vouches for the caller.
    """
    received = perf_counter()
    try:
        request = Request.from_event(event)
    except Exception as error:
        return failure(error).with_headers(VARY).to_dict()
    trusted = context if isinstance(context, TrustedCaller) else None
    return hold(answer(request, trusted), received).to_dict(request.method)


def answer(
    request: Request, trusted: TrustedCaller | None = None, network: str | None = None
) -> Response:
    """Answer one request; the runtime sends it when it is due (``Response.due_seconds``).

    Args:
        trusted: the caller, where the runtime vouches for them.
        network: the key of the caller's network, where the runtime knows it.
    """
    return _respond(
        request, lambda usher, fields: _answer(usher, request, trusted, network, fields)
    )


def refuse(request: Request, error: Exception) -> Response:
    """Answer a request whose body the runtime could not read, in the usual form."""

    def fail(_usher: App, _fields: dict[str, Any]) -> Response:
        raise error

    return _respond(request, fail)


def _respond(request: Request, work: Callable[[App, dict[str, Any]], Response]) -> Response:
    started = perf_counter()
    fields: dict[str, Any] = {}
    try:
        usher = app.current()
    except Exception as error:
        return failure(error).with_headers(VARY)
    try:
        _require_site(usher, request)
        response = work(usher, fields)
    except Exception as error:
        if isinstance(error, UnauthenticatedError | NotThroughSiteError):
            fields["reason"] = error.reason
        response = failure(error)
    get_logger().info(
        "api.answered",
        method=request.method[:10],
        status=response.status,
        duration_ms=elapsed_ms(started),
        **fields,
    )
    return response.with_headers(cors_headers(request, usher.settings.allowed_origins))


def _require_site(usher: App, request: Request) -> None:
    secrets = usher.settings.proxy_secret
    require_site(request.headers.get(SITE_HEADER, ()), secrets, usher.clock().timestamp())


def _answer(
    usher: App,
    request: Request,
    trusted: TrustedCaller | None,
    network: str | None,
    fields: dict[str, Any],
) -> Response:
    request.require_size(usher.settings.max_body_bytes)
    base, operations, params = _resolve(request.path, usher.settings)
    methods = _methods(operations)
    if request.method == "OPTIONS":
        return preflight(request, methods, usher.settings.allowed_origins)
    operation = operations.get("GET" if request.method == "HEAD" else request.method)
    if operation is None:
        raise MethodNotAllowedError(request.method, methods)
    fields["route"] = operation.path
    caller = None
    if operation.access is not Access.PUBLIC:
        caller = _authenticate(usher, request, trusted)
        fields["caller"] = caller.name
        usher.person_limit.take(caller.name)
        if isinstance(caller, Machine):
            caller.require(operation.scope)
        else:
            _require_standing(usher, caller, operation)
        _check_guard(usher, request, fields)
    query = read_query(request, operation.query)
    body = read_body(request, operation)
    call = Call(usher, request, caller, params, query, body, base, usher.clock(), network)
    response = operation.run(call)
    if caller is not None:
        usher.catch_up()  # nothing, but where Netlify gave a token with this request
    return response


def _require_standing(usher: App, caller: Principal, operation: Operation) -> None:
    if caller.user.status is Status.WAITING and not operation.for_waiting:
        raise AccountWaitingError
    admin = usher.settings.admin_role
    if operation.access is Access.ADMINISTRATOR and admin not in caller.roles:
        raise ForbiddenError(admin)
    if operation.access is Access.PERSON and operation.method != "GET":
        usher.own_changes_limit.take(caller.name)


def _check_guard(usher: App, request: Request, fields: dict[str, Any]) -> None:
    """Look at the key of a guard that forwards a person's request; a bad one only is logged."""
    if keys := request.headers.get(KEY_HEADER):
        fields["guard"] = usher.keys.check_naming(keys)


def _resolve(
    path: str, settings: Settings
) -> tuple[str, Mapping[str, Operation], Mapping[str, str]]:
    for base in API_BASES:
        if path.startswith(base + "/"):
            operations, params = find_operations(path[len(base) :])
            if operations and all(map(partial(_is_on, settings), operations.values())):
                return base, operations, params
    raise NotFoundError


def _is_on(settings: Settings, operation: Operation) -> bool:
    return not operation.setting or getattr(settings, operation.setting) is True


def _methods(operations: Mapping[str, Operation]) -> tuple[str, ...]:
    head = ("HEAD",) if "GET" in operations else ()
    return (*operations, *head, "OPTIONS")


def _authenticate(
    usher: App, request: Request, trusted: TrustedCaller | None
) -> Principal | Machine:
    # Browsers send cookies with requests of other sites' pages, so a cookie may change nothing.
    reads = request.method in ("GET", "HEAD")
    return usher.auth.authenticate(
        Credentials(
            authorization=request.headers.get("authorization", ()),
            cookies=request.headers.get("cookie", ()) if reads else None,
            trusted=trusted,
        )
    )
