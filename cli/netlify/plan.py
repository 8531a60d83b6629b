"""The texts of netlify.toml and the files beside it, from those that a site has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from usher.cli.netlify import toml_text
from usher.netlify.configuration import (
    BUILT,
    FUNCTIONS,
    functions_folder,
    table,
    table_name,
)

INCLUDED: Final = f"{BUILT}/**"
REQUIREMENTS: Final = "netlify/requirements.txt"
PYTHON: Final = "3.13"
BUILD: Final = "usher netlify build"
OURS: Final = f"python -m pip install -r {REQUIREMENTS} && {BUILD}"
COMMENT: Final = "Usher (usher netlify setup)"
_SEVERAL: Final = re.compile(r"\|\||[;\n]|(?<!&)&(?!&)")
"""A command of more than a chain by &&: a failure of ours must still end the build."""


def before(existing: str) -> str:
    """Return what is put before a build command."""
    return OURS + (" || exit 1; " if _SEVERAL.search(existing.strip()) else " && ")


def inside(
    text: str,
    *,
    functions: str,
    own_command: str,
    publish: str | None,
    redirects: Sequence[Mapping[str, Any]],
) -> str:
    """Return netlify.toml for a site whose functions are Usher; what is there already is kept.

    Args:
        text: the file, which may be empty.
        functions: the folder of functions, relative to the base.
        own_command: the site's build command, where the file has none.
        publish: the folder to publish, where the file has none.
        redirects: those that are missing.

    Raises:
        NoPlaceError: the file is written in a way that leaves no place for it.
    """
    document = toml_text.read(text)
    commands = list(commands_of(document))
    for keys, existing in commands:
        if BUILD not in existing:
            text = toml_text.prefix_text(text, keys, before(existing))
    build = table_name(document, "build")
    if not any(keys[0] == build for keys, _ in commands):
        whole = before(own_command) + own_command if own_command else OURS
        text = toml_text.add_key(text, [build], "command", whole)
    if publish is not None:
        text = toml_text.add_key(text, [build], "publish", publish)
    environment = table(table(document, build), "environment")
    if "PYTHON_VERSION" not in environment:
        keys = [build, table_name(table(document, build), "environment")]
        text = toml_text.add_key(text, keys, "PYTHON_VERSION", PYTHON)
    if functions_folder(document) is None:
        text = toml_text.add_key(text, ["functions"], "directory", functions)
    for name in FUNCTIONS:
        text = _including(text, name)
    return redirected(text, redirects)


def redirected(text: str, redirects: Sequence[Mapping[str, Any]]) -> str:
    """Return netlify.toml with these redirects before all others."""
    return toml_text.add_first(text, "redirects", COMMENT, redirects) if redirects else text


def _including(text: str, name: str) -> str:
    """Only our functions carry Python: 30 MB that no other function of the site needs."""
    settings = table(table(toml_text.read(text), "functions"), name)
    listed = settings.get("included_files")
    if listed is None:
        return toml_text.add_key(text, ["functions", name], "included_files", [INCLUDED])
    if isinstance(listed, list) and INCLUDED in listed:
        return text
    return toml_text.add_to_list(text, ["functions", name], "included_files", INCLUDED)


def commands_of(document: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield where each build command stands, and its text: the build's, and those of contexts."""
    contexts = table(document, "context")
    tables = [["build"], ["Build"]]
    tables += [["context", name, *more] for name in contexts for more in ([], ["build"])]
    for keys in tables:
        settings = document
        for key in keys:
            settings = table(settings, key)
        for name in ("command", "Command"):
            if isinstance(settings.get(name), str) and settings[name].strip():
                yield [*keys, name], settings[name]


def requirements(text: str, version: str) -> str:
    """Return the requirements of the build; a line that names Usher is somebody's choice."""
    if re.search(r"(?im)^[^#\n]*usher[-_.]identity", text):
        return text
    end = toml_text.newline(text)
    text += "" if text.endswith("\n") or not text else end
    return f"{text}usher-identity[netlify]=={version}{end}"


def ignored(functions: str) -> tuple[str, ...]:
    """Return the lines for .gitignore: what the build makes, and Netlify's own folder."""
    made = (f"{functions}/{name}.mjs" for name in FUNCTIONS)
    return (".netlify/", f"{BUILT}/", *made)
