"""Certificates for receivers of webhooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.receivers import Certificates, make_certificates, trusting


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and the certificate of ``receivers.NAME`` and of 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture
def trusted(certificates: Certificates) -> Iterator[Certificates]:
    """The same, with the authority among those of the system."""
    with trusting(certificates):
        yield certificates
