"""A check for published folders, whose files anybody could read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

CONFIGURATION: Final = "netlify.toml"
START_PAGES: Final = ("index.html", "index.htm", "index.php")
ALWAYS: Final = frozenset({"htdocs", "public_html", "wwwroot"})
"""Names of folders that only web servers use."""
OFTEN: Final = ALWAYS | {"_site", "build", "dist", "html", "out", "public", "static", "www"}
"""Names of published folders within a project; above it they may mean something else."""


def why_published(folder: Path) -> str | None:
    """Return a sentence on why the folder is, or may be, published; None where nothing says so.

    Args:
        folder: absolute, with links resolved.
    """
    root = _project(folder)
    for page in START_PAGES:
        if (folder / page).exists():
            return f"It holds {page}, so a web server may publish it."
    within = folder.relative_to(root or _home_or_top(folder)).parts
    for name, names in [*((part, OFTEN) for part in within), *((p, ALWAYS) for p in folder.parts)]:
        if name.lower() in names:
            return f"Folders called {name} are published by web servers and build tools."
    for place in (folder, *folder.parents):
        if (place / CONFIGURATION).is_file():
            return _by_netlify(place, folder)
        if place == root:
            break
    return None


def _project(folder: Path) -> Path | None:
    """Return the top of the git work tree around the folder, or None."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _home_or_top(folder: Path) -> Path:
    try:
        home = Path.home().resolve()
    except RuntimeError:  # the system does not know this user
        return Path(folder.anchor)
    return home if folder.is_relative_to(home) else Path(folder.anchor)


def _by_netlify(site: Path, folder: Path) -> str | None:
    """Return a sentence where netlify.toml publishes the folder in any context."""
    try:
        document = tomllib.loads((site / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{site / CONFIGURATION}, which may publish it, cannot be read: {error}."
    for base, publish in _publishes(document):
        # Relative to the base where there is one; "/" is the repository.
        for start in (site, site / base.strip("/")):
            published = (start / publish.strip("/")).resolve()
            if folder.is_relative_to(published):
                return f'{site / CONFIGURATION} publishes it: publish = "{publish}".'
    return None


def _publishes(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield ``base`` and ``publish`` of the build, and of each context with a ``publish``."""
    build = document.get("build")
    build = build if isinstance(build, dict) else {}
    contexts = document.get("context")
    contexts = contexts if isinstance(contexts, dict) else {}
    for table in (build, *contexts.values()):
        if isinstance(table, dict) and isinstance(table.get("publish"), str):
            yield str(table.get("base") or build.get("base") or ""), table["publish"]
