"""What goes into the bundle: the modules of Usher, the site's own, and other people's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from usher.core.errors import BuildError
from usher.core.policy_lists import Content, read_file
from usher.core.policy_source import is_absent, is_callable, load_file
from usher.core.settings import Settings

PACKAGE: Final = Path(__file__).parents[1]
OURS: Final = (
    "__init__.py",
    "core/**/*.py",
    "functions/**/*.py",
    "migrations/__init__.py",
    "netlify/__init__.py",
    "netlify/database.py",
    "netlify/entry.py",
    "netlify/http.py",
    "netlify/lines.py",
    "netlify/platform.py",
    "netlify/site_code.py",
    "netlify/snapshot.py",
    "netlify/wires.py",
    "server/__init__.py",
    "server/routes.py",
    "server/site.py",
)
"""Of the package ``usher``: what answers a request, and neither commands nor the server."""
NOT_OURS: Final = ("core/spool/", "core/captures/")
NOT_STDLIB: Final = (
    "_pyrepl/", "ctypes/macholib/", "ensurepip/", "idlelib/", "lib2to3/",
    "multiprocessing/", "pydoc", "ssl.py", "test/", "tkinter/", "turtle", "unittest/", "venv/",
    "wsgiref/", "xmlrpc/", "__phello__/",
)  # fmt: skip
"""Not needed there; ``ssl`` is ours, and refuses (runtime/ssl.py)."""
NOT_THEIRS: Final = (
    "dateutil/zoneinfo/", "pydantic/mypy", "pydantic/v1/", "sqlalchemy/dialects/mssql/",
    "sqlalchemy/dialects/mysql/", "sqlalchemy/dialects/oracle/", "sqlalchemy/ext/mypy/",
    "sqlalchemy/testing/", "tzdata/",
)  # fmt: skip
NOT_CODE: Final = (".pyi", ".pyx", ".pxd", ".typed", ".c", ".h", ".pxi")
LICENSE_NAMES: Final = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")


@dataclass
class Contents:
    """The files of a bundle before they are compiled, by their paths in it.

    Attributes:
        archive: modules that lie in ``app.zip``.
        native: packages with an extension, which no archive can hold.
        site: the site's policy, with the lists that it names.
        licences: of other people's code, by package.
    """

    archive: dict[str, bytes] = field(default_factory=dict)
    native: dict[str, bytes] = field(default_factory=dict)
    site: dict[str, bytes] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)


def gather(site: Path, settings: Settings, wheels: list[Path]) -> Contents:
    """Gather everything but Python itself.

    Args:
        site: the folder of the site.
        settings: those of the build, of which the policy and the handlers count.

    Raises:
        BuildError: what a setting names is not there, or not in the site's folder.
        PolicyError: the policy is wrong.
    """
    contents = Contents()
    for wheel in wheels:
        _add_wheel(contents, wheel)
    for name, data in _our_modules():
        contents.archive[f"usher/{name}"] = data
    contents.archive["ssl.py"] = (PACKAGE / "netlify" / "runtime" / "ssl.py").read_bytes()
    modules = list(settings.handlers)
    if is_callable(settings.policy):
        modules.append(settings.policy.partition(":")[0])
    else:
        contents.site |= _policy(site, settings.policy)
    for module in sorted({name.partition(".")[0] for name in modules}):
        contents.archive |= _site_module(site, module)
    return contents


def _our_modules() -> Iterator[tuple[str, bytes]]:
    for pattern in OURS:
        for path in sorted(PACKAGE.glob(pattern)):
            name = path.relative_to(PACKAGE).as_posix()
            if not name.startswith(NOT_OURS):
                yield name, path.read_bytes()


def _add_wheel(contents: Contents, wheel: Path) -> None:
    package, version = wheel.name.split("-")[:2]
    with ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        native = {name.partition("/")[0] for name in names if name.endswith(".so")}
        said = []
        for name in names:
            top, _, rest = name.partition("/")
            if top.endswith(".dist-info"):
                if name.rpartition("/")[2].upper().startswith(LICENSE_NAMES):
                    said.append(archive.read(name).decode(errors="replace").strip())
                if rest != "METADATA":
                    continue
            if name.startswith(NOT_THEIRS) or name.endswith(NOT_CODE):
                continue
            (contents.native if top in native else contents.archive)[name] = archive.read(name)
    contents.licences[f"{package} {version}"] = "\n\n".join(said)


def _policy(site: Path, source: str) -> dict[str, bytes]:
    """The policy's file and those that it names, by their paths from the site's folder."""
    if is_absent(str(site / source)) and source == "policy.toml":
        return {}
    found: dict[str, bytes] = {}

    def read(path: Path) -> Content:
        content = read_file(path)
        inside = path.resolve()
        if not inside.is_relative_to(site.resolve()):
            raise BuildError(f"{path} is outside the site's folder: the functions cannot have it.")
        found[inside.relative_to(site.resolve()).as_posix()] = content.data
        return content

    if Path(source).is_absolute():
        raise BuildError(f"USHER_POLICY must be a path from the site's folder, not {source}.")
    load_file(str(site / source), read, source)
    return found


def _is_left_out(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _site_module(site: Path, name: str) -> dict[str, bytes]:
    """A module of the site's own, or a whole package: its modules import each other.

    Hidden files are no part of it: a ``.env`` lies beside a module as often as above it.
    """
    if not name.isidentifier():
        raise BuildError(f'USHER_POLICY or USHER_HANDLERS names "{name}", which is no module.')
    file, folder = site / f"{name}.py", site / name
    paths = [file] if file.is_file() else sorted(folder.rglob("*"))
    found = {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in paths
        if path.is_file() and path.suffix != ".pyc" and not _is_left_out(path.relative_to(site))
    }
    if not any(path.endswith(".py") for path in found):
        raise BuildError(
            f"USHER_POLICY or USHER_HANDLERS names the module {name}, which is not in {site}."
        )
    return found
