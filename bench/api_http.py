"""Requests a second of the API against the same in FastAPI + SQLModel: `python -m bench.api_http`.

Both serve the same SQLite file of users. wrk asks them in turns; the ratio is what counts. On a
busy machine compare the CPU time of a request, which the load disturbs least.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import machine
from bench.flat import SECRET, token
from bench.load import find_wrk
from bench.receivers import BENCH, ROOT, cpu_seconds, free_port
from bench.seed import sqlite_url

REQUESTS = {"list of 50": "/api/users?limit=50", "one user": "/api/users/{id}"}
Figures = tuple[float, float, float, float]
"""Requests a second, 50th and 99th percentile in milliseconds, CPU time in microseconds."""


class Peer:
    """A server on the seeded file."""

    def __init__(self, name: str, database: Path, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("USHER_")}
        if name == "usher":
            command = [sys.executable, "-m", "usher.cli", "serve", "--port", str(self.port)]
            environment |= {
                "USHER_DATABASE_URL": f"sqlite:///{database}",
                "USHER_WEBHOOK_SECRETS": SECRET.decode(),
                "USHER_JWT_SECRET": SECRET.decode(),
                "USHER_API_REQUESTS_PER_MINUTE": "0",
            }
        else:
            script = BENCH / "peers" / "fastapi_api.py"
            command = [sys.executable, str(script), str(self.port), str(database)]
            environment["JWT_SECRET"] = SECRET.decode()
        with (folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz"):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} did not start; see its log")

    def get(self, path: str) -> dict[str, object]:
        """One answer, to compare."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", "Bearer " + token())
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    def rate(self, path: str, seconds: int, connections: int) -> Figures:
        """Ask as fast as it answers."""
        before = cpu_seconds(self.process.pid)
        done = subprocess.run(
            [
                find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
                "-H", f"Authorization: Bearer {token()}", f"http://127.0.0.1:{self.port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise SystemExit(f"{self.name}: {done.stdout}")
        percent = {
            m[1]: float(m[2]) * {"us": 0.001, "ms": 1, "s": 1000}[m[3]]
            for m in re.finditer(r"(50|99)%\s+([\d.]+)(us|ms|s)", done.stdout)
        }
        found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if found is None:
            raise SystemExit(done.stdout)
        asked = int(re.findall(r"(\d+) requests in", done.stdout)[0])
        used = 1e6 * (cpu_seconds(self.process.pid) - before) / asked
        return float(found[1]), percent["50"], percent["99"], used

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        database = Path(sqlite_url(folder, options.users).removeprefix("sqlite:///"))
        print(machine.describe(folder))
        peers = [Peer(name, database, folder) for name in ("usher", "fastapi")]
        try:
            first = peers[0].get(REQUESTS["list of 50"])
            other = peers[1].get(REQUESTS["list of 50"])
            if [u["id"] for u in first["users"]] != [u["id"] for u in other["users"]]:  # type: ignore[attr-defined]
                raise SystemExit("the two do not answer the same")
            some = first["users"][7]["id"]  # type: ignore[index]
            figures: dict[str, dict[str, list[Figures]]] = {}
            for _ in range(options.rounds):
                for request, path in REQUESTS.items():
                    for peer in peers:
                        figures.setdefault(request, {}).setdefault(peer.name, []).append(
                            peer.rate(path.format(id=some), options.seconds, options.connections)
                        )
        finally:
            for peer in peers:
                peer.stop()
    print(f"{options.users:,} users, {options.connections} connections, SQLite")
    head = ("usher/s", "p50", "p99", "CPU us", "fastapi/s", "p50", "p99", "CPU us")
    print(f"{'':12}", *(f"{word:>9}" for word in head), " ratio, of the times")
    for request, by_peer in figures.items():
        ours, theirs = by_peer["usher"], by_peer["fastapi"]
        ratios = [a[0] / b[0] for a, b in zip(ours, theirs, strict=True)]
        u, f = (
            [statistics.median(x[i] for x in each) for i in range(4)] for each in (ours, theirs)
        )
        print(f"{request:12}", *(f"{value:9.1f}" for value in (*u, *f)), end="  ")
        print(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", end=", ")
        print(f"{f[3] / u[3]:.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
