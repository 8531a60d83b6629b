"""The erasure of personal data from audit, ledger, requests and outbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from usher.core.domain.records import ERASED, LEFT
from usher.core.store.database import Transaction
from usher.core.store.statements import (
    AUDIT_OF,
    DELETE_REQUESTS,
    ERASE_BODIES,
    ERASE_FAILURES,
    ERASE_OUTBOX,
    ERASE_REPLIES,
    REWRITE_AUDIT,
)
from usher.core.store.values import document_of
from usher.core.strict_json import dumps

_ERASED: Final = dumps([[ERASED.rule, ERASED.text]])


def erase(transaction: Transaction, instance: str, user: str) -> None:
    """Erase personal values from a user's audit and deliveries; entries and deliveries stay.

    Of deliveries these are bodies, addresses, replies that hold metadata, and the messages of
    failures. Ids, digests, outcomes and other reasons stay. Requests are removed, and the
    errors of the outbox, which may hold the words of a handler. In the entry of the deletion what
    handlers wrote stays (``usher.core.store.left_keys``).

    Args:
        instance, user: the key, as rows have it.
    """
    for sequence, before, after in transaction.fetch(AUDIT_OF, instance, user):
        old = None if before is None else _impersonal(before)
        transaction.send(REWRITE_AUDIT, old, _impersonal(after), "", sequence)
    transaction.send(DELETE_REQUESTS, instance, user)
    transaction.send(ERASE_OUTBOX, instance, user)
    transaction.send(ERASE_BODIES, instance, user)
    transaction.send(ERASE_REPLIES, instance, user)
    transaction.send(ERASE_FAILURES, _ERASED, instance, user)


def _impersonal(text: str) -> str:
    values: Mapping[str, Any] = document_of(text)
    kept = {key: values[key] for key in ("status", "provider", LEFT) if key in values}
    if "roles" in values:
        kept["roles"] = {
            role: {source: word | {"reason": ""} for source, word in said.items()}
            for role, said in values["roles"].items()
        }
    return dumps(kept)
