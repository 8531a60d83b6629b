"""The check of the functions in this folder: none that Netlify calls with Identity's events."""

from __future__ import annotations

from pathlib import Path

from usher.cli.checks.findings import Advice, Finding, Kind, Severity
from usher.netlify.reserved import INSTEAD, reserved_files, typed_handlers

FOLDER = Path("netlify", "functions")
"""Netlify's default."""
RESERVED = Kind(
    "functions.reserved",
    "{file} has a name by which Netlify itself calls it with Identity's events",
    (
        Advice(
            "Netlify signs such a call with a secret that nobody is shown, so Usher could only "
            "refuse it, and with it every sign-up.",
            INSTEAD,
        ),
    ),
)
TYPED = Kind(
    "functions.typed",
    "{file} seems to take Identity's events by its exports: {names}",
    (
        Advice(
            "Netlify calls such a handler without a signature; what it decides, no policy knows.",
            INSTEAD,
        ),
    ),
    Severity.WARNING,
)


def function_findings(here: Path) -> list[Finding]:
    """Return a finding for each such function; none where this folder is no site's."""
    folder = here / FOLDER
    return [
        *(RESERVED.found(file=str(path.relative_to(here))) for path in reserved_files(folder)),
        *(
            TYPED.found(file=str(path.relative_to(here)), names=names)
            for path, names in typed_handlers(folder)
        ),
    ]
