"""A site's functions under the bootstrap that Netlify itself puts before them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.netlify.functions import Functions, functions
from tests.netlify_site import NPM_PATH
from tests.npm import installed

BOOTSTRAP: Final = Path(__file__).parent / "bootstrap"
MODULE: Final = "node_modules/@netlify/serverless-functions-api/dist/index.js"


def inside(url: str) -> str:
    """The address of a database as a site has it: it names no driver."""
    return url.replace("postgresql+psycopg://", "postgresql://")


@contextmanager
def bootstrapped(
    site: Path,
    factory: pytest.TempPathFactory,
    variables: Mapping[str, str],
    log: Path | None = None,
) -> Iterator[Functions]:
    """Run a site's functions in a process of Node, by the bootstrap that Netlify zips with them.

    From a request with a ``clock`` on, their wall clock stands still: milliseconds since 1970.
    """
    module = installed(BOOTSTRAP, factory.getbasetemp().parent, path=NPM_PATH) / MODULE
    script = (str(BOOTSTRAP.with_suffix(".mjs")), str(module))
    with functions(site, log, script=script, **variables) as running:
        yield running


def logged(log: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
