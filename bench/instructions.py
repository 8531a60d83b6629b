"""CPU instructions of an event and of a cold start, counted by valgrind's callgrind.

The FastAPI peer is counted over the same stretch, from a body and its signature to the commit. Node
cannot be: V8 compiles while it runs, in threads of its own, and what runs under valgrind is neither
the code nor the order of a usual run. Its CPU time is in `bench.events_http`.

Two trees that do the same differ by 0.5 % at most, where wall time varies by a third.
Events are made before anything is counted. What an event costs in the pipeline is what a process
counted between two moments, by the number of events between them: neither imports nor the first
transactions are in it. A cold start is a whole process.

`python -m bench.instructions [--only CASE] [--against REVISION] [--json FILE]`
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from msgspec.structs import replace

from bench.load import sign
from bench.machine import describe
from usher.emulator.payload import Account, event_body

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "bench/counted.py"
SECRET = "c" * 40
POLICY = """
[admission]
default = "allow"
deny_email_domains = ["mailinator.com"]
[[role]]
grant = "member"
[[role]]
grant = "staff"
email_domains = ["example.com"]
"""
LISTED_POLICY = POLICY.replace('["mailinator.com"]', '{ file = "domains.txt", subdomains = true }')
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
BETWEEN = timedelta(milliseconds=37)
"""From one event to the next: no moment comes twice, which a cache would be quick with."""
PICTURE = "https://lh3.googleusercontent.com/a/ACg8ocK-{}?sz=96&alt=photo"
"""Go writes its & as an escape, as it does in the address of every provider's picture."""
FIXED_IMPORTS = "import sqlmodel, jwt, structlog"
TAIL = 2_000

Rows = list[tuple[str, str, str]]
"""Body, signature, and time of receipt of each event."""


class CountError(RuntimeError):
    """Instructions could not be counted, or the figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        warm_up: events before the count begins.
        counted: events that are counted; 0: a whole process is.
        batch: events in one transaction.
        picture: signups from a provider, with a picture's address.
        peer: `fastapi`; empty: the tree's own pipeline.
        domains: on the deny list, which is a file then; 0: one, in the policy.
    """

    title: str
    event: str = ""
    batch: int = 0
    warm_up: int = 0
    counted: int = 0
    picture: bool = False
    peer: str = ""
    domains: int = 0

    @property
    def alone(self) -> bool:
        """Whether there is nothing of another revision to compare it with."""
        return bool(self.peer or self.domains)


