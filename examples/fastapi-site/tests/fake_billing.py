"""A billing system on this machine, for tests, and to try the site: python tests/fake_billing.py"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeBilling(ThreadingHTTPServer):
    """Its customers by id, and those that are closed.

    Attributes:
        away: answers 503 to everything.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Endpoint)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.customers: dict[str, str] = {}
        self.closed: list[str] = []
        self.keys: list[str] = []
        self.away = False

    def create(self, email: str, key: str) -> str:
        """Make a customer; the same one for the same key."""
        if key not in self.keys:
            self.keys.append(key)
        customer = f"cus_{self.keys.index(key) + 1}"
        self.customers[customer] = email
        return customer


class _Endpoint(BaseHTTPRequestHandler):
    server: FakeBilling

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.away:
            self._answer(503, {})
        else:
            key = self.headers["Idempotency-Key"]
            self._answer(200, {"id": self.server.create(body["email"], key)})

    def do_DELETE(self) -> None:
        customer = self.path.rpartition("/")[2]
        self.server.closed.append(customer)
        self._answer(200, {"id": customer})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


if __name__ == "__main__":
    with FakeBilling(8100) as billing:
        print(f"BILLING_URL={billing.url}")
        billing.serve_forever()
