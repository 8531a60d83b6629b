"""``/roles``: the roles in use."""

from __future__ import annotations

from usher.core.domain.keys import Scope
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Operation, json_response
from usher.functions.api_methods import schemas


def read(call: Call) -> Response:
    """Return each role that users have or the policy can give, with its number of users."""
    held = call.app.store.users.counts("role")
    given = call.app.policy.role_names
    roles = [
        {"role": role, "users": held.get(role, 0), "policy": role in given}
        for role in sorted({*held, *given})
    ]
    return json_response({"roles": roles})


OPERATIONS = (
    Operation(
        "GET",
        "/roles",
        "The roles in use",
        Access.ADMINISTRATOR,
        read,
        schemas.RoleList,
        scope=Scope.USERS_READ,
    ),
)
