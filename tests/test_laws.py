"""The laws that a machine can check: who imports whom, and what stays pure."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.script import ScriptDirectory

from tests.support import ROOT, SECRET, account, clean_environment, signed
from usher import migrations

PACKAGES = {
    "cli": {"netlify", "server", "emulator", "functions", "core", "migrations"},
    "testing": {"emulator", "functions", "core", "migrations"},
    "integrations": {"functions", "core"},
    "aws_lambda": {"server", "functions", "core"},
    "netlify": {"server", "functions", "core"},
    "server": {"functions", "core", "migrations"},
    "emulator": {"functions", "core"},
    "functions": {"core"},
    "migrations": {"core"},
    "core": set(),
}
"""Each folder of the package, with those that it may import beside itself."""

CORE = (
    ("bounds",),
    ("database_line", "database_url", "errors", "json_spans", "strict_json", "texts"),
    ("opaque",),
    ("jws",),
    ("domain",),
    ("faults", "http", "secret_files"),
    (
        "log",
        "limits",
        "settings",
        "policy_source",
        "policy_file",
        "policy_counting",
        "policy_lists",
        "policy_reload",
        "server_folder",
        "folders",
        "oversized",
    ),
    ("store",),
    ("users",),
    ("identity", "requests", "keys"),
    ("auth", "webhooks", "maintenance", "door"),
    ("platform_callers",),
    ("spool", "captures", "shadow", "outbox"),
    ("app",),
    ("periodic",),
    ("scheduled",),
)
"""The floors of core, from the ground up: each may import itself and what stands below it."""

PURE_FILES = (
    "bounds.py", "errors.py", "json_spans.py", "jws.py", "opaque.py", "strict_json.py",
    "texts.py",
    "captures/format.py", "captures/redact.py", "captures/sources.py",
)  # fmt: skip
PURE_IMPORTS = {
    "__future__", "base64", "binascii", "collections", "dataclasses", "datetime", "enum",
    "functools", "hashlib", "hmac", "idna", "ipaddress", "itertools", "json", "jwt", "math",
    "msgspec", "re", "typing", "unicodedata", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "__import__"}

SQL = {"sqlalchemy", "sqlmodel", "sqlite3", "psycopg", "pg8000"}
HTTP = {"urllib3", "http", "urllib.request", "requests", "httpx"}
SOCKETS = {"socket", "ssl"}
SOCKET_FILES = """
core/http/native.py core/http/checked.py
core/store/drivers/postgresql.py core/store/drivers/hosts.py core/store/drivers/sockets.py
"""


@dataclass(frozen=True)
class Import:
    """One import; ``when``: ``load`` (as the module loads), ``call``, or ``types`` (never)."""

    source: str
    target: str
    line: int
    when: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"

    @property
    def package(self) -> str | None:
        """The folder of ours that it is from; None: somebody else's."""
        parts = self.target.split(".")
        return parts[1] if parts[0] == "usher" and parts[1:] not in ([], ["__version__"]) else None

    def within(self, modules: set[str]) -> bool:
        """Whether it is one of these modules, or something inside one."""
        return any(f"{self.target}.".startswith(f"{module}.") for module in modules)


@cache
def tree(path: Path) -> ast.Module:
    """A parsed source file."""
    return ast.parse(path.read_text(), str(path))


def sources(package: str) -> list[Path]:
    """Every source file of a package, or the one of that name."""
    return sorted((ROOT / package).rglob("*.py")) or [ROOT / f"{package}.py"]


