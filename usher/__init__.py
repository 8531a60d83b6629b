"""Usher: the Python back end for sites whose accounts live in Netlify Identity.

The names for a site's own code are loaded when they are first used; nothing else is loaded before.
"""

TYPE_CHECKING = False
"""True to type checkers, which know it by its name; ``typing`` would load a dozen modules."""

if TYPE_CHECKING:
    from typing import Any

    from usher.core.domain.outbox import Change, Person, Write
    from usher.core.outbox.handlers import after

__version__ = "0.1.0"
__all__ = ["Change", "Person", "Write", "__version__", "after"]

_FROM = {
    "Change": "usher.core.domain.outbox",
    "Person": "usher.core.domain.outbox",
    "Write": "usher.core.domain.outbox",
    "after": "usher.core.outbox.handlers",
}


def __getattr__(name: str) -> "Any":
    if name not in _FROM:
        raise AttributeError(f"module 'usher' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(_FROM[name]), name)
