"""How Identity says no; imports nothing."""

from __future__ import annotations


class IdentityError(Exception):
    """GoTrue's common form: ``{"code": 422, "msg": "…"}``.

    Attributes:
        status: of the answer.
        message: for the caller.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class OAuthError(Exception):
    """The form of ``/token``: ``{"error": "…", "error_description": "…"}``, always 400."""

    status = 400

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


class MethodError(IdentityError):
    """The path exists, the method does not.

    Attributes:
        allow: methods that do.
    """

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(405, "Method not allowed")
        self.allow = allow


INVALID_GRANT = "No user found with that email, or password invalid."
USER_NOT_FOUND = "User not found"
NO_SIGNUPS = "Signups not allowed for this instance"
ADDRESS_TAKEN = "Email address already registered by another user"
