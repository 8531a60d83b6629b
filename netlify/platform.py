"""What Netlify passes to a function beside the request: Identity's context, and the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from usher.core.app import App

if TYPE_CHECKING:
    from usher.core.auth import TrustedCaller


def begin(usher: App, identity: object) -> None:
    """Begin an invocation with its token for Identity, or without one; an event needs none.

    Args:
        identity: ``{url, token}``: of a v2 function ``globalThis.netlifyIdentityContext``, of a v1
            function ``context.clientContext.identity``. A ``user`` in it is not looked at. None:
            the invocation has no context.
    """
    if not usher.settings.use_platform_token:
        return
    context: Mapping[str, Any] = identity if isinstance(identity, Mapping) else {}
    usher.platform.renew(context.get("url"), context.get("token"))


def caller(
    usher: App, client_context: object, authorization: Sequence[str]
) -> TrustedCaller | None:
    """The caller of a Lambda-compatible (v1) function, where Netlify may vouch for them.

    Args:
        client_context: ``context.clientContext``. Never what a v2 function has: that comes as a
            header of the request.
        authorization: values of all Authorization headers.
    """
    if not usher.settings.trust_platform:
        return None
    from usher.core.platform_callers import caller_of_netlify  # noqa: PLC0415 - events need none

    now = usher.clock().timestamp()
    return caller_of_netlify(client_context, authorization, now, usher.settings)
