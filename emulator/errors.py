"""The errors that Identity answers with; imports nothing."""

from __future__ import annotations


class IdentityError(Exception):
    """GoTrue's common form: ``{"code": 422, "msg": "…"}``.

    Attributes:
        status: of the answer.
        message: tells the caller the reason.
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


class BearerError(IdentityError):
    """401: the request has no good bearer token."""

    def __init__(self, message: str) -> None:
        super().__init__(401, message)


class TooSoonError(IdentityError):
    """429: the same mail was sent a moment ago."""

    def __init__(self) -> None:
        super().__init__(429, "Rate limit exceeded, try again later")


class MethodError(IdentityError):
    """405: the path exists, the method does not.

    Attributes:
        allow: the methods that the path has.
    """

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(405, "Method not allowed")
        self.allow = allow


class NoRouteError(IdentityError):
    """404: there is no such path."""

    def __init__(self) -> None:
        super().__init__(404, "Page not found")


INVALID_GRANT = "No user found with that email, or password invalid."
USER_NOT_FOUND = "User not found"
NO_SIGNUPS = "Signups not allowed for this instance"
ADDRESS_TAKEN = "Email address already registered by another user"
