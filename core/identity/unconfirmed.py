"""The removal of pending records that never became an account (docs/lifecycle.md).

With a way to Identity's admin API its word decides, and only where the same Identity knows this
site. Each page is one step. Identity is asked first, without a transaction; then each record is
locked, and removed only if it is as it was before Identity was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import User
from usher.core.domain.unconfirmed import GRACE, removal, why_removed, why_removed_by
from usher.core.errors import (
    IdentityAccountUnreadableError,
    IdentityCredentialsError,
    IdentityRefusedError,
    IdentityUnavailableError,
    SeveralInstancesError,
    SyncStrangerError,
)
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.store.pending import PendingRecords, Place

ACTOR: Final = "usher"
PAGE: Final = 50
ASKED_AT_ONCE: Final = 10
"""Records of one page about which Identity is asked; a step of maintenance stays short."""
ROUND: Final = timedelta(days=1)
"""Time after which records that stayed are looked at again."""
AWAY: Final = timedelta(minutes=10)
ACCOUNTS: Final = 50
_NO_WORD: Final = (
    IdentityUnavailableError,
    IdentityRefusedError,
    IdentityAccountUnreadableError,
    SeveralInstancesError,
    SyncStrangerError,
)


class Page(Struct, frozen=True):
    """One page of pending records.

    Attributes:
        looked_at: their number.
        removed: those that were removed, or would be, each with the reason.
        place: the record after which the next page begins; None: the first.
        more: whether there may be a next page.
    """

    looked_at: int = 0
    removed: tuple[tuple[User, str], ...] = ()
    place: Place | None = None
    more: bool = False


class Unconfirmed:
    """The pending records of one database.

    Args:
        identity: None where there is no way to Identity's admin API; then age alone decides.
        clock: gives the current time, UTC.
        days: ``USHER_PENDING_DAYS``; 0: nothing is removed.
    """

    def __init__(
        self,
        records: PendingRecords,
        identity: IdentityClient | None,
        clock: Callable[[], datetime],
        *,
        days: int,
    ) -> None:
        self._records = records
        self._identity = identity
        self._clock = clock
        self._days = days
        self._place: Place | None = None
        self._round_until: datetime | None = None
        self._away_until: datetime | None = None

    def step(self) -> Page:
        """Remove records of one page, for maintenance; a whole round is made once a day.

        Where Identity cannot be asked, or is another one, nothing is removed; the log says why.
        The same where the records are of several instances, and none is chosen.

        Raises:
            DatabaseError: the database cannot be used.
        """
        now = self._clock()
        if not self._days or (self._away_until is not None and now < self._away_until):
            return Page()
        if self._round_until is None or now >= self._round_until:
            self._place, self._round_until = None, now + ROUND
        try:
            page = self._page(self._place, ACTOR, dry_run=False)
        except _NO_WORD as error:
            self._away_until = now + AWAY
            get_logger().warning("pending.kept", code=error.code, detail=error.detail)
            return Page()
        self._place = page.place
        return page

    def walk(self, actor: str, *, dry_run: bool) -> Iterator[Page]:
        """Remove all such records at once, page by page.

        Args:
            actor: as the audit names them.
            dry_run: remove nothing, and say what would be removed.

        Raises:
            IdentityUnavailableError, IdentityRefusedError: Identity cannot be asked.
            SyncStrangerError: Identity does not know this site.
            DatabaseError: the database cannot be used.
            SeveralInstancesError: no instance is chosen, and the records are of several.
        """
        page = Page(more=self._days > 0)
        while page.more:
            page = self._page(page.place, actor, dry_run=dry_run)
            yield page

    def _page(self, place: Place | None, actor: str, *, dry_run: bool) -> Page:
        now, client = self._clock(), self._identity
        until = now - (GRACE if client is not None else timedelta(days=self._days))
        limit = ASKED_AT_ONCE if client is not None else PAGE
        users = self._records.page(until, place, limit)
        if client is None:
            reasons = [why_removed(user, now, self._days) for user in users]
        else:
            reasons = self._ask(client, users, now)
        chosen = [pair for pair in zip(users, reasons, strict=True) if pair[1]]
        if chosen and not dry_run:
            entries = [(user, removal(user, actor, now, reason)) for user, reason in chosen]
            gone = self._records.remove(entries)
            chosen = [(u, reason) for u, reason in chosen if (u.instance_id, u.id) in gone]
        if users:
            place = (users[-1].created_at, users[-1].id)
        return Page(len(users), tuple(chosen), place, len(users) == limit)

    def _ask(self, client: IdentityClient, users: Sequence[User], now: datetime) -> list[str]:
        """The reason to remove each record, by Identity's word; empty: it stays.

        Identity is asked twice about those to be removed, and in between about others.
        """

        def ask(user: User) -> str:
            try:
                account = look_at(client, user.id)
            except IdentityAccountUnreadableError:  # it has one, confirmed or not
                return ""
            return why_removed_by(account, user, now, self._days)

        first = [ask(user) for user in users]
        if not any(first):
            return first
        require_acquaintance(client, self._records)
        return [reason and ask(user) for user, reason in zip(users, first, strict=True)]


def require_acquaintance(client: IdentityClient, records: PendingRecords) -> None:
    """Insist that this Identity knows the site: at another address all look missing.

    Where somebody is active here, one of some such users must have an account there. Before that,
    the list of accounts must be readable, and hold a known one unless it is empty.

    Raises:
        SyncStrangerError: it knows nobody.
    """
    if active := records.active():
        known = any(has_account(client, user_id) for user_id in active)
    else:
        page = client.users(1, ACCOUNTS)
        ids = [person.id for person in page.users]
        known = not page.accounts or records.knows(ids)
    if known:
        return
    raise SyncStrangerError(
        "Identity knows nobody of this site, so its word about missing accounts counts for "
        "nothing. Is USHER_IDENTITY_URL the right one?"
    )


def look_at(client: IdentityClient, user_id: UUID) -> IdentityUser | None:
    """One account; where Identity fails for it alone, the others do not wait for it.

    Raises:
        IdentityAccountUnreadableError: it cannot be read, or Identity fails for it alone.
    """
    try:
        return client.user(user_id)
    except IdentityCredentialsError:
        raise
    except IdentityUnavailableError as error:
        if client.is_away():
            raise
        raise IdentityAccountUnreadableError(error.detail, "no_answer") from None


def has_account(client: IdentityClient, user_id: UUID) -> bool:
    """Whether Identity has shown an account, readable or not."""
    try:
        return look_at(client, user_id) is not None
    except IdentityAccountUnreadableError as error:
        return error.trouble != "no_answer"
