"""Compiles what the build gathered. Runs inside Pyodide, by compile.mjs.

Byte code is not compared with its source, which is not there. Archives are not compressed: Netlify
compresses all of it anyway, and a start would pay for unpacking.
"""

from __future__ import annotations

import json
from importlib import _bootstrap_external as loading
from pathlib import Path
from zipfile import ZipFile, ZipInfo

FOLDER = Path("/folder")
NO_HASH = bytes(8)
STRIPPED = 2
"""Without docstrings and assertions: other people's code."""


def compiled(source: bytes, name: str, optimize: int) -> bytes:
    """The byte code of a module."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=optimize)
    pyc: bytes = loading._code_to_hash_pyc(code, NO_HASH, False)  # type: ignore[attr-defined]  # noqa: SLF001
    return pyc


def pack(source: Path, target: Path, left_out: tuple[str, ...], ours: tuple[str, ...]) -> None:
    """Write an archive with each module compiled; the same input gives the same bytes."""
    with ZipFile(source) as before, ZipFile(target, "w") as after:
        for name in sorted(before.namelist()):
            if name.endswith("/") or name.startswith(left_out):
                continue
            data = before.read(name)
            if name.endswith(".py"):
                data = compiled(data, name, -1 if name.startswith(ours) else STRIPPED)
                name += "c"  # noqa: PLW2901
            after.writestr(ZipInfo(name), data)


def main() -> None:
    """Compile the standard library, the application and what stands beside extensions."""
    plan = json.loads((FOLDER / "plan.json").read_text())
    ours, left_out = tuple(plan["ours"]), tuple(plan["not_stdlib"])
    pack(Path("/pyodide/python_stdlib.zip"), FOLDER / "stdlib.zip", left_out, ())
    pack(FOLDER / "sources.zip", FOLDER / "app.zip", (), ours)
    for path in sorted((FOLDER / "native").rglob("*.py")):
        name = str(path.relative_to(FOLDER / "native"))
        path.with_suffix(".pyc").write_bytes(compiled(path.read_bytes(), name, STRIPPED))
        path.unlink()


main()
