"""Identity's accounts, asked before changes that a signup caused are handed over."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final
from uuid import UUID

from usher.core.errors import IdentityAccountUnreadableError
from usher.core.identity.unconfirmed import look_at, require_acquaintance

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.store.pending import PendingRecords

REMEMBERED: Final = 10_000


class KnownAccounts:
    """The accounts of one Identity; an account that was seen once is not asked about again.

    All consumers of a process share it.
    """

    def __init__(self, client: IdentityClient, records: PendingRecords) -> None:
        self._client = client
        self._records = records
        self._seen: OrderedDict[UUID, None] = OrderedDict()
        self._lock = Lock()

    def has(self, user_id: UUID) -> bool:
        """Whether Identity has this account, readable or not.

        Raises:
            IdentityUnavailableError, IdentityRefusedError, IdentityAccountUnreadableError:
                Identity does not say.
            SyncStrangerError: Identity does not know this site, so its no counts for nothing.
            DatabaseError: the database cannot be used.
        """
        with self._lock:
            if user_id in self._seen:
                return True
        if not self._ask(user_id):
            require_acquaintance(self._client, self._records)
            return False
        with self._lock:
            self._seen[user_id] = None
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return True

    def _ask(self, user_id: UUID) -> bool:
        try:
            return look_at(self._client, user_id) is not None
        except IdentityAccountUnreadableError as error:
            if error.trouble == "no_answer":
                raise
            return True
