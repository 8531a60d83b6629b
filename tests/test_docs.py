"""The documentation is complete: whatever the code offers is described; a failure names it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support import ROOT
from tests.test_laws import CORE, PACKAGES, tracked
from usher.cli.events import OUTCOMES
from usher.cli.main import usher
from usher.core.domain.records import Outcome
from usher.core.errors import Check, UsherError
from usher.core.settings import PREFIX, Settings

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def check(page: str, names: Iterable[str]) -> None:
    """Fail, naming them, where docs/<page> does not have each name as a word of its own."""
    path = ROOT / "docs" / page
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [
        name
        for name in sorted(set(names))
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)
    ]
    if missing:
        pytest.fail(f"docs/{page} does not describe: {', '.join(missing)}", pytrace=False)


def error_classes(root: type[UsherError] = UsherError) -> Iterator[type[UsherError]]:
    """The whole tree of our errors."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "usher.core.errors":
            yield from error_classes(child)


def commands(command: click.Command, path: str = "usher") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, f"{path} {name}")
    else:
        yield path, command


def log_events() -> Iterator[str]:
    """``noun.verb`` of every log line: literals handed to a logger, and those per outcome."""
    for package in ("core", "functions", "server", "testing", "emulator", "cli", "integrations"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    yield from _log_event(node, node.func)
    yield from (f"event.{outcome}" for outcome in OUTCOMES)


def _log_event(call: ast.Call, function: ast.Attribute) -> Iterator[str]:
    first: Any = call.args[0] if call.args else None
    if function.attr == "append" and isinstance(first, ast.Tuple) and first.elts:
        first = first.elts[0]  # usher.core.webhooks collects its lines until the commit
    elif function.attr not in LEVELS:
        return
    yield from _texts(first, r"[a-z]+\.[a-z_]+")


def _texts(node: Any, pattern: str) -> Iterator[str]:
    """The node's text, where it is a literal that fits."""
    if isinstance(node, ast.Constant) and re.fullmatch(pattern, str(node.value)):
        yield str(node.value)


def urls() -> Iterator[str]:
    """A URL for each public function, and the server's own."""
    for path in (ROOT / "functions").glob("[a-z]*.py"):
        yield f"/.netlify/functions/{path.stem.replace('_', '-')}"
    for path in (ROOT / "server").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield from _texts(node, r"/[a-z][a-z0-9_-]*")


def dependencies() -> Iterator[str]:
    """What pyproject.toml asks for, except to measure speed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    extras |= {
        name: lines for name, lines in project["dependency-groups"].items() if name != "bench"
    }
    wanted += [line for lines in extras.values() for line in lines]
    for line in wanted:
        yield re.split(r"[\[<>=~! ;]", line)[0]


def test_every_setting_is_described() -> None:
    """docs/settings.md has each variable by its full name."""
    check("settings.md", [PREFIX + name.upper() for name in Settings.__struct_fields__])


def test_every_error_code_is_described() -> None:
    """docs/errors.md has each code that an answer can carry."""
    check("errors.md", [error.code for error in error_classes()])


def test_every_reason_of_a_refused_signature_is_described() -> None:
    """docs/errors.md has each reason that the log can give: one for each check."""
    check("errors.md", Check)


def test_every_command_is_described() -> None:
    """docs/commands.md has each command by its full name."""
    check("commands.md", [path for path, _ in commands(usher)])


def test_every_option_is_described() -> None:
    """docs/commands.md has each option in its long form, with both names where it has two."""
    options = {
        name
        for _, command in commands(usher)
        for parameter in command.params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--")
    }
    check("commands.md", options)


def test_every_command_and_option_has_a_help_text() -> None:
    """`usher --help` explains itself."""
    assert [path for path, command in commands(usher) if not command.help] == []


def test_every_url_is_described() -> None:
    """docs/http.md has each address that the server answers."""
    check("http.md", urls())


def test_every_log_event_is_described() -> None:
    """docs/logs.md has each noun.verb."""
    check("logs.md", log_events())


def test_every_dependency_is_accounted_for() -> None:
    """docs/dependencies.md says of each what it is for."""
    check("dependencies.md", dependencies())


def test_every_test_that_a_promise_names_is_there() -> None:
    """docs/reliability.md promises nothing that no test shows."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named
    assert sorted(named - there) == []


def test_the_lists_that_are_checked_are_not_empty() -> None:
    """A checker that finds nothing would pass everything."""
    assert {"event.applied", "event.repeated", "signature.rejected"} <= set(log_events())
    assert {"/.netlify/functions/identity-signup", "/healthz", "/readyz"} <= set(urls())
    assert {"pyjwt", "click", "pytest", "psycopg", "hatchling"} <= set(dependencies())
    assert {"usher trigger", "usher users grant"} <= {path for path, _ in commands(usher)}
    assert len({error.code for error in error_classes()}) > 20


def test_the_outcomes_offered_are_those_that_deliveries_have() -> None:
    """`usher events list --outcome` takes what decisions come to, and the two before them."""
    assert set(OUTCOMES) == {outcome.value for outcome in Outcome}


def defined_tests() -> set[str]:
    """The name of every test function there is."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_every_test_that_the_threat_model_names_exists() -> None:
    """A promise whose test was renamed or removed is noticed; files named are there, too."""
    text = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert len(named) > 40
    assert named - defined_tests() == set()
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"(test_[a-z0-9_]+\.py)", text)) - files == set()


def test_no_threat_is_without_a_test() -> None:
    """Every row of the threat model names at least one."""
    text = (ROOT / "docs" / "security.md").read_text()
    model = text.partition("## Threat model")[2].partition("\n## ")[0]
    rows = [line for line in model.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 25
    assert [row for row in rows if "`test_" not in row] == []


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page, down to the next of the same level."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found, f"docs/{page} has no section {heading!r}"
    return found


def blocks(text: str) -> list[list[str]]:
    """The lines of each fenced block."""
    return [found.splitlines() for found in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)]


def drawn_tree() -> Iterator[str]:
    """Each path in the tree of docs/architecture.md."""
    folders: list[str] = []
    for line in blocks(section("architecture.md", "The tree"))[0]:
        found = re.fullmatch(r"((?:  )*)(\S+) +(\S.*)", line)
        assert found, f"no path with a description: {line!r}"
        folders[len(found[1]) // 2 :] = [found[2].rstrip("/")]
        yield "/".join(folders)


def defined_names(path: Path) -> Iterator[str]:
    """Each function and class of a file, and ``Class.method``."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, kinds):
            yield node.name
            for child in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(child, kinds):
                    yield f"{node.name}.{child.name}"


def test_the_diagram_of_imports_is_the_law() -> None:
    """Arrows between packages, and the floors of core from the top down, as test_laws has them."""
    arrows, floors = blocks(section("architecture.md", "Imports"))
    drawn = {
        source: set(targets.split(" & "))
        for source, targets in re.findall(r"^ *(\w+) --> (.+)$", "\n".join(arrows), re.MULTILINE)
    }
    assert drawn == {name: allowed for name, allowed in PACKAGES.items() if allowed}
    assert [set(line.split()) for line in floors] == [set(parts) for parts in reversed(CORE)]


def test_the_tree_is_the_one_there_is() -> None:
    """Each path is there; each folder, and each part of core, has its line."""
    drawn = list(drawn_tree())
    assert [path for path in drawn if not (ROOT / path).exists()] == []
    packages = {name if name != "aws_lambda" else "aws_lambda.py" for name in PACKAGES}
    listed = {name.partition("/")[0] for name, _ in tracked() if "/" in name}
    folders = {name for name in listed if not name.startswith(".")}
    core = {
        f"core/{part}" if (ROOT / "core" / part).is_dir() else f"core/{part}.py"
        for parts in CORE
        for part in parts
    }
    tests = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert packages | folders | core | tests <= set(drawn)


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_every_file_and_name_that_the_page_points_to_is_there(page: str) -> None:
    """``name`` in ``file`` is defined in it; a path in backquotes exists."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    paths = re.findall(r"`([\w.-]+/[\w./-]*)`", text)
    assert len(paths) > 30
    made_up = {"NAME", "NNNN"}
    gone = {path for path in paths if not any(word in path for word in made_up)}
    assert sorted(path for path in gone if not (ROOT / path).exists()) == []
    pairs = re.findall(r"`([A-Za-z_.]+)` (?:in|of) `([\w./]+\.py)`", text)
    wrong = [f"{name} in {file}" for name, file in pairs if name not in names_in(ROOT / file)]
    assert wrong == []


def names_in(path: Path) -> set[str]:
    """What a file defines, the names of its values included."""
    tree = ast.parse(path.read_text())
    values = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    fields = {
        field.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    return values | fields | set(defined_names(path))


PAGES = [path for folder in (".", "docs", "bench") for path in sorted((ROOT / folder).glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_the_pages_leads_somewhere(path: Path) -> None:
    """The file is there, and so is the heading."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if "://" in name or name.startswith("mailto:"):
            continue
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


def anchors(path: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


UNKNOWN_PAGES = re.compile(r"\b(?:FAULT[S]|IDENTIT[Y]|STYL[E])\.md\b|\bissue \d|\bDESIG[N]\b")


def test_nothing_refers_to_a_page_that_is_not_here() -> None:
    """No design document or tracker of the authors: a clone holds everything that is cited."""
    wrong = [
        f"{name}: {found[0]}"
        for name, text in tracked()
        if not name.endswith((".lock", ".json", ".jsonl"))
        for found in UNKNOWN_PAGES.finditer(text)
    ]
    assert wrong == []


def test_every_file_that_a_page_names_is_there() -> None:
    """Paths of code in backquotes, on every page; the folders moved once, and pages stayed."""
    folders = "|".join([*PACKAGES, "deploy", "fuzz", "site", "tests", "usher"])
    pattern = re.compile(rf"`((?:{folders})/[\w./-]+\.(?:py|js|toml|dict|yaml|yml|conf))`")
    named = {(page.name, path) for page in PAGES for path in pattern.findall(page.read_text())}
    assert len(named) > 100
    made_up = {"functions/identity_NAME.py"}
    gone = {(page, path) for page, path in named if not (ROOT / path).exists()}
    assert sorted(each for each in gone if each[1] not in made_up) == []


RELATIVE = re.compile(
    r"(?:^|(?<=[.:;?] )|(?<=\*\* )|(?<=\| )|(?<=^[-*] )|(?<=\.\* ))"
    r"(?:Who|What|Whoever)\b(?!.*\?$).*",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sentence_begins_with_the_thing(path: Path) -> None:
    """Not with Who, What or Whoever: such a sentence hides its subject. A question may."""
    text = re.sub(r"```.*?```|^    .*?$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert [found[0][:80] for found in RELATIVE.finditer(text)] == []
