"""Logging: one JSON line each, ``noun.verb`` with fields, on standard error.

No token, secret, address or name is ever a field; ids and rule names are.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

from core.strict_json import dumps


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send our log lines to ``stream`` (standard error unless told otherwise)."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda value, **_: dumps(value)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger, as last configured."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
