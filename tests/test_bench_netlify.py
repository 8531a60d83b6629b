"""The parts of bench.netlify: shares, a zipped function run as Lambda would, and the arithmetic."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bench import load, netlify, netlify_figures, netlify_profile, shares
from bench.netlify_figures import Figures
from bench.netlify_function import Function, FunctionError, Package, function, zip_functions
from bench.shares import EVERYTHING, PERIOD_US, Group, Share
from bench.tls_database import LINE, Moment
from tests.cluster import shared
from tests.netlify_site import CLI, INSTALL_SECONDS, NODE, NPM_PATH
from tests.npm import installed

HALF = Share("half", 0.5, 64)
MOUNTS = """\
25 30 0:23 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
33 32 0:28 / {cpu} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 32 0:29 / {memory} rw,relatime - cgroup cgroup rw,memory
"""
ECHO = """\
let calls = 0
export default async (request) => {
  performance.mark('called')
  const body = await request.text()
  if (body === 'fail') throw new Error('as asked')
  if (body === 'end') process.kill(process.pid, 'SIGKILL')
  return new Response(`${process.env.GREETING} ${body} ${++calls}`, { status: 201 })
}
export const config = { includedFiles: ['../usher/**'] }
"""


def test_a_share_becomes_the_files_of_both_versions() -> None:
    """The quota is of the same period; nothing is written where nothing is limited."""
    assert shares.limits(HALF, "v2") == {
        "cpu": {"cpu.max": f"{PERIOD_US // 2} {PERIOD_US}"},
        "memory": {"memory.max": "67108864"},
    }
    assert shares.limits(HALF, "v1") == {
        "cpu": {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{PERIOD_US // 2}"},
        "memory": {"memory.limit_in_bytes": "67108864"},
    }
    assert shares.limits(EVERYTHING, "v2") == {"cpu": {}, "memory": {}}


def test_groups_are_made_below_the_own_one(tmp_path: Path) -> None:
    """Where it is seen; in a container it need not be."""
    cpu, memory = tmp_path / "cpu", tmp_path / "memory"
    (memory / "mine").mkdir(parents=True)
    own = "4:memory:/mine\n1:cpu,cpuacct:/elsewhere\n0::/\n"
    assert shares.hierarchies(MOUNTS.format(cpu=cpu, memory=memory), own) == {
        "unified": Path("/sys/fs/cgroup/unified"),
        "cpu": cpu,
        "memory": memory / "mine",
    }


def test_a_process_enters_its_group_or_it_is_said_why_not() -> None:
    """Whatever this machine allows; nothing is left behind."""
    with shares.group(HALF) as made:
        command = made.within(["cat", "/proc/self/cgroup"])
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        entered = {each.name for each in made.folders}
        assert all(name in done.stdout for name in entered)
        assert entered or made.missing
    assert not any(folder.exists() for folder in made.folders)


def test_without_control_groups_a_process_runs_all_the_same() -> None:
    """And it is said that nothing is limited."""
    with shares.group(HALF, {}) as made:
        command = made.within([sys.executable, "-c", "print('ran')"])
        assert subprocess.run(command, check=True, capture_output=True).stdout == b"ran\n"
        assert made.peak_mib() is None
    assert [line.partition(":")[0] for line in made.missing] == ["the processor", "memory"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A small function with a file beside it, zipped by Netlify's own step."""
    cli = installed(CLI, shared(tmp_path_factory), path=NPM_PATH, seconds=INSTALL_SECONDS)
    site = tmp_path_factory.mktemp("site")
    (site / "netlify/usher").mkdir(parents=True)
    (site / "netlify/usher/data.bin").write_bytes(bytes(1000))
    (site / "netlify/functions").mkdir()
    (site / "netlify/functions/echo.mjs").write_text(ECHO)
    step = cli / "node_modules/@netlify/zip-it-and-ship-it"
    target = tmp_path_factory.mktemp("zips") / "new"
    return zip_functions(Path(NODE, "node"), site, site / "netlify/functions", target, step)["echo"]


