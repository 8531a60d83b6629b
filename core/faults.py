"""Where an exception comes from: the developer's own line, found in its traceback.

Loaded with the first failure; no other event pays for it.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import usher
from usher.core.domain.failures import MAX_NAME, Failure, one_line, shown
from usher.core.errors import PolicyError, UsherError

_OURS: Final = Path(usher.__file__).parent
_STANDARD: Final = tuple({Path(sysconfig.get_path(key)) for key in ("stdlib", "platstdlib")})
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})


def failure_of(error: BaseException, personal: Collection[str] = ()) -> Failure:
    """The failure that an exception stands for.

    Its file is that of the innermost frame outside Usher, packages and the standard library,
    relative where it lies below the working folder.

    Args:
        personal: texts that its message does not show.
    """
    source = cause(error)
    file, line = _place(source)
    return Failure(
        one_line(type(source).__name__)[:MAX_NAME],
        shown(_message(source), personal),
        one_line(_relative(Path(file)))[-MAX_NAME:] if file else "",
        line,
    )


def cause(error: BaseException) -> BaseException:
    """The developer's own exception, where a policy raised one; else the error itself."""
    while isinstance(error, PolicyError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def in_full(error: BaseException) -> str:
    """The whole traceback of ``cause``, for the developer's own eyes: it may hold anything.

    Empty for an error of ours that says all by its sentence. Where a policy answered nonsense, it
    names the place of the policy.
    """
    source = cause(error)
    if isinstance(source, PolicyError) and source.at is not None:
        file, line = source.at
        return f'  File "{file}", line {line}, answered what is no verdict'
    known = isinstance(source, UsherError) or source is not error
    if known and not any(_is_developers(Path(file)) for file, _ in _frames(source)):
        return ""
    return "".join(traceback.format_exception(source)).rstrip()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the developer's code too
        return ""


def _place(error: BaseException) -> tuple[str, int]:
    """The innermost line that is the developer's; else ours; else any."""
    if isinstance(error, PolicyError) and error.at is not None:
        return error.at
    frames = list(_frames(error))
    for wanted in (_is_developers, _is_ours):
        for file, line in reversed(frames):
            if wanted(Path(file)):
                return file, line
    return frames[-1] if frames else ("", 0)


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield frame.f_code.co_filename, line
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno


def _is_ours(file: Path) -> bool:
    return file.is_relative_to(_OURS)


def _is_developers(file: Path) -> bool:
    return not (
        _is_ours(file)
        or file.name.startswith("<")
        or any(file.is_relative_to(each) for each in _STANDARD)
        or not _PACKAGES.isdisjoint(file.parts)
    )


def _relative(file: Path) -> str:
    with suppress(OSError, ValueError):  # no working folder any more; not below it
        return str(file.relative_to(_OURS.parent if _is_ours(file) else Path.cwd()))
    return str(file)
