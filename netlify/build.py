"""``usher netlify build``: the functions of a site, as Netlify's build makes them.

The same input gives the same bytes. Nothing is written but what an earlier build wrote, or nobody.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

from usher.core.errors import BuildError
from usher.core.policy_source import is_callable
from usher.core.settings import NETLIFY_V1, Settings
from usher.netlify import configuration, reserved
from usher.netlify.configuration import BUILT, FUNCTIONS_FOLDER, MADE
from usher.netlify.contents import NOT_STDLIB, Contents, gather
from usher.netlify.lean import LEAN, lean
from usher.netlify.packages import RUNTIME, fetch_pyodide, fetch_wheels, node, run

BUNDLE: Final = Path(BUILT)
MARK: Final = "build.json"
ASM: Final = "pyodide.asm.mjs"
FROM_PYODIDE: Final = ("pyodide.mjs", ASM, "pyodide.asm.wasm")
SCRIPTS: Final = (
    "usher.mjs",
    "python.mjs",
    "line.mjs",
    "wires.mjs",
    "http.mjs",
    "snapshot.mjs",
    "check.mjs",
)
SNAPSHOTS: Final = {"identity": ("msgspec",), "api": ("msgspec", "pydantic_core")}
"""The packages with extensions that each function needs."""
SCHEDULE: Final = "*/5 * * * *"
SUFFIXES: Final = frozenset({".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".go", ".zip", ""})
OF_PYODIDE: Final = (
    (
        "pyodide 314.0.7\n\nMozilla Public License 2.0, https://www.mozilla.org/MPL/2.0/\n"
        "Source: https://github.com/pyodide/pyodide\n"
        "pyodide.lean.mjs is its pyodide.asm.mjs, changed by usher netlify build: symbols are "
        "looked up instead of copied. The change is made by Usher's netlify/lean.py."
    ),
    (
        "CPython 3.14.2\n\nPython Software Foundation License Version 2, "
        "https://docs.python.org/3/license.html\nIt includes bzip2, libffi, xz, zlib and zstd, "
        "built with Emscripten; their licences are named there and at the sources of Pyodide."
    ),
)
"""The package from npm brings no text of its licences."""
FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644


def build(
    site: Path,
    settings: Mapping[str, str],
    say: Callable[[str], None] = lambda _: None,
    *,
    plain: bool = False,
) -> dict[str, Any]:
    """Build the bundle and the functions of a site.

    Args:
        site: its folder.
        settings: the variables of the build.
        say: is told what comes next.
        plain: make no snapshots: Python starts from its archives each time.

    Returns:
        ``folder``, ``functions`` and ``bytes``, as ``--json`` prints them.

    Raises:
        BuildError, PolicyError, SettingsError
    """
    chosen = Settings.from_env(settings, verifies=False)
    named = configuration.functions_folder(configuration.read(site))
    functions = site / (named or FUNCTIONS_FOLDER)
    wanted = _function_files(site, functions, chosen)
    if found := reserved.problems(functions):
        raise BuildError("\n".join(found))
    for sentence in reserved.warnings(functions):
        say(sentence)
    for path in wanted:
        _refuse_foreign(path)
    _refuse_foreign_folder(site / BUNDLE)
    program = node()
    say("Fetching Python and its packages")
    pyodide, wheels = fetch_pyodide(), fetch_wheels()
    contents = gather(site, chosen, wheels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _stage(folder, contents)
        say("Compiling")
        run([program, str(RUNTIME / "compile.mjs"), str(pyodide), str(folder)], folder, "Compiling")
        _complete(folder, pyodide, contents)
        if not (folder / LEAN).exists():
            say("Pyodide's script is not as usher.netlify.lean knows it: functions start slower")
        _check_code(program, folder, chosen)
        if not plain:
            say("Saving Python's memory")
            _save_memory(program, folder)
        _move(folder, site / BUNDLE)
    functions.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text)
    sizes = {
        path.relative_to(site / BUNDLE).as_posix(): path.stat().st_size
        for path in sorted((site / BUNDLE).rglob("*"))
        if path.is_file()
    }
    return {
        "folder": BUNDLE.as_posix(),
        "functions": [os.path.relpath(path, site) for path in wanted],
        "files": sizes,
        "bytes": sum(sizes.values()),
    }


def _function_files(site: Path, functions: Path, settings: Settings) -> dict[Path, str]:
    bundle = os.path.relpath(site / BUNDLE, functions).replace(os.sep, "/")
    # Not `import … from`: a bundler would take usher.mjs into the function, away from its files.
    start = f"await import(new URL('{bundle}/usher.mjs', import.meta.url).href)"
    made = f"{MADE}; changes are lost.\nconst {{ serve, serveLambda, serveSchedule }} = {start}\n"

    def config(snapshot: str, **more: str) -> str:
        others = [f"!{bundle}/{other}.snapshot" for other in SNAPSHOTS if other != snapshot]
        value = json.dumps({"includedFiles": [f"{bundle}/**", *others], **more})
        return f"export const config = {value}\n"

    lambda_compatible = settings.trust_platform == NETLIFY_V1
    api = "export const handler = serveLambda('api')\n"  # its form has no configuration in source
    if not lambda_compatible:
        api = f"export default serve('api')\n{config('api')}"
    schedule = config("api", schedule=SCHEDULE)
    texts = {
        "identity": f"export default serve('identity')\n{config('identity')}",
        "api": api,
        "usher-maintenance": f"export default serveSchedule('api')\n{schedule}",
    }
    return {functions / f"{name}.mjs": made + text for name, text in texts.items()}


def _refuse_foreign(path: Path) -> None:
    """Refuse to overwrite a function, or to stand beside one of the same name."""
    for other in sorted(path.parent.glob(f"{path.stem}*")):
        if other.stem != path.stem or (other.suffix not in SUFFIXES):
            continue
        if other != path or not other.is_file() or not other.read_text().startswith(MADE):
            raise BuildError(f"{other} is not of usher netlify build. Rename it, or move it away.")


def _refuse_foreign_folder(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).is_file():
        raise BuildError(f"{folder} is not of usher netlify build. Rename it, or move it away.")


def _stage(folder: Path, contents: Contents) -> None:
    """Write what is compiled next."""
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, data in contents.archive.items():
            archive.writestr(name, data)
    (folder / "sources.zip").write_bytes(packed.getvalue())
    for top, files in (("native", contents.native), ("site", contents.site)):
        for name, data in files.items():
            _write(folder / top / name, data)
    # Of the application, what is not other people's: its docstrings stay, for OpenAPI has them.
    plan = {"ours": ["usher/"], "not_stdlib": NOT_STDLIB}
    _write(folder / "plan.json", json.dumps(plan).encode())


def _complete(folder: Path, pyodide: Path, contents: Contents) -> None:
    for name in ("sources.zip", "plan.json"):
        (folder / name).unlink()
    for source in (pyodide, RUNTIME):
        for name in FROM_PYODIDE if source == pyodide else SCRIPTS:
            _write(folder / name, (source / name).read_bytes())
    asm, *others = ((folder / name).read_text() for name in (ASM, "pyodide.mjs", *SCRIPTS))
    if made := lean(asm, "\n".join(others)):
        _write(folder / LEAN, made.encode())
    _write(folder / "package.json", b'{"type":"module"}\n')
    _write(folder / "LICENSES.txt", _licences(contents).encode())
    _write(folder / MARK, json.dumps(_manifest(folder), indent=1).encode())


def _manifest(folder: Path) -> dict[str, Any]:
    """Sizes and digests of all that a snapshot depends on."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for name, path in names.items()
        if not name.endswith((".txt", ".json"))
    }


