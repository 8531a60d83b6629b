"""Identity's accounts for a sync: whole pages, with patient retries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from usher.core.domain.events import IdentityUser
from usher.core.domain.sync_place import Place
from usher.core.domain.sync_plan import Trouble, Unreadable
from usher.core.errors import (
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    IdentityCredentialsError,
    IdentityUnavailableError,
    OutOfTimeError,
)
from usher.core.identity.client import first_id
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient, UserPage

ATTEMPTS: Final = 4
FEW_ATTEMPTS: Final = 2
"""For a page that is asked for because a larger one failed."""
FIRST_PAUSE_SECONDS: Final = 1.0

Answer = TypeVar("Answer")


class Accounts:
    """The accounts of one Identity.

    Args:
        sleep: waits for a number of seconds before Identity is asked again.
    """

    def __init__(self, client: IdentityClient, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._sleep = sleep

    def page(self, place: Place) -> UserPage:
        """A page, checked to be whole: after half a page the rest would look missing.

        Raises:
            IdentityUnavailableError: Identity did not answer.
            IdentityAccountUnreadableError: it does, and not for this page, because of its size or
                of an account on it.
        """
        attempts = FEW_ATTEMPTS if place.is_smaller else ATTEMPTS
        return self._if_well(lambda: self._page(place), attempts)

    def have_moved(self, place: Place) -> bool:
        """Whether accounts were deleted since the page before was read.

        As many accounts have then slipped from this page to the one before, unseen.
        """
        if not place.is_checked:
            return False
        try:
            there = ids_of(self._if_well(lambda: self._client.users(place.anchored_at + 1, 1)))
        except IdentityAnswerTooLargeError as error:
            there = [first_id(error.start)]
        except IdentityAccountUnreadableError:
            return False  # the account there cannot be read any more; nothing tells
        return there != [place.anchor]

    def account(self, user_id: UUID) -> IdentityUser | None:
        """One account by its id; None where there is no such account.

        Raises:
            IdentityAccountUnreadableError: there is one, and it cannot be read.
        """
        return self._if_well(lambda: self._client.user(user_id))

    def exists(self, user_id: UUID) -> bool:
        """Whether there is an account with this id, readable or not."""
        try:
            return self.account(user_id) is not None
        except IdentityAccountUnreadableError:
            return True

    def _page(self, place: Place) -> UserPage:
        page = self._client.users(place.page, place.size)
        got = len(page.accounts)
        short = page.more and got != place.size
        wrong = not page.more and page.total is not None and place.offset + got < page.total
        known = [user_id for user_id in ids_of(page) if user_id]
        if short or wrong or got > place.size or len(set(known)) != len(known):
            raise IdentityUnavailableError(
                f"Identity answered page {place.page} of its users with {got} accounts, which is "
                f"not a whole page of {place.size} and not the last."
            )
        return page

    def _if_well(self, ask: Callable[[], Answer], attempts: int = ATTEMPTS) -> Answer:
        """The answer; where it fails, another call tells Identity's failures from an account's."""
        try:
            return self._patiently(ask, attempts)
        except (IdentityCredentialsError, OutOfTimeError):
            raise
        except IdentityUnavailableError as error:
            if self._client.is_away():
                raise
            raise IdentityAccountUnreadableError(error.detail, "no_answer") from None

    def _patiently(self, ask: Callable[[], Answer], attempts: int = ATTEMPTS) -> Answer:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, attempts + 1):
            try:
                return ask()
            except IdentityUnavailableError as error:
                in_vain = isinstance(error, IdentityCredentialsError | OutOfTimeError)
                if attempt == attempts or in_vain:
                    raise
                get_logger().info("sync.again", attempt=attempt, code=error.code)
            self._sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")


def ids_of(page: UserPage) -> list[str]:
    """The ids of a page's accounts in order, empty where one is not known."""
    return [str(account.id) for account in page.accounts]


def named(error: IdentityAccountUnreadableError, user_id: str, number: int = 0) -> Unreadable:
    """The account for which Identity's answer comes to this error, even alone."""
    return Unreadable(user_id, number, Trouble(error.trouble), error.detail)
