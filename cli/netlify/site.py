"""The site that ``usher netlify setup`` works on: its netlify.toml and folders, as they are."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from usher.cli.netlify import redirects, toml_text
from usher.netlify.configuration import (
    CONFIGURATION,
    FUNCTIONS_FOLDER,
    functions_folder,
    setting,
    table,
    table_name,
)

PUBLISHED_BY: Final = {
    "@11ty/eleventy": "_site",
    "@docusaurus/core": "build",
    "@vue/cli-service": "dist",
    "astro": "dist",
    "gatsby": "public",
    "parcel": "dist",
    "react-scripts": "build",
    "vite": "dist",
}
"""The folder that these tools build into, unless they are told another; the first found counts."""
RUNNERS: Final = {
    "bun.lock": "bun run build",
    "bun.lockb": "bun run build",
    "pnpm-lock.yaml": "pnpm run build",
    "yarn.lock": "yarn build",
}


class SetupError(click.ClickException):
    """The site cannot be set up as it is; the sentence says what to do."""


@dataclass(frozen=True)
class Site:
    """A site in its repository.

    Attributes:
        configuration: the netlify.toml that counts, which may be missing.
        text: its text, empty where it is missing.
        document: the same, parsed.
        base: the folder that the build runs in; paths are relative to it.
        package: package.json of the base, empty where there is none.
    """

    configuration: Path
    text: str
    document: Mapping[str, Any]
    base: Path
    package: Mapping[str, Any] = field(default_factory=dict)

    @property
    def functions(self) -> str:
        """The folder of functions, relative to the base."""
        return functions_folder(self.document) or FUNCTIONS_FOLDER

    @property
    def publish(self) -> str | None:
        """The folder that netlify.toml publishes, None where it names none."""
        found = setting(self.build, "publish")
        return found if isinstance(found, str) and found else None

    @property
    def build(self) -> Mapping[str, Any]:
        """The table of the build."""
        return table(self.document, table_name(self.document, "build"))

    def publishes(self, publish: str | None) -> list[tuple[str, Path]]:
        """Return what is published, in any context; without a name that is the base."""
        found = [publish or "."]
        contexts = table(self.document, "context")
        for context in (table(contexts, name) for name in contexts):
            for settings in (context, table(context, "build")):
                other = setting(settings, "publish")
                found += [other] if isinstance(other, str) and other else []
        return [(name, (self.base / name.strip("/")).resolve()) for name in dict.fromkeys(found)]

    def usual_publish(self) -> str | None:
        """Return the folder that the site's tool builds into, None where it is not known."""
        used = {
            name
            for kind in ("dependencies", "devDependencies")
            for name in table(self.package, kind)
        }
        return next((folder for name, folder in PUBLISHED_BY.items() if name in used), None)

    def usual_command(self) -> str:
        """Return the command for the script ``build`` of package.json, empty without one."""
        if "build" not in table(self.package, "scripts"):
            return ""
        locks = (run for lock, run in RUNNERS.items() if (self.base / lock).exists())
        return next(locks, "npm run build")

    def is_one(self) -> bool:
        """Whether anything says that this is a site."""
        pages = (page for folder in (".", "public", "site") for page in _pages(self.base / folder))
        return bool(self.text or self.package) or any(pages)

    def pages_from(self, publish: str | None) -> list[Path]:
        """Return the folders whose files are published: as they are, or copied by the build."""
        folders = [self.base.resolve() / name for name in ("public", "static")]
        folders += [path for _, path in self.publishes(publish)]
        return list(dict.fromkeys(folders))

    def rules_of_files(self, publish: str | None) -> list[redirects.Rule]:
        """Read the ``_redirects`` files, built ones and those that builds copy, once each."""
        found: list[redirects.Rule] = []
        seen: set[str] = set()
        for folder in self.pages_from(publish):
            path = folder / "_redirects"
            text = path.read_text("utf-8", "replace") if path.is_file() else ""
            if text not in seen:
                found += redirects.of_file(relative(path, self.base), text)
                seen.add(text)
        return found


def find(folder: Path) -> Site:
    """Read the site in a folder.

    Raises:
        SetupError: its netlify.toml cannot be read, or is in a folder above.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise SetupError(f"{folder} is no folder.")
    configuration = folder / CONFIGURATION
    if not configuration.exists():
        _refuse_below_a_site(folder)
    text, document = _read(configuration)
    base = folder
    named = setting(table(document, table_name(document, "build")), "base")
    if isinstance(named, str) and named.strip("/"):
        base = (folder / named.strip("/")).resolve()
        if not base.is_dir():
            raise SetupError(f'{configuration} has base = "{named}", and there is no such folder.')
        if not base.is_relative_to(folder):
            raise SetupError(f'{configuration} has base = "{named}", which is outside this folder.')
        if base != folder and (base / CONFIGURATION).is_file():
            configuration = base / CONFIGURATION  # Netlify reads this one instead
            text, document = _read(configuration)
    return Site(configuration, text, document, base, _package(base / "package.json"))


def _refuse_below_a_site(folder: Path) -> None:
    for above in (folder, *folder.parents):
        if above != folder and (above / CONFIGURATION).is_file():
            raise SetupError(
                f"The site's {CONFIGURATION} is in {above}. Go there, and try again: the folder "
                "that the build runs in is its base."
            )
        if (above / ".git").exists():
            return


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.exists() and not path.is_symlink():
        return "", {}
    try:
        text = path.read_bytes().decode()
        return text, toml_text.read(text)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SetupError(f"{path} is not UTF-8 (line {line}). Nothing was changed.") from None
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{path} is no TOML: {error}. Nothing was changed.") from None


def _package(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read: {error}.") from None
    return found if isinstance(found, dict) else {}


def _pages(folder: Path) -> Iterator[Path]:
    return folder.glob("*.htm*") if folder.is_dir() else iter(())


def relative(path: Path, base: Path) -> str:
    """Return a path as people write it, seen from the base."""
    return Path(os.path.relpath(path, base)).as_posix()
