"""The site with its bridge, once for all tests: its start takes longer than they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.deploy.bridge_support import OLD, Bridge, platform
from tests.emulator.world import MOUNT, OPERATOR, world
from tests.netlify_site import BRIDGE_SECRET, NetlifySite, netlify_site
from usher.emulator.server import serving as emulating


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetlifySite]:
    """One for all tests: its start takes longer than they do."""
    folder = tmp_path_factory.mktemp("bridge")
    secrets = f"{BRIDGE_SECRET},{OLD}"
    nobody = "http://127.0.0.1:9"
    with netlify_site(folder, tmp_path_factory, nobody, USHER_BRIDGE_SECRET=secrets) as running:
        yield running


@pytest.fixture
def bridge(site: NetlifySite, tmp_path: Path) -> Iterator[Bridge]:
    """With an empty Identity."""
    with world(tmp_path) as identity, emulating(identity.emulator.handle) as url:
        context = {"url": url + MOUNT, "token": OPERATOR}
        with (
            urllib3.PoolManager(retries=False, timeout=30) as pool,
            platform(site.bridge_url, context, pool) as front,
        ):
            yield Bridge(site, identity, front, context, pool)
