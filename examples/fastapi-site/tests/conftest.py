"""What the tests share."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest
from fake_billing import FakeBilling
from fastapi.testclient import TestClient
from mysite.site import app


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBilling]:
    """A billing system without customers, which the site uses."""
    with FakeBilling() as server:
        monkeypatch.setenv("BILLING_URL", server.url)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def site(usher_app: object) -> Iterator[TestClient]:
    """The site; its guards ask the Usher of the test."""
    with TestClient(app) as client:
        yield client
