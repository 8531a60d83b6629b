"""What each framework has of its own: WebSockets, OpenAPI, error handlers, middleware, classes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Annotated, Any

import pytest

from tests.api.api_support import People
from tests.integrations.sites import application, call, call_asgi, call_wsgi, module
from tests.support import ROOT, clean_environment


def bearer_of(people: People, name: str = "user") -> tuple[str, str]:
    """The Authorization header of one of them."""
    return "Authorization", people.token(name)


def cookie_of(people: People) -> tuple[str, str]:
    """The same as a cookie."""
    return "Cookie", "nf_jwt=" + people.token("user").removeprefix("Bearer ")


def ask_asgi(app: Any, path: str, *headers: tuple[str, str], **more: Any) -> Any:
    """One request, or a WebSocket's handshake."""
    return asyncio.run(call_asgi(app, more.pop("method", "GET"), path, headers, **more))


# --- ASGI ---------------------------------------------------------------------------------------


def test_a_websocket_is_opened_by_a_header_and_never_by_a_cookie(people: People) -> None:
    """The page of another site can open one, with cookies, and would read and write."""
    from usher.integrations.asgi import require_role, signed_in

    async def chat(scope: Any, receive: Any, send: Any) -> None:
        assert scope["usher.caller"].id == people.ids["user"]
        await receive()
        await send({"type": "websocket.accept"})

    guarded = signed_in(chat)
    assert ask_asgi(guarded, "/", bearer_of(people), kind="websocket").status == 101
    for headers in ([], [cookie_of(people)], [("Authorization", "Bearer x")]):
        refused = ask_asgi(guarded, "/", *headers, kind="websocket")
        assert refused.status == 403
        assert refused.json[0] == {
            "type": "websocket.close", "code": 1008, "reason": "unauthenticated",
        }  # fmt: skip
    editors = require_role("editor")(chat)
    assert ask_asgi(editors, "/", bearer_of(people), kind="websocket").status == 403


