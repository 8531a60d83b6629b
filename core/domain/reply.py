"""What an event is answered: a status and a body, rendered once, when it is decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from usher.core.domain.problem import CONTENT_TYPE, as_problem
from usher.core.errors import UsherError
from usher.core.strict_json import dumps, loads_object


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, character for character; ``body`` is empty for 202 and 204."""

    status: int
    content_type: str = ""
    body: str = ""

    @classmethod
    def telling(cls, app_metadata: Mapping[str, Any]) -> Reply:
        """200 with the whole ``app_metadata``, which Identity takes over."""
        return cls(200, "application/json", dumps({"app_metadata": app_metadata}))

    @classmethod
    def refusing(cls, error: UsherError) -> Reply:
        """The error, as every caller reads it."""
        return cls(error.status, CONTENT_TYPE, dumps(as_problem(error)))

    @property
    def app_metadata(self) -> dict[str, Any] | None:
        """What a 200 tells, read out of the body; None: any other answer tells nothing."""
        if self.status != 200:
            return None
        told: dict[str, Any] = loads_object(self.body.encode())["app_metadata"]
        return told


NO_CONTENT: Final = Reply(204)