def pure_files() -> list[Path]:
    """All of core/domain, and the other files that do no I/O."""
    core = ROOT / "core"
    return [*sources("core/domain"), *(core / name for name in PURE_FILES)]


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands."""
    name = str(path.relative_to(ROOT))

    def visit(node: ast.AST, when: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(name, alias.name, child.lineno, when)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}:{child.lineno} is a relative import"
                module = child.module or ""
                deeper = module == "usher" or (
                    module.startswith("usher.") and (ROOT / module.replace(".", "/")).is_dir()
                )
                for target in {f"{module}.{a.name}" if deeper else module for a in child.names}:
                    yield Import(name, target, child.lineno, when)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from visit(child, "types")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and when == "load":
                yield from visit(child, "call")
            else:
                yield from visit(child, when)

    yield from visit(tree(path), "load")


def floor(name: str) -> int:
    """How high a module of core stands; ``core.store.users`` with all of ``core.store``."""
    part = name.removeprefix("usher.core.").partition(".")[0]
    return next(height for height, parts in enumerate(CORE) if part in parts)


def is_pure(name: str) -> bool:
    """Whether a module of ours is one of the pure files."""
    path = ROOT / name.removeprefix("usher.").replace(".", "/")
    files = pure_files()
    return path.with_suffix(".py") in files or path.parent.with_suffix(".py") in files


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_law_allows(package: str) -> None:
    """Functions -> core; server and emulator -> functions, core; nobody imports the cli."""
    wrong = [
        str(found)
        for path in sources(package)
        for found in imports(path)
        if (found.package or package) not in {package, *PACKAGES[package]}
        or found.target.partition(".")[0] in {*PACKAGES, "tests", "bench", "fuzz"}
    ]
    assert wrong == []


def test_the_law_covers_every_package() -> None:
    """A new folder with Python in it needs a place in the law, and one in the package."""
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found - {"usher", "tests", "bench", "fuzz"} == set(PACKAGES) - {"aws_lambda"}
    assert {path.name for path in (ROOT / "core").glob("[!_]*")} == {
        f"{part}.py" if (ROOT / "core" / f"{part}.py").exists() else part
        for parts in CORE
        for part in parts
    }


def test_a_platforms_dict_exists_at_its_edges_only() -> None:
    """Inside, a request is a Request and an answer a Response; no other file names a key of it."""
    keys = {"httpMethod", "rawQuery", "multiValueHeaders", "isBase64Encoded", "statusCode"}
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sources(package)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in keys
    }
    assert found == {"functions/_shared/http.py", "aws_lambda.py"}


def test_the_package_is_made_of_these_links() -> None:
    """``usher.core`` is the folder ``core``: nothing is copied, and nothing else gets in."""
    links = {
        path.name: str(path.readlink()) for path in (ROOT / "usher").iterdir() if path.is_symlink()
    }
    files = {"aws_lambda.py", "policy.toml"}
    folders = {*PACKAGES, "site"} - {"aws_lambda"}
    assert links == {name: f"../{name}" for name in folders | files} | {
        "env.example": "../.env.example"
    }


def test_errors_imports_nothing_of_ours() -> None:
    """So that every module can raise them."""
    found = {found.target for found in imports(ROOT / "core" / "errors.py")}
    assert found <= {"__future__", "enum"}


def test_bounds_imports_nothing() -> None:
    """So that every module can keep to its numbers."""
    found = {found.target for found in imports(ROOT / "core" / "bounds.py")}
    assert found <= {"__future__", "typing"}


def test_core_is_built_from_the_ground_up() -> None:
    """Whatever stands higher is unknown below."""
    wrong = [
        str(found)
        for path in sources("core")
        if path.name != "__init__.py"
        for found in imports(path)
        if found.package == "core"
        and floor(found.target) > floor(".".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
    ]
    assert wrong == []


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_files_import_only_what_does_no_io(path: Path) -> None:
    """Neither SQL, nor files, nor network, nor a clock; of ours only other pure files."""
    wrong = [
        str(found)
        for found in imports(path)
        if (
            not is_pure(found.target)
            if found.package
            else found.target.partition(".")[0] not in PURE_IMPORTS
        )
    ]
    assert wrong == []


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_files_ask_no_clock_and_open_nothing(path: Path) -> None:
    """``datetime`` is a type there; the time is always a parameter."""
    wrong = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else ""
            called = function.id if isinstance(function, ast.Name) else called
            if called in IMPURE_CALLS:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {called}()")
    assert wrong == []


@pytest.mark.parametrize(
    ("libraries", "speakers"),
    [
        (SQL, "core/store/*.py core/store/drivers/*.py"),
        (HTTP, "core/http/native.py core/http/checked.py"),
        (SOCKETS, SOCKET_FILES),
    ],
    ids=["SQL", "HTTP", "sockets"],
)
def test_only_some_files_of_core_speak_sql_or_http(libraries: set[str], speakers: str) -> None:
    """Everything else goes through them. A driver shuts a hung server's socket down."""
    allowed = {path for pattern in speakers.split() for path in ROOT.glob(pattern)}
    wrong = [
        str(found)
        for path in sources("core")
        for found in imports(path)
        if found.within(libraries) and path not in allowed
    ]
    assert wrong == []


