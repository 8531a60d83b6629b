"""Functions that Netlify itself calls with Identity's events, by their names or their exports.

It signs such a call with a secret that nobody is shown, or not at all, so Usher can verify nothing
and refuses it: with one of them, nobody could sign up. The outgoing webhook, which has its own
secret, is the way of events to Usher.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

HANDLERS: Final = MappingProxyType(
    {
        "userDeleted": "identity-userdeleted",
        "userLogin": "identity-login",
        "userModified": "identity-usermodified",
        "userSignup": "identity-signup",
        "userValidate": "identity-validate",
    }
)
"""Methods of a function's default export that Netlify calls, and the event of each."""
NAMES: Final = frozenset(HANDLERS.values())
"""Names of functions that Netlify calls, with ``BACKGROUND`` after them too."""
BACKGROUND: Final = "-background"
INSTEAD: Final = (
    "Set an outgoing webhook at Netlify (Identity, with a secret) to "
    "/.netlify/functions/identity, which Usher verifies; "
    "put what the function does into a handler of Usher's (docs/your-code.md), and remove it."
)
_SOURCES: Final = frozenset((".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"))
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)
_HANDLER: Final = re.compile(rf"(?<![\w.$])({'|'.join(HANDLERS)})\s*[(:,}}]")
_NOT_LOOKED_INTO: Final = frozenset(("node_modules", ".git"))


def is_reserved(name: str) -> bool:
    """Whether Netlify calls a function of this name with an event of Identity's."""
    return name.lower().removesuffix(BACKGROUND) in NAMES


def reserved_files(folder: Path) -> Iterator[Path]:
    """Yield each function in a folder of functions that has a reserved name.

    Netlify names a function by its file, in whatever language, its archive, or its folder.
    """
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if is_reserved(path.name if path.is_dir() else path.stem):
                yield path


def typed_handlers(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file in a folder of functions that exports a handler of Identity's events.

    Beside it stand the names of the handlers. Sources are searched, not run, so a file may be named
    that only mentions them: this is worth a warning, not a refusal.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _SOURCES or not _NOT_LOOKED_INTO.isdisjoint(path.parts):
            continue
        text = _COMMENT.sub("", path.read_text("utf-8", "replace")) if path.is_file() else ""
        if "export default" in text or "exports" in text:
            found = sorted({match[1] for match in _HANDLER.finditer(text)})
            if found:
                yield path, ", ".join(found)


def problems(folder: Path) -> list[str]:
    """Return a sentence for each function that a build must refuse."""
    return [
        f"{path} has a name by which Netlify itself calls it with Identity's events, and nobody "
        f"is shown the secret that signs them: every sign-up would be refused. {INSTEAD}"
        for path in reserved_files(folder)
    ]


def warnings(folder: Path) -> list[str]:
    """Return a sentence for each function that seems to take Identity's events by its exports."""
    return [
        f"{path} seems to take Identity's events ({names}): Netlify calls it without a signature, "
        f"and a configured webhook may exclude it. {INSTEAD}"
        for path, names in typed_handlers(folder)
    ]
