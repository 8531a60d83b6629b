"""Values from files: ``USHER_…_FILE`` names the file that holds the value of ``USHER_…``.

Systemd's credentials, secrets of containers and volumes of Kubernetes are files. A process's
environment can be read by more people, and is handed on to whatever it starts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from usher.core.bounds import MAX_SECRET_FILE_BYTES

SUFFIX: Final = "_FILE"


def other_name(variable: str) -> str:
    """Return the name of the same setting's other form: with ``_FILE``, or without it."""
    return variable.removesuffix(SUFFIX) if variable.endswith(SUFFIX) else variable + SUFFIX


def named_files(environ: Mapping[str, str], allowed: Collection[str]) -> dict[str, Path]:
    """Return the files that hold values, each by the variable that names it.

    Args:
        environ: an environment.
        allowed: the variables whose value may come from a file.
    """
    names = sorted(variable + SUFFIX for variable in allowed)
    return {name: Path(path) for name in names if (path := environ.get(name, "").strip())}


def with_files(
    environ: Mapping[str, str], allowed: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment with the files' values in it, and what is wrong with the files.

    Args:
        environ: an environment.
        allowed: the variables whose value may come from a file.

    Returns:
        The environment without any ``_FILE`` of an allowed variable; and a sentence for each
        variable that has no value because of its file. No sentence holds anything of a file.
    """
    values = dict(environ)
    for variable in allowed:
        values.pop(variable + SUFFIX, None)
    problems: dict[str, str] = {}
    for name, path in named_files(environ, allowed).items():
        variable = name.removesuffix(SUFFIX)
        if values.pop(variable, "").strip():
            problems[variable] = f"{name} and {variable} are both set. Take one of them out."
            continue
        try:
            values[variable] = _read(path)
        except ValueError as error:
            problems[variable] = f"{name} {error}"
    return values, problems


def _read(path: Path) -> str:
    """Return the one line that a file holds."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"names {path}, which cannot be read: {error.strerror}.") from None
    if len(content) > MAX_SECRET_FILE_BYTES:
        raise ValueError(f"names {path}, which is larger than {MAX_SECRET_FILE_BYTES} bytes.")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"names {path}, which is not UTF-8 text.") from None
    if not text:
        raise ValueError(f"names {path}, which is empty.")
    if len(text.splitlines()) > 1:
        raise ValueError(f"names {path}, which holds more than one line.")
    return text
