"""The reply to an event: status and body, rendered once, with the decision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from usher.core.domain.problem import CONTENT_TYPE, as_problem
from usher.core.errors import DeniedError, UsherError
from usher.core.strict_json import dumps, loads_object


class Reply(Struct, frozen=True, gc=False):
    """A reply, character for character; ``body`` is empty for 202 and 204."""

    status: int
    content_type: str = ""
    body: str = ""

    @classmethod
    def telling(cls, app_metadata: Mapping[str, Any]) -> Reply:
        """200 with the whole ``app_metadata``, which Identity takes over."""
        return cls(200, "application/json", dumps({"app_metadata": app_metadata}))

    @classmethod
    def refusing(cls, error: UsherError) -> Reply:
        """The error as problem details."""
        return cls(error.status, CONTENT_TYPE, dumps(as_problem(error)))

    @property
    def app_metadata(self) -> dict[str, Any] | None:
        """The ``app_metadata`` in a 200's body; None for any other status."""
        if self.status != 200:
            return None
        told: dict[str, Any] = loads_object(self.body.encode())["app_metadata"]
        return told

    @property
    def refusal(self) -> str:
        """The sentence for the person, where this refuses one; empty for any other reply."""
        if self.status != DeniedError.status:
            return ""
        document = loads_object(self.body.encode())
        return str(document.get("detail", "")) if document["code"] == DeniedError.code else ""


NO_CONTENT: Final = Reply(204)
