"""The door: why the policy refused a sign-up, told to the page on which somebody tried.

Identity hides our sentence behind its own, so the page asks for it by the address. Anybody may ask
about any address. So all answers have one size and one moment, and a question that fails, comes
too often or is about nobody gets the same sentence (docs/security.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from usher.core.bounds import DOOR_ANSWER_BYTES, MAX_MESSAGE_CHARACTERS
from usher.core.domain.events import address_key
from usher.core.errors import DatabaseAwayError, SettingsError, TooManyRequestsError
from usher.core.limits import RateLimiter
from usher.core.log import describe, get_logger
from usher.core.settings import DOOR_WITHOUT_LIMIT
from usher.core.strict_json import dumps

WINDOW: Final = timedelta(minutes=10)
"""Age up to which a refusal is told."""
NO_REASON: Final = (
    "This site gives no reason. Please try again in a few minutes, or ask the people who run it."
)
"""The sentence of every answer without a fresh refusal."""
ANSWER_SECONDS: Final = 1.0
"""Time from a question to its answer, whatever the answer is."""
LOOKUP_SECONDS: Final = 0.8
"""Time that the ledger has; later the answer goes out without it."""
LOOKUPS: Final = 2
"""Look-ups at one time."""
ADDRESS_PER_MINUTE: Final = 10
"""Questions about one address; more are answered, and not looked up."""
NETWORK_PER_MINUTE: Final = 30
"""Questions of one caller's network; more are refused."""


class Door:
    """Tells why the policy refused an address.

    Args:
        find: gives the newest refusal of an address key after a time, or an empty text.
        clock: gives the current time, UTC.
        monotonic: gives the seconds of a monotonic clock.
        limit: the name of a limit by network that stands before Usher; empty: there is none.
        lookup_seconds: see ``LOOKUP_SECONDS``.
    """

    def __init__(
        self,
        find: Callable[[str, datetime], str],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        *,
        limit: str = "",
        lookup_seconds: float = LOOKUP_SECONDS,
    ) -> None:
        self._find = find
        self._clock = clock
        self._limit = limit
        self._lookup_seconds = lookup_seconds
        self._networks = RateLimiter(NETWORK_PER_MINUTE, monotonic)
        self._addresses = RateLimiter(ADDRESS_PER_MINUTE, monotonic)
        self._pool = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="door")
        self._late: Future[str] | None = None

    def count(self, network: str | None) -> None:
        """Count a question, unless another limit stands before Usher.

        Args:
            network: the caller's; None where the runtime does not know it.

        Raises:
            TooManyRequestsError: too many came from this network.
            SettingsError: nothing counts the questions.
        """
        if self._limit:
            return
        if network is None:
            raise SettingsError((DOOR_WITHOUT_LIMIT,))
        self._networks.take(network)

    def why(self, email: str) -> str:
        """The policy's sentence for an address that it refused within ``WINDOW``.

        Returns:
            ``NO_REASON`` in every other case. Nothing is raised: the caller sees no difference.
        """
        key = address_key(email)
        try:
            # By digest: an address is long, and nobody's business here.
            self._addresses.take(hashlib.sha256(key.encode()).hexdigest())
            return self._look_up(key) or NO_REASON
        except TooManyRequestsError:
            return NO_REASON
        except Exception as error:
            get_logger().error("door.failed", **describe(error))
            return NO_REASON

    def _look_up(self, key: str) -> str:
        if self._late is not None and not self._late.done():
            raise DatabaseAwayError("The ledger has not answered an earlier question yet.")
        asked = self._pool.submit(self._find, key, self._clock() - WINDOW)
        try:
            return asked.result(self._lookup_seconds)
        except TimeoutError:
            if not asked.cancel():
                self._late = asked
            detail = f"The ledger did not answer within {self._lookup_seconds} s."
            raise DatabaseAwayError(detail) from None

    def close(self) -> None:
        """End the threads; a look-up that is under way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def render(message: str) -> str:
    """The answer with a sentence: JSON of ``DOOR_ANSWER_BYTES``, whatever it says."""
    if len(message) > MAX_MESSAGE_CHARACTERS:  # a callable's; policy.toml has no longer one
        message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    bare = dumps({"message": message, "padding": ""})
    return f'{bare[:-2]}{" " * (DOOR_ANSWER_BYTES - len(bare.encode()))}"}}'
