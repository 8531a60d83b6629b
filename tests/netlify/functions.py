"""A site with Usher's functions in it, built once, and a process that runs them as Netlify does."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.netlify_site import NODE
from tests.support import SECRET, Signed, clean_environment

HARNESS = Path(__file__).parent / "harness.mjs"
INSIDE = Path(__file__).parent / "inside.mjs"
HOOK = "/.netlify/functions/identity"
NOWHERE = "postgresql://usher@127.0.0.1:1/usher"
"""A database where nothing listens."""


@dataclass(frozen=True)
class Told:
    """An answer; ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Functions:
    """The functions in one process of Node: the first request starts Python, later ones find it."""

    def __init__(self, site: Path, stdin: IO[str], stdout: IO[str], pid: int) -> None:
        self._site = site
        self.pid = pid
        self._stdin = stdin
        self._stdout = stdout
        self._ids = count()
        self.said: list[str] = []
        """Lines on standard output that are no answers."""

    def send(
        self,
        path: str = HOOK,
        method: str = "POST",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        name: str = "",
        **more: Any,
    ) -> int:
        """Hand a request over, and wait for no answer; the number by which ``take`` knows it.

        Args:
            name: of the function; empty: by the path.
        """
        if not name:
            name = path.split("/")[3] if path.startswith("/.netlify/") else "api"
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        line = {
            "id": (number := next(self._ids)),
            "file": str(self._site / "netlify" / "functions" / f"{name}.mjs"),
            "url": f"https://site.example{path}",
            "method": method,
            "headers": pairs,
            "body": None if body is None else base64.b64encode(body).decode(),
            **more,
        }
        self._stdin.write(json.dumps(line) + "\n")
        self._stdin.flush()
        return number

    def take(self) -> tuple[int, Told]:
        """The next answer, and the number of its request."""
        while (line := self._stdout.readline()) and not line.startswith('{"id"'):
            self.said.append(line.rstrip("\n"))
        assert line, f"Node ended: {self.said}"
        told = json.loads(line)
        assert "error" not in told, told["error"]
        return told["id"], Told(
            told["status"], dict(told["headers"]), base64.b64decode(told["body"])
        )

    def ask(self, path: str = HOOK, method: str = "POST", **more: Any) -> Told:
        """Send a request, and take its answer."""
        sent = self.send(path, method, **more)
        number, told = self.take()
        assert number == sent
        return told

    def deliver(self, event: Signed, **more: Any) -> Told:
        """Send an event as Identity does."""
        return self.ask(headers=event.headers, body=event.body, **more)


def run_inside(site: Path, program: str, name: str = "identity", way: str = "fast") -> Any:
    """What a program in Python, run within the bundle, evaluates to; it makes JSON of it."""
    done = subprocess.run(
        [f"{NODE}/node", str(INSIDE), str(site / "netlify" / "usher"), name, way],
        check=False,
        env=clean_environment(),
        input=program,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def functions(
    site: Path,
    log: Path | None = None,
    node: str = f"{NODE}/node",
    script: Sequence[str] = (str(HARNESS),),
    **variables: str,
) -> Iterator[Functions]:
    """Run a site's functions in a process of Node; ``variables`` are the site's.

    Args:
        log: takes what goes to standard error.
        script: and its arguments, which run in the place of harness.mjs.
    """
    settings = {
        "USHER_WEBHOOK_SECRETS": SECRET.decode(),
        "USHER_DATABASE_URL": NOWHERE,
        **variables,
    }
    given = {name: value for name, value in settings.items() if value}
    with (
        (log or Path("/dev/null")).open("ab") as errors,
        subprocess.Popen(
            [node, *script],
            cwd=site,
            env=clean_environment(**given),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Functions(site, process.stdin, process.stdout, process.pid)
        finally:
            process.kill()