CASES = {
    "signup-16": Case("signup, in 16s", "signup", 16, 512, 512),
    "signup-1": Case("signup, alone", "signup", 1, 256, 128),
    "listed-16": Case("signup, 100,000 domains denied", "signup", 16, 512, 512, domains=100_000),
    "login-16": Case("login, in 16s", "login", 16, 512, 512),
    "login-1": Case("login, alone", "login", 1, 256, 128),
    "picture-16": Case("signup with a picture, in 16s", "signup", 16, 512, 512, picture=True),
    "fastapi-1": Case("signup at FastAPI's, alone", "signup", 1, 256, 128, peer="fastapi"),
    "imports": Case("cold: the fixed packages imported"),
    "cold-forged": Case("cold: a forged event refused", "forged"),
    "cold-good": Case("cold: a good event stored", "signup"),
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout to measure."""

    name: str
    root: Path

    @property
    def prefix(self) -> str:
        """What stands before the names of its modules; nothing, before November 2026."""
        return "usher." if (self.root / "usher").is_dir() else ""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*CASES], help="may be repeated")
    parser.add_argument(
        "--against", metavar="REVISION", help="measure this revision, too, and print the ratio"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at once"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    given = parser.parse_args(argv)
    given.only = [name for name in CASES if not given.only or name in given.only]
    if given.jobs < 1:
        parser.error("jobs is at least 1")
    return given


def say(text: str) -> None:
    """Progress goes to stderr; stdout holds the figures alone."""
    print(text, file=sys.stderr, flush=True)


def find_valgrind() -> tuple[str, str]:
    """The paths of valgrind and its vgdb, or a sentence that says how to get them."""
    valgrind, vgdb = shutil.which("valgrind"), shutil.which("vgdb")
    if valgrind is None or vgdb is None:
        raise CountError(
            "valgrind is not installed (Debian: apt-get update && apt-get install valgrind)"
        )
    return valgrind, vgdb


def person(number: int, created: datetime, picture: bool) -> Account:
    """The account of this number, new at this time."""
    who: UUID = uuid5(NAMESPACE_DNS, str(number))
    metadata = {"full_name": f"Person {number:05}"}
    if picture:
        metadata["avatar_url"] = PICTURE.format(who.hex)
    return Account(
        id=who,
        email=f"person{number:05}@example.com",
        app_metadata={"provider": "google" if picture else "email"},
        user_metadata=metadata,
        confirmation_sent_at=None if picture else created,
        confirmed_at=created if picture else None,
        created_at=created,
        updated_at=created,
    )


def row(event: str, account: Account, at: datetime) -> tuple[str, str, str]:
    """One signed event, received at this time."""
    body = event_body(event, account)
    return body.decode(), sign(body, SECRET, int(at.timestamp())).decode(), at.isoformat()


def whole(moment: datetime) -> datetime:
    """The second of a moment: Identity's own times have no fraction."""
    return moment.replace(microsecond=0)


def parts(before: Rows, sent: Rows, warm_up: int) -> dict[str, Rows]:
    """As bench/counted.py takes them."""
    return {"before": before, "warm_up": sent[:warm_up], "counted": sent[warm_up:]}


def events(case: Case) -> dict[str, Rows]:
    """What is sent: logins come an hour after the signups, in an order of their own."""
    count = case.warm_up + case.counted
    moments = [START + BETWEEN * number for number in range(count)]
    people = [person(n, whole(at), case.picture) for n, at in enumerate(moments)]
    signups = [row("signup", who, at) for who, at in zip(people, moments, strict=True)]
    if case.event == "signup":
        return parts([], signups, case.warm_up)
    random.Random(0).shuffle(people)
    logins = []
    for who, moment in zip(people, moments, strict=True):
        at = moment + timedelta(hours=1)
        known = replace(
            who,
            app_metadata={"provider": "email", "roles": ["member"]},
            confirmed_at=who.created_at + timedelta(minutes=5),
            last_sign_in_at=whole(at),
            updated_at=whole(at),
        )
        logins.append(row("login", known, at))
    return parts(signups, logins, case.warm_up)


def cold_start(case: Case, prefix: str) -> str:
    """The code of a process that answers one event, made now, through the function's handler."""
    if not case.event:
        return FIXED_IMPORTS
    now = datetime.now(UTC)
    body, signature, _ = row("signup", person(0, whole(now), picture=False), now)
    status = 200
    if case.event == "forged":
        signature, status = f"{signature[:-43]}{'A' * 43}", 401
    request = {
        "httpMethod": "POST",
        "path": "/hooks/identity",
        "body": body,
        "headers": {"content-type": "application/json", "x-webhook-signature": signature},
    }
    return (
        f"from {prefix}functions.identity import handler\n"
        f"answer = handler({request!r}, None)\n"
        f"assert answer['statusCode'] == {status}, answer\n"
    )


def total(callgrind: str) -> int:
    """All instructions, of a file that callgrind wrote.

    Raises:
        CountError: there is no total in it.
    """
    for line in callgrind.splitlines():
        name, _, value = line.partition(":")
        if name == "summary":
            return int(value.split()[0])
    raise CountError("callgrind wrote no total")


def environment(tree: Tree, home: Path) -> dict[str, str]:
    """The caller's, without what changes a figure; the order of sets depends on the hash seed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("USHER_", "PYTHON", "COV"))
    }
    return kept | {
        "PYTHONPATH": str(tree.root),
        "PYTHONHASHSEED": "0",
        "USHER_DATABASE_URL": f"sqlite:///{home / 'usher.db'}",
        "USHER_WEBHOOK_SECRETS": SECRET,
        "USHER_POLICY": str(home / "policy.toml"),
        "USHER_SPOOL": str(home / "spool"),
    }


def run(command: Sequence[str], home: Path, variables: Mapping[str, str]) -> str:
    """What a process printed.

    Raises:
        CountError: it failed; with the end of what it said.
    """
    with (home / "log").open("wb") as log:
        done = subprocess.run(
            command, cwd=home, env=variables, stdout=subprocess.PIPE, stderr=log, check=False
        )
    if done.returncode:
        said = (home / "log").read_text(errors="replace")[-TAIL:]
        raise CountError(f"{' '.join(command)[:TAIL]} failed ({done.returncode}):\n{said}")
    return done.stdout.decode()


class Bench:
    """Measures trees, in a folder.

    Args:
        folder: for databases and events; the caller removes it.
        valgrind, vgdb: their paths.
    """

    def __init__(self, folder: Path, valgrind: str, vgdb: str) -> None:
        self._folder = folder
        self._valgrind = valgrind
        self._vgdb = vgdb

    def prepare(self, tree: Tree, names: Sequence[str]) -> None:
        """An empty database, and every module compiled: each case runs once, uncounted.

        Raises:
            CountError: it fails, or runs on modules of another tree.
        """
        home = self._folder / tree.name
        home.mkdir()
        (home / "policy.toml").write_text(POLICY)
        upgrade = [sys.executable, "-P", "-m", f"{tree.prefix}cli", "db", "upgrade"]
        run(upgrade, home, environment(tree, home))
        for name in names:
            case, trial = CASES[name], self._home(tree, f"{name}-trial")
            printed = run(self._command(tree, name), trial, environment(tree, trial))
            module = printed.partition("\n")[0]
            if case.counted and not case.peer and not Path(module).is_relative_to(tree.root):
                raise CountError(f"{tree.name}: {module} is not in {tree.root}")

    def write_events(self, names: Sequence[str]) -> None:
        """The events of these cases, the same for every tree."""
        for name in names:
            if CASES[name].counted:
                self._events(name).write_text(json.dumps(events(CASES[name])))

    def count(self, tree: Tree, name: str) -> float:
        """Instructions of one event, or of a whole process."""
        case, home = CASES[name], self._home(tree, name)
        command = [self._valgrind, "--tool=callgrind", f"--callgrind-out-file={home}/callgrind.%p"]
        variables = environment(tree, home) | {"PYTHONDONTWRITEBYTECODE": "1"}
        counted = self._command(tree, name)
        if case.counted:
            command.append("--instr-atstart=no")
            counted.append(self._vgdb)
        printed = run([*command, *counted], home, variables)
        if case.counted:
            _, first, second = printed.splitlines()
            before, after = (
                total((home / f"callgrind.{process}").read_text()) for process in (first, second)
            )
            found = (after - before) / case.counted
        else:
            (file,) = home.glob("callgrind.*")
            found = float(total(file.read_text()))
        say(f"{tree.name:12} {name:12} {found / 1e6:10.3f} M")
        return found

    def _events(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _home(self, tree: Tree, name: str) -> Path:
        """A folder with a database of its own: what one process stores, another must not know."""
        home = self._folder / f"{tree.name}-{name}"
        home.mkdir()
        for file in (self._folder / tree.name).iterdir():
            if file.name != "log":
                shutil.copy(file, home)
        if count := CASES[name.removesuffix("-trial")].domains:
            (home / "policy.toml").write_text(LISTED_POLICY)
            lines = "".join(f"junk{number}.example\n" for number in range(count))
            (home / "domains.txt").write_text(lines)
        return home

    def _command(self, tree: Tree, name: str) -> list[str]:
        case = CASES[name]
        python = [sys.executable, "-P"]
        if not case.counted:
            return [*python, "-c", cold_start(case, tree.prefix)]
        events_file = str(self._events(name))
        return [*python, str(PROGRAM), case.peer or tree.prefix, events_file, str(case.batch)]


def checkout(revision: str, folder: Path) -> Tree:
    """This revision in a folder of its own, without touching the repository.

    Raises:
        CountError: there is no such revision.
    """

    def git(*command: str, cwd: Path = ROOT) -> str:
        done = subprocess.run(
            ["git", *command], cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CountError(f"git {command[0]} {revision}: {done.stderr.strip()}")
        return done.stdout.strip()

    commit = git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    root = folder / "checkout"
    git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(root))
    git("checkout", "--quiet", "--detach", commit, cwd=root)
    return Tree(commit[:9], root)


def measure(trees: Sequence[Tree], names: Sequence[str], bench: Bench, jobs: int) -> list[Any]:
    """A row for each case: instructions an event of each tree, and their ratio."""
    bench.write_events(names)
    tasks = [
        (tree, name)
        for name in names
        for tree in trees
        if tree is trees[0] or not CASES[name].alone
    ]
    for tree in trees:
        bench.prepare(tree, [name for each, name in tasks if each is tree])
    with ThreadPoolExecutor(jobs) as threads:
        found = dict(zip(tasks, threads.map(lambda task: bench.count(*task), tasks), strict=True))
    rows = []
    for name in names:
        figures = [found[tree, name] for tree in trees if (tree, name) in found]
        line: dict[str, Any] = {"case": name, "instructions": figures[0]}
        if len(figures) > 1:
            line |= {"against": figures[1], "ratio": figures[0] / figures[1]}
        rows.append(line)
    return rows


def table(rows: Sequence[Mapping[str, Any]], against: str = "") -> str:
    """The figures as text, in millions, one case a line."""
    head = f"{'millions of instructions':32}{'now':>10}"
    lines = [head + (f"{against:>12}{'ratio':>8}" if against else "")]
    for each in rows:
        line = f"{CASES[each['case']].title:32}{each['instructions'] / 1e6:10.3f}"
        if "against" in each:
            line += f"{each['against'] / 1e6:12.3f}{each['ratio']:8.3f}"
        lines.append(line)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when it cannot be run."""
    given = arguments(argv)
    try:
        valgrind, vgdb = find_valgrind()
        with tempfile.TemporaryDirectory(prefix="usher-bench-") as directory:
            folder = Path(directory)
            machine = describe(folder)
            trees = [Tree("now", ROOT)]
            if given.against:
                trees.append(checkout(given.against, folder))
            rows = measure(trees, given.only, Bench(folder, valgrind, vgdb), given.jobs)
    except (CountError, OSError) as error:
        say(f"error: {error}")
        return 1
    print(f"machine: {machine}")
    print(table(rows, trees[1].name if given.against else ""))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
