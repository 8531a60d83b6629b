"""The keeper of the process that hands changes over: one beside each server."""

from __future__ import annotations

from collections.abc import Sequence

from usher.core.log import get_logger
from usher.server.keeper import Keeper


class OutboxKeeper(Keeper):
    """Keeps the process running that hands changes over, until closed."""

    def arguments(self, ended: str) -> Sequence[str]:  # noqa: ARG002 - it does not matter there
        """Its module alone."""
        return ("usher.server.outbox_process",)

    def tell(self, ended: str, wait_seconds: float) -> None:
        """Log it."""
        get_logger().error("outbox.ended", detail=ended, wait_seconds=wait_seconds)
