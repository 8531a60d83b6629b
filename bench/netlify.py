"""The function inside Netlify: zipped by Netlify's own step, with Lambda's share of the processor.

`python -m bench.netlify [--rounds N] [--warm N] [--node 24] [--share "1024 MB"] [--only usher]
[--site FOLDER] [--profile] [--json FILE]`

Beside it, in turns, the same handler in plain JavaScript (`peers/netlify`), in the same bootstrap
and on the same PostgreSQL. Cold is from the start of the process to the answer: to a signup that is
stored by then, or to a forged one. Warm is one more event in a process that goes on.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

from bench import load
from bench.machine import describe
from bench.netlify_figures import PLAIN, Figures, sentence, table
from bench.netlify_function import (
    PEER,
    Function,
    FunctionError,
    Package,
    event,
    function,
    node,
    zip_functions,
)
from bench.netlify_profile import medians, stages
from bench.shares import SHARES, Share, group
from bench.tls_database import TlsDatabase, tls_database
from tests import npm
from tests.conftest import POLICY
from tests.netlify_site import CLI, INSTALL_SECONDS, NPM_PATH
from tests.support import ROOT, clean_environment

SECRET = "0123456789abcdef0123456789abcdef"
PATH = "/.netlify/functions/identity"
ROLES = ["member", "staff"]
NODES = (22, 24)
FORGED = "forged"
STATUSES = {"signup": {200}, "login": {200, 204}, FORGED: {401}}
"""What is answered in each case; 204 says that the roles stay as they are."""
TABLES = """
CREATE TABLE "user" (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, app_metadata TEXT NOT NULL,
    user_metadata TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX user_email ON "user" (email);
CREATE TABLE delivery (
    id TEXT PRIMARY KEY, body BYTEA NOT NULL, outcome TEXT NOT NULL, received_at TEXT NOT NULL
)
"""


@dataclass(slots=True)
class Contender:
    """One of the two.

    Attributes:
        log: what its processes write.
        ledger: the table that holds a row of each event that was answered.
        stored: how many events it has answered so.
    """

    name: str
    package: Package
    variables: Mapping[str, str]
    log: Path
    ledger: str
    stored: int = 0


Key = tuple[int, str, str]
Place = tuple[int, Share]


def request(case: str, person: UUID) -> dict[str, Any]:
    """An event of somebody's, signed now; a forged one is a signup signed with another secret."""
    now, name = int(time.time()), "signup" if case == FORGED else case
    body = load.event(name, person, now, {"roles": ROLES} if case == "login" else {})
    signature = load.sign(body, SECRET[::-1] if case == FORGED else SECRET, now)
    headers = {"x-webhook-signature": signature.decode(), "x-netlify-event": f"identity_{name}"}
    return event(body, headers, PATH)


def check(contender: Contender, answer: Mapping[str, Any], case: str) -> None:
    """The answer gives the roles of the policy, changes nothing at a login, or refuses."""
    body, status = base64.b64decode(answer["body"]), answer["statusCode"]
    if status not in STATUSES[case]:
        said = f"{body!r}\n{contender.log.read_text(errors='replace')[-4000:]}"
        raise FunctionError(f"{contender.name} answered {status}: {said}")
    if status == 200:
        roles = json.loads(body)["app_metadata"]["roles"]
        if sorted(roles) != ROLES:
            raise FunctionError(f"{contender.name} gave the roles {roles}")
    contender.stored += case != FORGED


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    contenders: Sequence[Contender]
    places: Sequence[Place]

    def figures(self) -> dict[Key, Figures]:
        """None yet."""
        keys = [
            (major, share.name, each.name)
            for (major, share), each in itertools.product(self.places, self.contenders)
        ]
        return {key: Figures(key[2], key[0], key[1]) for key in keys}

    def running(self, contender: Contender, place: Place) -> AbstractContextManager[Function]:
        """Start one."""
        major, share = place
        return function(contender.package, node(major), share, contender.variables, contender.log)

    def cold(self, contender: Contender, place: Place, figures: Figures, case: str) -> None:
        """One start."""
        with self.running(contender, place) as running:
            answer, elapsed = running.start(request(case, uuid4()))
            cpu = running.cpu_ms()
        check(contender, answer, case)
        (figures.cold_forged if case == FORGED else figures.cold_good).append(elapsed)
        (figures.cpu_forged if case == FORGED else figures.cpu_good).append(cpu)

    def warm(self, place: Place, found: Mapping[Key, Figures], count: int) -> None:
        """So many signups, then as many logins, of each contender in turns."""
        people = [uuid4() for _ in range(count)]
        with ExitStack() as stack:
            pairs: list[tuple[Contender, Function, Figures]] = []
            for each in self.contenders:
                running = stack.enter_context(self.running(each, place))
                check(each, running.start(request("signup", uuid4()))[0], "signup")
                pairs.append((each, running, found[place[0], place[1].name, each.name]))
            for name in ("signup", "login"):
                for person in people:
                    for contender, running, figures in pairs:
                        answer, elapsed = running.invoke(request(name, person))
                        check(contender, answer, name)
                        getattr(figures, name).append(elapsed)
            for _, running, figures in pairs:
                figures.peak_mib.append(running.peak_mib())
                figures.resident_mib.append(running.resident_mib())

    def profile(self, database: TlsDatabase, rounds: int) -> Iterator[str]:
        """Where the time of cold starts goes."""
        for place, contender in itertools.product(self.places, self.contenders):
            runs, cpu = [], []
            for _ in range(rounds):
                with self.running(contender, place) as running:
                    check(contender, running.start(request("signup", uuid4()))[0], "signup")
                    cpu.append(running.cpu_ms())
                    runs.append(stages(running, database.moments()))
            yield f"\nNode {place[0]}, {place[1].name}, {contender.name}: ms until"
            for stage, elapsed in medians(runs).items():
                yield f"  {elapsed:8.1f}  {stage}"
            yield f"  {median(cpu):8.1f}  of the processor's time in all"


def usher_site(folder: Path) -> Path:
    """A new site, built by ``usher netlify build``."""
    (folder / "public").mkdir(parents=True)
    (folder / "netlify.toml").write_text('[build]\npublish = "public"\n')
    (folder / "policy.toml").write_text(POLICY)
    command = [sys.executable, "-m", "usher.cli", "netlify", "build"]
    variables = clean_environment(PYTHONPATH=str(ROOT), PATH=NPM_PATH)
    subprocess.run(command, cwd=folder, env=variables, check=True, stdout=sys.stderr)
    return folder


@contextmanager
def contenders(
    database: TlsDatabase, folder: Path, site: Path | None, only: Sequence[str]
) -> Iterator[list[Contender]]:
    """Both, zipped and unzipped; their tables are there."""
    for packages in (CLI, PEER):
        npm.installed(packages, folder, path=NPM_PATH, seconds=INSTALL_SECONDS)
    zipper, trust = node(max(NODES)), {"NODE_EXTRA_CA_CERTS": str(database.authority)}
    url = f"{database.url}?sslmode=verify-full"
    found = []
    if "usher" in only:
        made = site or usher_site(folder / "site")
        zipped = zip_functions(zipper, made, made / "netlify/functions", folder / "usher")
        variables = {
            "USHER_DATABASE_URL": url.replace("postgresql:", "postgresql+pg8000:", 1),
            "USHER_WEBHOOK_SECRETS": SECRET,
        }
        log = folder / "usher.log"
        found.append(Contender("usher", zipped["identity"], variables | trust, log, "deliveries"))
    if PLAIN in only:
        database.say(*TABLES.split(";"))
        zipped = zip_functions(zipper, PEER, PEER / "functions", folder / PLAIN)
        variables = {"DATABASE_URL": url, "WEBHOOK_SECRET": SECRET}
        log = folder / f"{PLAIN}.log"
        found.append(Contender(PLAIN, zipped["identity"], variables | trust, log, "delivery"))
    yield found
    for each in found:
        kept = database.count(each.ledger)
        if kept != each.stored:
            raise FunctionError(f"{each.name} answered {each.stored} events and kept {kept}")


def measured(bench: Bench, rounds: int, warm: int) -> list[Figures]:
    """All figures: a round is one start of each contender for each case, in turns."""
    found = bench.figures()
    for number in range(rounds):
        order = bench.contenders if number % 2 else bench.contenders[::-1]
        for place, case, each in itertools.product(bench.places, ("signup", FORGED), order):
            bench.cold(each, place, found[place[0], place[1].name, each.name], case)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for place in bench.places:
        bench.warm(place, found, warm)
    return list(found.values())


def not_limited(shares: Sequence[Share]) -> list[str]:
    """What this machine does not let us limit."""
    with ExitStack() as stack:
        groups = [stack.enter_context(group(share)) for share in shares]
        return sorted({line for each in groups for line in each.missing})


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [share.name for share in SHARES]
    parser = argparse.ArgumentParser(prog="python -m bench.netlify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="cold starts of each (10)")
    parser.add_argument("--warm", type=int, default=200, help="signups, and logins (200)")
    parser.add_argument("--node", type=int, action="append", choices=NODES, help="may be repeated")
    parser.add_argument("--share", action="append", choices=names, help="may be repeated")
    parser.add_argument("--only", action="append", choices=["usher", PLAIN])
    parser.add_argument("--site", type=Path, help="built before by usher netlify build")
    parser.add_argument("--profile", action="store_true", help="where a cold start's time goes")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(argv)
    given.node = given.node or list(NODES)
    given.share = [share for share in SHARES if share.name in (given.share or names)]
    given.only = given.only or ["usher", PLAIN]
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    given = arguments(argv)
    machine, free = describe(ROOT), not_limited(given.share)
    print(
        "\n".join([f"machine: {machine}", *(f"NOT limited, {line}" for line in free)]), flush=True
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usher-netlify-")))
        database = stack.enter_context(tls_database(logged=given.profile))
        both = stack.enter_context(contenders(database, folder, given.site, given.only))
        bench = Bench(both, list(itertools.product(given.node, given.share)))
        sizes = {each.name: (each.package.zipped, each.package.unzipped) for each in both}
        for name, (zipped, unzipped) in sizes.items():
            print(f"{name}: {zipped / 1e6:.1f} MB zipped, {unzipped / 1e6:.1f} MB unzipped")
        if given.profile:
            for line in bench.profile(database, given.rounds):
                print(line, flush=True)
            return
        rows = measured(bench, given.rounds, given.warm)
    print("\n".join(table(rows)))
    told = {
        "machine": machine,
        "not_limited": free,
        "bytes": sizes,
        "rows": [asdict(row) for row in rows],
    }
    print(sentence(told))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