@pytest.fixture
def running(package: Package, tmp_path: Path) -> Iterator[Function]:
    """It, in a process."""
    variables = {"GREETING": "hello"}
    with function(package, Path(NODE, "node"), EVERYTHING, variables, tmp_path / "log") as found:
        yield found


def asked(body: str) -> dict[str, Any]:
    """An event with this body."""
    return netlify.event(body.encode(), {}, "/.netlify/functions/echo")


def text(answer: dict[str, Any]) -> str:
    """The body of an answer."""
    return base64.b64decode(answer["body"]).decode()


def test_the_zip_has_what_the_function_includes(package: Package) -> None:
    """Netlify's bootstrap as well; its version is known."""
    assert (package.folder / "usher/data.bin").stat().st_size == 1000
    assert package.entry.is_file()
    assert package.bootstrap[0].isdigit()
    assert package.unzipped > package.zipped > 0


def test_a_function_answers_its_first_event_and_later_ones(running: Function) -> None:
    """In one process, which had its entry file loaded before, and used the processor."""
    first, cold = running.start(asked("one"))
    second, warm = running.invoke(asked("two"))
    assert [text(first), text(second)] == ["hello one 1", "hello two 2"]
    assert first["statusCode"] == 201
    assert cold > 0
    assert warm > 0
    assert running.loaded <= running.marks[0][1] <= running.answered
    assert running.marks[0][0] == "called"
    assert running.resident_mib() > 1
    assert running.cpu_ms() > 0


def test_a_function_that_fails_or_ends_is_an_error(running: Function) -> None:
    """With what it said; one that only failed goes on."""
    running.start(asked("one"))
    with pytest.raises(FunctionError, match="as asked"):
        running.invoke(asked("fail"))
    assert text(running.invoke(asked("two"))[0]) == "hello two 2"
    with pytest.raises(FunctionError, match="ended with status -9"):
        running.invoke(asked("end"))


def test_a_zip_step_that_fails_is_an_error(tmp_path: Path) -> None:
    """With what it said."""
    with pytest.raises(FunctionError, match="the zip step failed"):
        zip_functions(Path(NODE, "node"), tmp_path, tmp_path, tmp_path / "zips", tmp_path)


@pytest.fixture
def contender(tmp_path: Path, package: Package) -> netlify.Contender:
    """One that has answered nothing so far."""
    (tmp_path / "log").write_text("its log")
    return netlify.Contender("echo", package, {}, tmp_path / "log", "deliveries")


def told(status: int, roles: Sequence[str] = ()) -> dict[str, Any]:
    """An answer with these roles."""
    body = json.dumps({"app_metadata": {"roles": roles}}).encode() if roles else b""
    return {"statusCode": status, "body": base64.b64encode(body).decode()}


@pytest.mark.parametrize(
    ("case", "answer", "message"),
    [
        ("signup", told(401), "answered 401: b''\nits log"),
        ("signup", told(204), "answered 204"),
        ("forged", told(200, netlify.ROLES), "answered 200"),
        ("signup", told(200, ["member"]), r"gave the roles \['member'\]"),
    ],
)
def test_an_answer_that_is_wrong_ends_the_bench(
    contender: netlify.Contender, case: str, answer: dict[str, Any], message: str
) -> None:
    """Its figures would mean nothing."""
    with pytest.raises(FunctionError, match=message):
        netlify.check(contender, answer, case)
    assert contender.stored == 0


def test_answers_that_store_an_event_are_counted(contender: netlify.Contender) -> None:
    """The ledger is compared with them in the end."""
    for case, answer in (
        ("signup", told(200, netlify.ROLES)),
        ("login", told(204)),
        ("forged", told(401)),
    ):
        netlify.check(contender, answer, case)
    assert contender.stored == 2