def test_sql_is_loaded_only_at_first_need() -> None:
    """What loads it, loads it inside a function, or is itself loaded so by core.app alone."""
    syncs = {"identity.sync", "identity.sync_steps", "identity.sync_removals"}
    working = {"outbox.dispatcher", "outbox.attempts", "outbox.work", "outbox.watch"}
    outbox = {"outbox.accounts", "outbox.sinks", *working}
    loading = {"store", "users", "identity.push", "requests", "shadow", *syncs, *outbox}
    names = {f"usher.core.{name}" for name in loading}
    wrong = [
        str(found)
        for path in sources("core")
        for found in imports(path)
        if found.within(names)
        and not is_loading(path, loading)
        and found.when != "types"
        and not (path.stem == "app" and found.when == "call")
    ]
    assert wrong == []


def is_loading(path: Path, names: set[str]) -> bool:
    """Whether a file of core is one of these modules, or inside one."""
    module = ".".join(path.relative_to(ROOT / "core").with_suffix("").parts)
    return any(f"{module}.".startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("package", ["functions", "integrations"])
def test_functions_and_guards_speak_neither_sql_nor_http(package: str) -> None:
    """They know services, no drivers."""
    wrong = [
        str(found)
        for path in sources(package)
        for found in imports(path)
        if found.within(SQL | HTTP | SOCKETS)
    ]
    assert wrong == []


NOT_NEEDED = (
    "sqlalchemy", "sqlmodel", "alembic", "click", "urllib3", "granian", "dotenv", "idna",
    "structlog", "rich", "logging",
)  # fmt: skip
ANSWER = """
import json, sys
from usher.functions import identity
answer = identity.handler(json.loads(sys.stdin.read()), None)
print(answer["statusCode"], *[name for name in {names} if name in sys.modules])
"""


def test_a_forged_event_is_refused_without_loading_what_it_does_not_need(tmp_path: Path) -> None:
    """A flood of forgeries costs a signature check each: no SQL, no console, no HTTP client."""
    forged = signed("signup", account(), secret=b"f" * 32).request()
    assert answered_alone(forged, NOT_NEEDED, tmp_path) == ["401"]
    assert list(tmp_path.iterdir()) == []


EVENTS = """
import json, sys
from uuid import UUID
from usher.core import app
from usher.functions import identity
user, *requests = json.loads(sys.stdin.read())
for one in requests:
    print(identity.handler(one, None)["statusCode"])
app.current().store.users.get(UUID(user))
print(*[name for name in {names} if name in sys.modules])
"""


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "pg8000"], indirect=True)
def test_no_event_and_no_look_at_one_user_loads_sqlalchemy(
    database_url: str, tmp_path: Path
) -> None:
    """Its import, with the models', was most of a cold start."""
    now, ada = datetime.now(UTC), account()
    events = ("signup", "login", "userdeleted")
    sent = [signed(event, ada, at=now).request() for event in events]
    sent.append(signed("login", ada, at=now, instance_id=UUID(int=5)).request())
    settings = {"USHER_WEBHOOK_SECRETS": SECRET.decode(), "USHER_DATABASE_URL": database_url}
    others = {
        "sqlite": ("psycopg", "pg8000"),
        "postgresql+psycopg": ("sqlite3", "pg8000"),
        "postgresql+pg8000": ("sqlite3", "psycopg"),
    }[database_url.partition(":")[0]]
    program = EVENTS.format(names=("sqlalchemy", "sqlmodel", "pydantic", "alembic", *others))
    lines = said_alone(program, tmp_path, input=json.dumps([str(ada.id), *sent]), **settings)
    assert lines == ["204", "204", "204", "401", ""]


