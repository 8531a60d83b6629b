"""A check for published folders, whose files anybody could read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from usher.netlify.configuration import CONFIGURATION

START_PAGES: Final = ("index.html", "index.htm", "index.php")
ALWAYS: Final = frozenset({"htdocs", "public_html", "wwwroot"})
"""Names of folders that only web servers use."""
SITES: Final = "www"
"""A published folder, or one of sites, as /var/www is."""
SERVED: Final = ALWAYS | {"html", "public", SITES}
"""Names of the folder of a site that a web server publishes, and of nothing else beside it."""
OFTEN: Final = SERVED | {"_site", "build", "dist", "out", "static"}
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
    if name := _public_name(folder, root or _home_or_top(folder)):
        return f"Folders called {name} are published by web servers and build tools."
    for place in (folder, *folder.parents):
        # Each may belong to another site, so the nearest has not the last word.
        if (place / CONFIGURATION).is_file() and (reason := _by_netlify(place, folder)):
            return reason
        if place == root:
            break
    return None


def _public_name(folder: Path, top: Path) -> str | None:
    """Return the name of the folder, or of one above it, that is published by its name."""
    for place in (*reversed(folder.parents), folder):
        name = place.name.lower()
        often = name in OFTEN and place != top and place.is_relative_to(top)
        if name in ALWAYS or (often and not (name == SITES and _serves_another(place, folder))):
            return place.name
    return None


def _serves_another(sites: Path, folder: Path) -> bool:
    """Whether the folder's site in /var/www has a folder of its own for what is published."""
    below = folder.relative_to(sites).parts
    try:
        return bool(below) and any(
            path.name.lower() in SERVED and path.is_dir() for path in (sites / below[0]).iterdir()
        )
    except OSError:  # there is no such site yet
        return False


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
    file = site / CONFIGURATION
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{file}, which may publish it, cannot be read: {error}."
    for base, publish in _publishes(_lowered(document)):
        if publish is None:
            if folder.is_relative_to((site / base.strip("/")).resolve()):
                return (
                    f'{file} publishes it, for it has no line publish = "…" under [build]: write '
                    "one, with the folder of the pages."
                )
            continue
        # Relative to the base where there is one; "/" is the repository.
        for start in (site, site / base.strip("/")):
            if folder.is_relative_to((start / publish.strip("/")).resolve()):
                return f'{file} publishes it: publish = "{publish}".'
    return None


def _publishes(document: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield ``base`` and ``publish`` of the build, and of each context that has one of them.

    Without ``publish``, Netlify publishes the base, or the whole site.
    """
    build = _table(document, "build")
    yield _text(build, "base") or "", _text(build, "publish")
    for context in _table(document, "context").values():
        if isinstance(context, dict) and not context.keys().isdisjoint({"base", "publish"}):
            publish = _text(context, "publish")
            yield (
                _text(context, "base") or _text(build, "base") or "",
                _text(build, "publish") if publish is None else publish,
            )


def _lowered(value: Any) -> Any:
    """Netlify reads [Build] and Publish like [build] and publish."""
    if isinstance(value, dict):
        return {str(name).lower(): _lowered(inner) for name, inner in value.items()}
    return value


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(table: dict[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value if isinstance(value, str) else None
