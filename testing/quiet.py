"""The log of Usher in tests of another project."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from usher.core import log


@contextmanager
def quiet() -> Iterator[None]:
    """Log no line for each event, unless the project has configured structlog itself."""
    if structlog.is_configured():
        yield
        return
    log.configure(level=logging.WARNING)
    try:
        yield
    finally:
        structlog.reset_defaults()  # its stream is closed after the test
