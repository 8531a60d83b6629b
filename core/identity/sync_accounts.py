"""Identity's accounts for a sync: whole pages, with patient retries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from usher.core.domain.events import IdentityUser
from usher.core.domain.sync_plan import Progress
from usher.core.errors import IdentityCredentialsError, IdentityUnavailableError
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient, UserPage

PER_PAGE: Final = 200
ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 1.0
ANCHORS: Final = 4
"""Pages that a run can step back when they have moved."""

Answer = TypeVar("Answer")


class Accounts:
    """The accounts of one Identity.

    Args:
        sleep: waits for a number of seconds before Identity is asked again.
    """

    def __init__(self, client: IdentityClient, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._sleep = sleep

    def page(self, number: int) -> UserPage:
        """A page, checked to be whole: after half a page the rest would look missing.

        Args:
            number: from 1.

        Raises:
            IdentityUnavailableError: Identity did not answer, or the page is not whole.
        """
        return self._patiently(lambda: self._page(number))

    def have_moved(self, progress: Progress) -> bool:
        """Whether accounts were deleted since the page before was read.

        As many accounts have then slipped from this page to the one before, unseen.
        """
        if not progress.anchors or progress.steps_back >= ANCHORS:
            return False
        place = (progress.page - 1) * PER_PAGE
        there = self._patiently(lambda: self._client.users(place, 1)).users
        return [str(user.id) for user in there] != [progress.anchors[-1]]

    def account(self, user_id: UUID) -> IdentityUser | None:
        """One account by its id; None where there is no such account."""
        return self._patiently(lambda: self._client.user(user_id))

    def _page(self, number: int) -> UserPage:
        page = self._client.users(number, PER_PAGE)
        got = len(page.users)
        before = (number - 1) * PER_PAGE
        short = page.more and got != PER_PAGE
        wrong = not page.more and page.total is not None and before + got < page.total
        if short or wrong or got > PER_PAGE or len({user.id for user in page.users}) != got:
            raise IdentityUnavailableError(
                f"Identity answered page {number} of its users with {got} accounts, which is not "
                f"a whole page of {PER_PAGE} and not the last."
            )
        return page

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except IdentityUnavailableError as error:
                if attempt == ATTEMPTS or isinstance(error, IdentityCredentialsError):
                    raise
                get_logger().info("sync.again", attempt=attempt, code=error.code)
            self._sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")
