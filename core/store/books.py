"""The book of a batch (``domain.book``), read under lock and written with what the batch decides.

Only a policy with invitation codes or quotas needs one. The order of locks is: users, codes by
digest, tallies by place. So batches wait for one another, and never in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from usher.core.domain.book import Book, digests_in, gives_code, places_in
from usher.core.domain.codes import Code
from usher.core.domain.counting import Counting
from usher.core.domain.events import Event
from usher.core.domain.quotas import Place
from usher.core.domain.records import Key, User
from usher.core.store.counters import count_refused_codes
from usher.core.store.database import Transaction
from usher.core.store.statements import (
    FIND_CODES,
    FIND_TALLIES,
    INTO_CODE_USES,
    INTO_TALLIES,
    LOCK_CODES,
    LOCK_TALLIES,
    USE_CODE,
    USES_OF,
)
from usher.core.store.values import document_of, hex_of, time_text

_ADD: Final = INTO_TALLIES.adding("people")
_IF_NONE: Final = " ON CONFLICT DO NOTHING"


def open_book(
    transaction: Transaction,
    counting: Counting,
    events: Sequence[Event],
    users: Mapping[Key, User],
    *,
    locked: bool = True,
) -> Book:
    """The book for these events.

    Args:
        users: their records; somebody who is counted already is not counted again.
        locked: what it says stays true until the transaction ends, which writes it. Else it is
            only looked at.
    """
    book = Book(counting)
    if digests := sorted(digests_in(events, counting)):
        rows = transaction.fetch(LOCK_CODES if locked else FIND_CODES, digests)
        book.codes = {code.digest: code for code in map(to_code, rows)}
    if book.codes:
        askers = [event.key for event in events if gives_code(event, counting)]
        for instance_id, ids in _by_instance(askers):
            found = transaction.fetch(USES_OF, hex_of(instance_id), ids)
            book.used |= {(code_id, (instance_id, user_id)) for user_id, code_id in found}
    new = [event for event in events if not _is_counted(users.get(event.key))]
    _read_tallies(transaction, book, places_in(new, counting), locked=locked)
    return book


def write_book(transaction: Transaction, book: Book, now: datetime) -> None:
    """Write what the decisions of a batch used up."""
    at = time_text(now)
    for code_id, number in sorted(Counter(hex_of(code.id) for code, _ in book.new_uses).items()):
        transaction.send(USE_CODE, number, code_id)
    transaction.insert(
        INTO_CODE_USES,
        [(hex_of(key[0]), hex_of(key[1]), hex_of(code.id), at) for code, key in book.new_uses],
    )
    added = sorted(book.new_places.items(), key=lambda each: _place_row(each[0], 0))
    transaction.insert(INTO_TALLIES, [_place_row(*each) for each in added], _ADD)
    if book.refused:
        count_refused_codes(transaction, book.refused, now)


def to_code(row: Any) -> Code:
    """A code from its row, whose columns are those of ``FIND_CODES``."""
    code_id, digest, label, allowed, used, roles, roles_until, ends_at, made_at, made_by, gone = row
    given = tuple(document_of(roles) if isinstance(roles, str) else roles)
    return Code(
        code_id, digest, label, allowed, used, given, made_at, made_by, roles_until, ends_at, gone
    )


def _read_tallies(
    transaction: Transaction, book: Book, places: Iterable[Place], *, locked: bool
) -> None:
    by_key = {(place.instance_id, place.key): place for place in places}
    if locked:  # a row that is not there cannot be locked
        rows = sorted(_place_row(place, 0) for place in by_key.values())
        transaction.insert(INTO_TALLIES, rows, _IF_NONE)
    for instance_id, keys in _grouped(by_key):
        statement = LOCK_TALLIES if locked else FIND_TALLIES
        for key, people in transaction.fetch(statement, hex_of(instance_id), keys):
            book.tallies[by_key[instance_id, key]] = people


def _place_row(place: Place, people: int) -> tuple[Any, ...]:
    """In the order of ``INTO_TALLIES``."""
    return hex_of(place.instance_id), place.key, time_text(place.ends_at), people


def _by_instance(keys: Iterable[Key]) -> list[tuple[UUID, list[str]]]:
    return _grouped((instance_id, hex_of(user_id)) for instance_id, user_id in keys)


def _grouped(pairs: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, list[str]]]:
    """The second parts by the first, all in order."""
    found: dict[UUID, set[str]] = {}
    for instance_id, text in pairs:
        found.setdefault(instance_id, set()).add(text)
    return [(instance_id, sorted(texts)) for instance_id, texts in sorted(found.items())]


def _is_counted(user: User | None) -> bool:
    return user is not None and user.counted
