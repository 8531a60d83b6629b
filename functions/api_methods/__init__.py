"""The resources of the API, one file each, and the table of all operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from usher.functions._shared.operation import Operation
from usher.functions.api_methods import (
    audit,
    changes,
    codes,
    door,
    events,
    health,
    invitations,
    keys,
    me,
    openapi,
    outbox,
    policy,
    policy_trial,
    requests,
    roles,
    sinks,
    stats,
    users,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    *health.OPERATIONS,
    *door.OPERATIONS,
    *me.OPERATIONS,
    *users.OPERATIONS,
    *requests.OPERATIONS,
    *invitations.OPERATIONS,
    *roles.OPERATIONS,
    *codes.OPERATIONS,
    *keys.OPERATIONS,
    *sinks.OPERATIONS,
    *outbox.OPERATIONS,
    *events.OPERATIONS,
    *audit.OPERATIONS,
    *changes.OPERATIONS,
    *stats.OPERATIONS,
    *policy.OPERATIONS,
    *policy_trial.OPERATIONS,
    *openapi.operations(lambda: OPERATIONS),
)

_BY_PATH: Final[Mapping[str, Mapping[str, Operation]]] = {
    operation.path: {each.method: each for each in OPERATIONS if each.path == operation.path}
    for operation in OPERATIONS
}
_PATTERNS: Final = [
    (next(iter(methods.values())).pattern, methods) for methods in _BY_PATH.values()
]


def find_operations(path: str) -> tuple[Mapping[str, Operation], Mapping[str, str]]:
    """Return a path's operations by method, and its variable parts; empty where it is unknown."""
    for pattern, methods in _PATTERNS:
        if found := pattern.fullmatch(path):
            return methods, found.groupdict()
    return {}, {}
