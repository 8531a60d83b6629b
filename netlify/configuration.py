"""A site's netlify.toml, as Netlify reads it, and the names of what Usher makes in a site."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from usher.core.errors import BuildError

CONFIGURATION: Final = "netlify.toml"
MADE: Final = "// Made by usher netlify build"
"""Begins each function that the build makes."""
FUNCTIONS: Final = ("api", "identity", "usher-maintenance")
"""The functions that are Usher's."""
FUNCTIONS_FOLDER: Final = "netlify/functions"
"""Netlify's default."""
BUILT: Final = "netlify/usher"
"""The folder for Python and its packages, made by the build."""


def read(site: Path) -> Mapping[str, Any]:
    """Read the netlify.toml of the folder that the build runs in: there, or above, naming it.

    Raises:
        BuildError: it cannot be read.
    """
    for folder in (site, *site.parents):
        document = _parsed(folder / CONFIGURATION)
        if document is not None:
            base = setting(table(document, table_name(document, "build")), "base")
            is_base = isinstance(base, str) and (folder / base.strip("/")).resolve() == site
            return document if folder == site or is_base else {}
        if (folder / ".git").exists():
            break
    return {}


def _parsed(path: Path) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be read: {error}") from None


def functions_folder(document: Mapping[str, Any]) -> str | None:
    """Return the folder of functions that netlify.toml names, in its new form or its old one."""
    build = table(document, table_name(document, "build"))
    found = table(document, "functions").get("directory", setting(build, "functions"))
    return found.strip("/") if isinstance(found, str) and found.strip("/") else None


def setting(table: Mapping[str, Any], name: str) -> Any:
    """Return a setting of the build, which Netlify also reads with a capital."""
    return table.get(name, table.get(name.capitalize()))


def table_name(document: Mapping[str, Any], name: str) -> str:
    """Return how the document spells the name of a table."""
    return next((each for each in (name, name.capitalize()) if each in document), name)


def table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of a document, an empty one where there is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}
