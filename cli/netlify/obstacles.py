"""Obstacles: a sentence for each thing of a site that is in Usher's way, or would be published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from usher.cli.netlify.site import Site, relative
from usher.netlify.configuration import (
    BUILT,
    CONFIGURATION,
    FUNCTIONS,
    MADE,
    table,
    table_name,
)
from usher.netlify.reserved import is_reserved

MIN_PYTHON: Final = (3, 11)
NOT_LOOKED_INTO: Final = frozenset({".git", "node_modules"})
SOURCES: Final = frozenset({".cjs", ".cts", ".go", ".js", ".mjs", ".mts", ".ts"})
DATABASES: Final = frozenset({".db", ".db-wal", ".sqlite3"})
SHOWN: Final = frozenset({".example", ".sample", ".template"})
"""Ends of the names of settings that are examples."""


def old_python(site: Site) -> str | None:
    """Return a sentence where the site chose a Python that is too old."""
    environment = table(site.build, table_name(site.build, "environment"))
    chosen = {"PYTHON_VERSION in netlify.toml": str(environment.get("PYTHON_VERSION", ""))}
    for name in ("runtime.txt", ".python-version"):
        path = site.base / name
        chosen[name] = path.read_text("utf-8", "replace") if path.is_file() else ""
    for place, text in chosen.items():
        version = re.search(r"(\d+)(?:\.(\d+))?", text)
        if version and (int(version[1]), int(version[2] or MIN_PYTHON[1])) < MIN_PYTHON:
            return f"{place} is {version[0]}, and Usher needs 3.11 or newer. Raise it first."
    return None


def private_files(site: Site, publish: str | None, *, python: bool) -> str | None:
    """Return a sentence on a private file that is published, or would be; None where there is none.

    Args:
        site: the site.
        publish: the folder that is published.
        python: whether Usher's functions, and with them the policy, are built into the site.
    """
    made = (BUILT, "policy.toml") if python else ()
    for name, folder in site.publishes(publish):
        found = [relative(path, site.base) for path in _secrets_below(folder)]
        found += [each for each in made if (site.base / each).resolve().is_relative_to(folder)]
        if not found:
            continue
        listed = ", ".join(dict.fromkeys(found))
        if not site.base.is_relative_to(folder):
            return (
                f'publish = "{name}" publishes {listed}. Move these out of it, and make new '
                "secrets where some were in them."
            )
        why = "" if publish else f" ({CONFIGURATION} has no publish)"
        return (
            f'publish = "{name}"{why} publishes the whole folder, with {listed}. Put the pages '
            'into a folder of their own, such as public/, and publish that: publish = "public" '
            "under [build], or --publish where Netlify's own settings have it."
        )
    return None


def _secrets_below(folder: Path) -> Iterator[Path]:
    """Settings, databases and policies that are there already."""
    for path in _files_below(folder):
        name = path.name
        settings = name == ".env" or (name.startswith(".env.") and path.suffix not in SHOWN)
        if settings or name == "policy.toml" or path.suffix in DATABASES:
            yield path


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - NOT_LOOKED_INTO)
        yield from (Path(place, name) for name in sorted(files))


def hidden_pages(site: Site, publish: str | None) -> Iterator[str]:
    """Yield a sentence for each folder of pages that the redirect of /api would hide."""
    for folder in (path / "api" for path in site.pages_from(publish)):
        if folder != site.base / site.functions and next(_files_below(folder), None):
            yield f"{relative(folder, site.base)} is published at /api, which Usher needs. Move it."


def taken_functions(site: Site) -> Iterator[str]:
    """Yield a sentence for each function of the site that cannot be beside Usher's."""
    for path, name, text in _functions(site):
        where = relative(path, site.base)
        if name in FUNCTIONS and not text.startswith(MADE):
            yield f"{where} is a function named {name}, as one of Usher's is. Rename yours."
        elif is_reserved(name):
            yield (
                f"{where} has a name of which Netlify calls the function itself, and Usher takes "
                "the event. Move what it does into a handler of Usher's (docs/your-code.md), or "
                "rename it."
            )
        elif re.search(r"path\s*:\s*\[?\s*[\"'`]/api(?:/|[\"'`])", text):
            yield f"{where} answers a path below /api, which Usher needs. Give it another path."


def _functions(site: Site) -> Iterator[tuple[Path, str, str]]:
    """Yield each file of the functions, the name of its function, and its text."""
    folder = site.base / site.functions
    for path in _files_below(folder):
        if path.suffix in SOURCES:
            name = path.relative_to(folder).parts[0].partition(".")[0]
            yield path, name, path.read_text("utf-8", "replace")
