"""``usher sync`` of many users against a small stand-in for Identity's paging: time and memory.

``python -m bench.sync --users 100000`` imports them, kills the import halfway, goes on, and then
compares once more where nothing differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from usher import migrations
from usher.core.store.database import Database

START = datetime(2020, 1, 1, tzinfo=UTC)


def document(number: int) -> dict[str, Any]:
    """The account of this number."""
    at = f"{START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "id": str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128))),
        "aud": "",
        "role": "",
        "email": f"user{number}@example.com",
        "confirmed_at": at,
        "confirmation_sent_at": at,
        "app_metadata": {"provider": "email", "roles": ["member"]},
        "user_metadata": {"full_name": f"User {number}"},
        "created_at": at,
        "updated_at": at,
    }


def identity(count: int, ports: Queue[int]) -> None:
    """Serve the pages of so many accounts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            page, size = int(query["page"][0]), int(query["per_page"][0])
            first = (page - 1) * size
            users = [document(number) for number in range(first, min(first + size, count))]
            body = json.dumps({"users": users, "aud": ""}).encode()
            self.send_response(200)
            self.send_header("X-Total-Count", str(count))
            self.send_header("Link", '<x>; rel="next"' if first + size < count else "")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_port)
    server.serve_forever()


class Run:
    """One ``usher sync --pull`` as a process of its own."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.began = time.monotonic()
        self.peak = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "usher.cli", "sync", "--pull", "--json"],
            env={**os.environ, **settings, "PYTHONPATH": str(Path.cwd())},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self, seconds: float = 1e9) -> bool:
        """Watch its memory until it ends; whether it did in that time."""
        until = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < until:
            try:
                status = Path(f"/proc/{self._process.pid}/status").read_text()
            except OSError:
                break
            found = re.search(r"VmHWM:\s+(\d+)", status)
            self.peak = max(self.peak, int(found[1]) // 1024 if found else 0)
            time.sleep(0.1)
        return self._process.poll() is not None

    def kill(self) -> None:
        """As the kernel does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def told(self) -> dict[str, Any]:
        """Its JSON."""
        out, _ = self._process.communicate()
        self.seconds = time.monotonic() - self.began
        found: dict[str, Any] = json.loads(out)
        return found


def measure(count: int, database_url: str | None, *, kill: bool) -> None:
    """Import, perhaps killed halfway, then compare again."""
    ports: Queue[int] = Queue()
    server = Process(target=identity, args=(count, ports), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policy.toml").write_text('[[role]]\ngrant = "member"\n')
        url = database_url or f"sqlite:///{folder / 'usher.db'}"
        database = Database(url)
        migrations.upgrade(database)
        settings = {
            "USHER_DATABASE_URL": url,
            "USHER_WEBHOOK_SECRETS": "bench-" * 8,
            "USHER_IDENTITY_URL": f"http://127.0.0.1:{ports.get()}",
            "USHER_IDENTITY_ADMIN_TOKEN": "bench",
            "USHER_INSTANCE_ID": str(UUID(int=0)),
        }
        if kill:
            run = Run(folder, settings)
            while not run.wait(0.2):
                with database.read() as transaction:
                    row = transaction.sql.exec_driver_sql("SELECT progress FROM syncs").first()
                found: Any = row[0] if row else "{}"
                progress: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
                if progress.get("accounts", 0) >= count // 2:
                    run.kill()
                    break
            pages = progress["page"] - 1
            print(f"  killed after {pages} pages, {time.monotonic() - run.began:.0f} s, "
                  f"peak {run.peak} MB")  # fmt: skip
        for title in ("import" if not kill else "gone on with", "compared again"):
            run = Run(folder, settings)
            run.wait()
            told = run.told()
            print(
                f"  {title}: {told['accounts']:,} accounts, {told['records']:,} records, "
                f"mended {sum(told['mended'].values()):,}, left {sum(told['left'].values()):,}, "
                f"resumed {told['resumed']}: {run.seconds:.0f} s, peak {run.peak} MB"
            )
        database.dispose()
    server.terminate()
    server.join()


def main() -> None:
    """Measure a small and a large site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--database", help="an empty database; a SQLite file unless told otherwise")
    options = parser.parse_args()
    if not options.database:
        print("5,000 users")
        measure(5_000, None, kill=False)
    print(f"{options.users:,} users")
    measure(options.users, options.database, kill=True)


if __name__ == "__main__":
    main()
