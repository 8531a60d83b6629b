"""One request to a function on Netlify: usher.mjs hands it over, Usher's routes answer it.

The environment comes with it where it changed: Netlify tells a function the address of the site's
own database with each invocation, not before.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, Protocol

from usher.core import app
from usher.core.app import App
from usher.core.database_url import POSTGRESQL, SPELLINGS
from usher.core.errors import NoDatabaseError, SettingsError
from usher.core.log import describe, get_logger
from usher.core.settings import DOOR_WITHOUT_LIMIT
from usher.core.store.drivers import pg8000
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, Response
from usher.netlify import platform, wires
from usher.netlify.database import DATABASE_URL, told_by
from usher.netlify.http import WiresHttp
from usher.netlify.lines import dial
from usher.server import routes

FOR_IDENTITY: Final = {"Cache-Control": "no-store, no-transform"}
"""Identity reads a compressed answer no better than one of unknown length."""


class Octets(Protocol):
    """JavaScript's ``Uint8Array``, as Pyodide shows it."""

    def to_bytes(self) -> bytes:
        """Return a copy."""


def answer(asked: str, body: Octets) -> str:
    """Answer a request.

    Args:
        asked: JSON of ``method``, ``path``, ``query``, ``headers``, ``identity`` and ``client``
            (see ``usher.netlify.platform``), and ``environment``, which is null where it is the
            same as before.
        body: the exact bytes.

    Returns:
        JSON of ``status``, ``headers`` and ``body``, with the body that HEAD would not get.
    """
    given = json.loads(asked)
    if given["environment"] is not None:
        renew(given["environment"])
    response = respond(_request(given, body.to_bytes()), given.get("identity"), given.get("client"))
    headers = response.all_headers()
    told = {"status": response.status, "headers": list(headers.items()), "body": response.body}
    return json.dumps(told)


def maintain(asked: str) -> str:
    """Do what a server does beside its requests, for a schedule of Netlify's.

    Args:
        asked: JSON of ``environment`` and ``identity``, as above, and ``seconds``, after which
            Netlify ends it.

    Returns:
        JSON of what ``usher.core.scheduled.run`` says.

    Raises:
        UsherError: some of it failed; the log says so, and the rest was done.
    """
    from usher.core import scheduled  # noqa: PLC0415 - requests need none of it

    given = json.loads(asked)
    end = monotonic() + given["seconds"]
    if given["environment"] is not None:
        renew(given["environment"])
    try:
        usher = _usher()
        platform.begin(usher, given.get("identity"))
        done = scheduled.run(usher, lambda: end - monotonic(), alarm=wires.alarm)
    except Exception as error:
        get_logger().error("maintenance.failed", **describe(error))
        return json.dumps({"done": False})
    return json.dumps(done)


def renew(environment: Mapping[str, str]) -> None:
    """Take over another environment; the App made from the last one is closed."""
    app.end()
    pg8000.over(dial)
    random.seed()  # not as it was when the snapshot was made, which is the same everywhere
    for name in [name for name in os.environ if name.startswith(("USHER_", "NETLIFY_"))]:
        del os.environ[name]
    os.environ.update(_settings(environment))


def respond(request: Request, identity: object = None, client: object = None) -> Response:
    """Answer a request, where the settings are fit for Netlify."""
    try:
        usher = _usher()
        platform.begin(usher, identity)
        authorization = request.headers.get("authorization", ())
        response = routes.answer(request, platform.caller(usher, client, authorization))
    except Exception as error:
        response = failure(error)
    return response if routes.is_api(request.path) else response.with_headers(FOR_IDENTITY)


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the address of the database that it tells.

    An address for SQLAlchemy names psycopg, which does not run here.
    """
    address = told_by(environment).replace(POSTGRESQL, SPELLINGS[0], 1)
    return {**environment, DATABASE_URL: address}


def _request(given: Mapping[str, Any], body: bytes) -> Request:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in given["headers"]:
        headers[name] = (*headers.get(name, ()), value)
    return Request(given["method"], given["path"], headers, body, given["query"])


def _usher() -> App:
    """Return the App.

    Raises:
        NoDatabaseError: none is configured, or one that a function would lose.
        SettingsError: settings are unusable, or open the door without a limit.
    """
    if not os.environ.get(DATABASE_URL):
        raise NoDatabaseError("Neither USHER_DATABASE_URL nor a database of Netlify's is set.")
    usher = app.current(http=WiresHttp(wires.ask))
    if usher.settings.database_scheme == "sqlite":
        raise NoDatabaseError("USHER_DATABASE_URL is a SQLite file, which would not stay.")
    if usher.settings.door and not usher.settings.door_limit:
        raise SettingsError((DOOR_WITHOUT_LIMIT,))
    return usher
