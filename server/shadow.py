"""The keeper of the shadow policy's process: one beside each server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from usher.core.log import get_logger
from usher.server.keeper import LONGEST_WAIT_SECONDS, Keeper

HANG_SECONDS: Final = 60
"""Longest time for one delivery, or for a look at the database: a busy machine is no hang."""


class ShadowKeeper(Keeper):
    """Keeps a process of the shadow policy running, until closed.

    Args:
        hang_seconds: see ``HANG_SECONDS``.
        longest_wait_seconds: as ``Keeper`` has it.
    """

    def __init__(
        self,
        hang_seconds: int = HANG_SECONDS,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        super().__init__(longest_wait_seconds)
        self._hang_seconds = hang_seconds
        self._lease = uuid4()

    def arguments(self, ended: str) -> Sequence[str]:
        """The process goes on with the lease of the one before it."""
        options = (str(self._lease), str(self._hang_seconds), ended)
        return ("usher.server.shadow_process", *options)

    def tell(self, ended: str, wait_seconds: float) -> None:
        """Log it."""
        get_logger().error("shadow.ended", detail=ended, wait_seconds=wait_seconds)