COMMAND = """
import sys
from usher.cli.main import usher
usher.main(sys.argv[1:], standalone_mode=False)
print(*[name for name in {names} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["secret"], ("sqlalchemy", "rich", "urllib3", "usher.core.app", "emulator")),
        (["dev", "--help"], ("sqlalchemy", "alembic", "usher.emulator.identity")),
        (["users", "--help"], ("alembic", "granian", "emulator", "usher.core.identity.sync")),
    ],
)
def test_a_command_loads_no_other(
    arguments: list[str], names: tuple[str, ...], tmp_path: Path
) -> None:
    """Whoever types one waits for that one only."""
    assert said_alone(COMMAND.format(names=names), tmp_path, *arguments)[-1] == ""


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    """Whether a database is up to date is told without alembic, which is slow to load."""
    assert migrations.newest() == ScriptDirectory(str(migrations.FOLDER)).get_current_head()


def answered_alone(
    request: dict[str, Any], names: tuple[str, ...], folder: Path, **settings: str
) -> list[str]:
    """What a new process answers to its first request, and which of these modules it loaded."""
    settings["USHER_WEBHOOK_SECRETS"] = SECRET.decode()
    [line] = said_alone(ANSWER.format(names=names), folder, input=json.dumps(request), **settings)
    return line.split()


def said_alone(
    program: str, folder: Path, *arguments: str, input: str = "", **settings: str
) -> list[str]:
    """The lines that a new process prints."""
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=input,
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


def test_public_functions_are_under_twenty_lines() -> None:
    """One file is one URL; what it does is in _shared, api_methods or core."""
    long = {
        path.name: count
        for path in (ROOT / "functions").glob("identity*.py")
        if (count := len(path.read_text().splitlines())) >= 20
    }
    assert long == {}


def test_public_functions_have_one_handler_each() -> None:
    """``handler(event, context) -> dict``, synchronous."""
    for path in (ROOT / "functions").glob("identity*.py"):
        (handler,) = [
            node
            for node in tree(path).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert isinstance(handler, ast.FunctionDef), path.name
        assert handler.name == "handler", path.name
        assert [argument.arg for argument in handler.args.args] == ["event", "context"], path.name


MACHINE = re.compile(r"/hom[e]/\w|/User[s]/\w|/wor[k]/\w|/roo[t]/\w|\b[C-Z]:\\\\?Users")
INDEX = re.compile(
    r"^\s*(?:--(?:extra-)?index-url|--find-links|--trusted-host|-i\s+http)"
    r"|\"resolved\":\s*\"https?:|https?://[^\s\"']+/simple\b|registry\.npmj[s]|pythonhoste[d]",
    re.MULTILINE,
)


def tracked() -> Iterator[tuple[str, str]]:
    """Path and text of every file that is, or is about to be, under version control."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                yield name, data.decode(errors="replace")


@pytest.mark.parametrize("pattern", [MACHINE, INDEX], ids=["paths", "index hosts"])
def test_no_file_names_somebodys_machine_or_index(pattern: re.Pattern[str]) -> None:
    """A clone works anywhere: no absolute path of a machine, no package index of a network."""
    wrong = [
        f"{name}:{text.count(chr(10), 0, found.start()) + 1} {found[0].strip()!r}"
        for name, text in tracked()
        for found in pattern.finditer(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import usher.core.users", [("usher.core.users", "load")]),
        ("from usher import core, cli", [("usher.cli", "load"), ("usher.core", "load")]),
        (
            "def f():\n    from usher.core.store.database import Database",
            [("usher.core.store.database", "call")],
        ),
        (
            "if TYPE_CHECKING:\n    from usher.core.users import User",
            [("usher.core.users", "types")],
        ),
        ("try:\n    import os\nexcept ImportError:\n    pass", [("os", "load")]),
    ],
)
def test_the_reader_of_imports_sees_every_kind(
    source: str, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A law is only as good as what checks it."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source)
    assert sorted((found.target, found.when) for found in imports(path)) == expected