def test_a_guard_lets_an_asgi_application_start_and_stop(people: People) -> None:
    """Its lifespan is no request."""
    from usher.integrations.asgi import signed_in

    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(signed_in(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


@pytest.mark.parametrize("framework", ["Plain ASGI", "Plain WSGI"])
def test_a_refusal_of_head_has_no_body(framework: str, people: People) -> None:
    """And says the same as that of GET; the cookie counts for it."""
    refused = call(framework, "HEAD", "/account")
    assert (refused.status, refused.body) == (401, b"")
    assert refused.headers["content-type"] == "application/problem+json"
    assert call(framework, "HEAD", "/account", cookie_of(people)).status == 200


# --- FastAPI ------------------------------------------------------------------------------------


def test_fastapi_describes_the_way_to_send_the_token() -> None:
    """One that is true of every method; the cookie is none for POST."""
    document = application("FastAPI").openapi()
    (scheme,) = document["components"]["securitySchemes"].items()
    said = scheme[1].pop("description")
    assert scheme == ("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    assert "GET and HEAD take the cookie nf_jwt" in said
    for path, method in (("/account", "get"), ("/drafts", "get"), ("/drafts", "post")):
        operation = document["paths"][path][method]
        assert operation["security"] == [{"bearer": []}]
        assert operation.get("parameters", []) == []


def test_fastapi_guards_a_whole_router_and_websockets(people: People) -> None:
    """A WebSocket is refused before it is accepted, and not by an error."""
    from fastapi import APIRouter, Depends, FastAPI, WebSocket

    from usher.integrations.fastapi import Caller, Guard

    router = APIRouter(dependencies=[Depends(Guard(stale_ok=5).signed_in)])

    @router.get("/page")
    def page() -> str:
        return "page"

    async def chat(websocket: Any, caller: Any) -> None:
        assert caller.id == people.ids["user"]
        await websocket.accept()

    staff = Annotated[Caller, Depends(Guard().require_role("staff"))]
    chat.__annotations__ |= {"websocket": WebSocket, "caller": staff}
    router.websocket("/chat")(chat)
    app = FastAPI()
    app.include_router(router)
    assert ask_asgi(app, "/page", bearer_of(people)).status == 200
    assert ask_asgi(app, "/page").status == 401
    assert ask_asgi(app, "/chat", bearer_of(people), kind="websocket").status == 101
    assert ask_asgi(app, "/chat", kind="websocket").status == 403
    assert ask_asgi(app, "/chat", cookie_of(people), kind="websocket").status == 403


# --- Flask --------------------------------------------------------------------------------------


def test_flask_shows_a_refusal_to_the_applications_error_handlers(people: People) -> None:
    """A site can send a browser to its own page; without one problem details are answered."""
    from flask import Flask, redirect

    from usher.integrations.flask import Guard

    app, guard = Flask("site"), Guard()
    app.get("/page")(guard.signed_in(lambda: "page"))
    app.get("/editors", endpoint="editors")(guard.require_role("editor")(lambda: "page"))
    app.errorhandler(401)(lambda _error: redirect("/login"))
    moved = call_wsgi(app, "GET", "/page", ())
    assert (moved.status, moved.headers["location"]) == (302, "/login")
    assert call_wsgi(app, "GET", "/editors", [bearer_of(people)]).code == "forbidden"


def test_flask_awaits_an_asynchronous_view(people: People) -> None:
    """As Flask itself does."""
    from flask import Flask, g

    from usher.integrations.flask import signed_in

    app = Flask("site")

    @app.get("/page")
    @signed_in
    async def page() -> str:
        return str(g.caller.id)

    assert call_wsgi(app, "GET", "/page", ()).status == 401
    found = call_wsgi(app, "GET", "/page", [bearer_of(people)])
    assert found.body.decode() == str(people.ids["user"])


# --- Django -------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["Django", "Django by ASGI"])
def test_djangos_middleware_tells_who_calls_and_refuses_nobody(
    framework: str, people: People
) -> None:
    """A visitor, an ended token, somebody suspended: nobody to greet."""
    greeted = call(framework, "GET", "/greeting", bearer_of(people)).json
    assert greeted == {"hello": "user@example.com"}
    for headers in (
        [], [("Authorization", "Bearer x")], [bearer_of(people, "suspended")],
        [("Authorization", people.token("user", exp=1))],
    ):  # fmt: skip
        found = call(framework, "GET", "/greeting", *headers)
        assert (found.status, found.json) == (200, {"hello": "stranger"})


@pytest.mark.parametrize("middleware", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_djangos_guard_judges_by_the_method_that_the_view_gets(
    people: People, asynchronous: bool, middleware: bool
) -> None:
    """A middleware may make a DELETE of a GET, for which the cookie counts, or the other way."""
    application("Django")
    from django.http import HttpResponse
    from django.test import AsyncRequestFactory, RequestFactory

    from usher.integrations import django

    def page(request: Any) -> HttpResponse:
        return HttpResponse(str(request.caller.id))

    async def async_page(request: Any) -> HttpResponse:
        return page(request)

    guarded = django.signed_in(async_page if asynchronous else page)
    make = AsyncRequestFactory if asynchronous else RequestFactory

    def answered(sent: str, method: str, cookie: str = "", bearer: str = "") -> Any:
        def overridden(request: Any) -> Any:
            request.method = method
            return guarded(request)

        async def overridden_async(request: Any) -> Any:
            return await overridden(request)

        inner = overridden_async if asynchronous else overridden
        app = django.middleware(inner) if middleware else inner
        factory = make()
        if cookie:
            factory.cookies["nf_jwt"] = cookie
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        found = app(factory.generic(sent, "/", headers=headers))
        return asyncio.run(found) if asynchronous else found

    token = people.token("user").removeprefix("Bearer ")
    for sent, method, status in (("GET", "GET", 200), ("GET", "DELETE", 401), ("POST", "GET", 200)):
        assert answered(sent, method, cookie=token).status_code == status
        assert answered(sent, method, bearer=token).status_code == 200
        assert answered(sent, method).status_code == 401


@pytest.mark.parametrize("asynchronous", [False, True])
def test_django_guards_a_view_that_is_a_class(people: People, asynchronous: bool) -> None:
    """With Django's own ``method_decorator``."""
    application("Django")
    from django.http import HttpResponse
    from django.test import AsyncRequestFactory, RequestFactory
    from django.utils.decorators import method_decorator
    from django.views import View

    from usher.integrations.django import require_role

    class Page(View):  # type: ignore[misc]
        def get(self, request: Any) -> HttpResponse:
            return HttpResponse(str(request.caller.id))

    class AsyncPage(View):  # type: ignore[misc]
        async def get(self, request: Any) -> HttpResponse:
            return HttpResponse(str(request.caller.id))

    chosen = AsyncPage if asynchronous else Page
    view = method_decorator(require_role("staff"), name="dispatch")(chosen).as_view()
    factory = AsyncRequestFactory() if asynchronous else RequestFactory()

    def answered(*headers: str) -> Any:
        more = {("AUTHORIZATION" if asynchronous else "HTTP_AUTHORIZATION"): h for h in headers}
        request = factory.get("/", **more)

        async def run() -> Any:
            found = view(request)
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run(run()) if asynchronous else view(request)

    assert answered(people.token("user")).content.decode() == str(people.ids["user"])
    assert answered().status_code == 401


# --- extras -------------------------------------------------------------------------------------


def test_a_missing_framework_is_named_with_the_command_that_installs_it() -> None:
    """No other part needs one, and no framework is loaded beside another."""
    program = (
        "import sys\n"
        "from importlib import import_module\n"
        "import usher.integrations.asgi, usher.integrations.wsgi\n"
        "names = ['fastapi', 'flask', 'django']\n"
        "assert not set(names) & set(sys.modules)\n"
        "for name in names:\n"
        "    sys.modules[name] = None\n"
        "    try:\n"
        "        import_module('usher.integrations.' + name)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    names = [("FastAPI", "fastapi"), ("Flask", "flask"), ("Django", "django")]
    assert found.stdout.splitlines() == [
        f"ExtraMissingError {said} is not installed. Run: pip install 'usher-identity[{extra}]'"
        for said, extra in names
    ]


def test_every_example_of_the_page_is_a_module() -> None:
    """With the same two endpoints, which the tests beside this one ask."""
    for heading in ("FastAPI", "Flask", "Django", "Plain ASGI", "Plain WSGI"):
        assert module(heading).__name__.startswith("example_")
