"""Lambda's Runtime API on loopback, and awslambdaric, Lambda's own runtime, as a process on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Final

from tests.support import ROOT, clean_environment

VERSION: Final = "/2018-06-01/runtime"
HANDLER: Final = "usher.aws_lambda.handler"
TIMEOUT: Final = 30


class InvocationError(Exception):
    """The function raised, or did not even load; what Lambda is told."""


@dataclass
class Function:
    """One execution environment.

    Attributes:
        process: awslambdaric.
        log: what it wrote to standard error and output.
    """

    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    _events: Queue[bytes | None] = field(default_factory=Queue)
    _results: Queue[tuple[str, bytes]] = field(default_factory=Queue)

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Hand over an event; what the function returned.

        Raises:
            InvocationError
        """
        self._events.put(json.dumps(event).encode())
        kind, content = self._results.get(timeout=TIMEOUT)
        result: dict[str, Any] = json.loads(content)
        if kind == "error":
            raise InvocationError(result)
        return result

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def function(
    folder: Path, *, code: Path = ROOT, handler: str = HANDLER, **variables: str
) -> Iterator[Function]:
    """Run a handler as Lambda does, until the end of the block."""
    running = Function(folder / "lambda.log")

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for its ACK
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            # SnapStart: the runtime asks when it is restored, which here is at once.
            restored = self.path.endswith("/restore/next")
            event = b"{}" if restored else running._events.get()
            if event is None:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header(
                "Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
            )
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 30_000))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:x:1:function:u")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(event)))
            self.end_headers()
            self.wfile.write(event)

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            running._results.put((self.path.rpartition("/")[2], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A function that is killed at the end leaves its connection broken."""

    server = Server(("127.0.0.1", 0), Api)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    variables = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "usher",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONPATH": str(code),
        **variables,
    }
    with running.log.open("wb") as log:
        running.process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=folder,
            env=clean_environment(**variables),
            stdout=log,
            stderr=log,
        )
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running._events.put(None)
        server.shutdown()
        server.server_close()
        thread.join()