def _check_code(program: str, folder: Path, settings: Settings) -> None:
    """Load the site's own code as the functions will, which have no packages but Usher's."""
    if settings.handlers or is_callable(settings.policy):
        asked = json.dumps({"policy": settings.policy, "handlers": settings.handlers})
        run([program, str(folder / "check.mjs"), asked], folder, "Loading the site's own code")


def _save_memory(program: str, folder: Path) -> None:
    """Make the snapshots, each with the extensions that the function needs."""
    native = sorted((folder / "native").rglob("*.so"))
    extensions = [path.relative_to(folder).as_posix() for path in native]
    for name, needed in SNAPSHOTS.items():
        wanted = [path for path in extensions if path.split("/")[1] in needed]
        run([program, str(folder / "snapshot.mjs"), name, *wanted], folder, f"The snapshot {name}")


def _licences(contents: Contents) -> str:
    parts = [f"{name}\n\n{text}" for name, text in sorted(contents.licences.items())]
    parts += OF_PYODIDE
    return f"\n\n{'-' * 72}\n\n".join(parts) + "\n"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _move(folder: Path, target: Path) -> None:
    """Put the finished folder in the place of the last one, of which nothing is left half."""
    new, old = (target.with_name(f"{target.name}.{which}") for which in ("new", "old"))
    for left in (new, old):  # by a build that was broken off
        shutil.rmtree(left, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, new)
    for path in (new, *new.rglob("*")):  # another user reads them, where the functions run
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