@pytest.mark.parametrize("case", [*netlify.STATUSES])
def test_an_event_is_signed_with_the_secret_but_a_forged_one(case: str) -> None:
    """A forged one is well formed, and only its signature is not of the secret."""
    person = uuid4()
    asked = netlify.request(case, person)
    body, signature = asked["body"].encode(), asked["headers"]["x-webhook-signature"]
    iat = json.loads(base64.urlsafe_b64decode(signature.split(".")[1] + "=="))["iat"]
    assert (load.sign(body, netlify.SECRET, iat).decode() == signature) == (case != "forged")
    assert str(person) in asked["body"]


def figures(function: str, share: str, *cold: float) -> Figures:
    """Some."""
    times = [float(each) for each in range(1, 201)]
    return Figures(
        function,
        24,
        share,
        list(cold),
        [500.0],
        [400.0],
        [300.0],
        times,
        times,
        [200.0],
        [250.0],
    )


def test_the_table_compares_with_plain_javascript_round_by_round() -> None:
    """Only of the same Node with the same share."""
    ours, plain = (
        figures("usher", "1024 MB", 900, 1000, 1100),
        figures(netlify_figures.PLAIN, "1024 MB", 300, 500, 275),
    )
    _, _, first, second = "\n".join(netlify_figures.table([ours, plain])).splitlines()
    assert "| 1,000 (900 to 1,100) | 3.00 (2.00 to 4.00) | 400 | 500 | 300 |" in first
    assert "| 100.5, 198.0 |" in first
    assert "| 300 (275 to 500) |  | 400 |" in second


def test_the_aims_are_of_the_default_node_and_of_runs_that_were_made() -> None:
    """With the size of the zip."""
    rows = [asdict(figures("usher", "1024 MB", 900, 1000, 1100))]
    found = {"rows": rows, "bytes": {"usher": (34_000_000, 1)}}
    assert netlify_figures.promises(found)[0] == (
        "Netlify, 1024 MB: cold to a stored signup, s",
        1,
        [1.0, 0.9, 1.1],
    )
    assert netlify_figures.promises(found)[-1] == ("Netlify: MB zipped", 35, [34.0])
    assert len(netlify_figures.promises(found)) == 5
    assert "cold to a stored signup, s 1;" in netlify_figures.sentence(found)
    assert netlify_figures.promises({"rows": [], "bytes": {}}) == []


def test_a_profile_is_what_lies_between_the_moments() -> None:
    """Those of the function itself and of its database, in order; earlier ones are left out."""

    class Known(Function):
        """One that ran."""

        def __init__(self) -> None:
            self.began, self.loaded, self.answered = 100.0, 100.1, 101.0
            self.marks = [("Python is up", 100.4)]

    lines = [
        "99.000 [1] LOG:  connection received: host=127.0.0.1 port=1",
        "100.500 [2] LOG:  connection received: host=127.0.0.1 port=2",
        "100.600 [2] LOG:  connection authorized: user=usher SSL enabled",
        "100.700 [2] LOG:  statement: BEGIN",
        "100.900 [2] LOG:  execute <unnamed>: COMMIT",
        "\tof more than one line",
    ]
    said = [Moment(float(it[1]), int(it[2]), it[3]) for line in lines if (it := LINE.match(line))]
    found = netlify_profile.stages(Known(), said)
    assert {name: round(elapsed) for name, elapsed in found.items()} == {
        "entry file loaded": 100,
        "Python is up": 300,
        "database connected": 100,
        "signed in (TLS, SCRAM)": 100,
        "last statement sent": 300,
        "answered": 100,
    }
    assert netlify_profile.medians([found, found, dict.fromkeys(found, 0.0)]) == found


def test_without_options_everything_is_measured() -> None:
    """Both Nodes, all shares, both functions; ten cold starts and 200 warm events."""
    given = netlify.arguments([])
    assert (given.rounds, given.warm, given.node) == (10, 200, [22, 24])
    assert given.share == [*shares.SHARES]
    assert netlify.arguments(["--share", "1024 MB"]).share == [shares.SHARES[1]]


def test_a_group_without_folders_changes_no_more_than_the_shell() -> None:
    """The command itself runs in the end."""
    assert Group().within(["node", "x"])[-2:] == ["node", "x"]
