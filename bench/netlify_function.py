"""A function in the zip that Netlify's own step makes of it, run as Lambda's Node would run it."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Any

from bench.receivers import ROOT, cpu_seconds
from bench.shares import Group, Share, group

BENCH = Path(__file__).parent
PEER = BENCH / "peers" / "netlify"
ZIP_STEP = ROOT / "tests/contract/netlify_cli/node_modules/@netlify/zip-it-and-ship-it"
SITE_URL = "https://site.example"
ANSWER_SECONDS = 120


class FunctionError(RuntimeError):
    """A function that could not be zipped, ended, or did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Package:
    """One function's zip, and the folder in which it is unzipped.

    Attributes:
        bootstrap: the version of Netlify's bootstrap in it.
    """

    name: str
    archive: Path
    folder: Path
    entry: Path
    bootstrap: str

    @property
    def zipped(self) -> int:
        """Bytes."""
        return self.archive.stat().st_size

    @property
    def unzipped(self) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


def node(major: int) -> Path:
    """The program of this version of Node."""
    found = PEER / "node_modules" / f"node-{major}" / "bin" / "node"
    if not found.is_file():
        raise FunctionError(f"no Node {major} in {PEER}: npm has it for Linux on x64 alone")
    return found


def zip_functions(
    program: Path, site: Path, functions: Path, target: Path, step: Path = ZIP_STEP
) -> dict[str, Package]:
    """Each function of a folder, zipped by Netlify's step and unzipped into a new folder.

    Args:
        program: the Node that zips.
        site: the folder that has ``netlify/usher``, which is included.
        step: the folder of the step's package.
    """
    target.mkdir(parents=True)
    script = BENCH / "netlify_zip.mjs"
    command = [program, script, *(each.resolve() for each in (step, site, functions, target))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise FunctionError(f"the zip step failed:\n{done.stderr.strip()[-2000:]}")
    found = {}
    for each in json.loads(done.stdout.splitlines()[-1]):
        archive, folder = Path(each["path"]), target / each["name"]
        shutil.unpack_archive(archive, folder)
        entry = folder / each["entry"]
        found[each["name"]] = Package(each["name"], archive, folder, entry, each["bootstrap"])
    return found


def event(body: bytes, headers: Mapping[str, str], path: str) -> dict[str, Any]:
    """The event of a POST, as Netlify hands it to its bootstrap."""
    return {
        "rawUrl": f"{SITE_URL}{path}",
        "path": path,
        "httpMethod": "POST",
        "headers": {"host": "site.example", "content-type": "application/json", **headers},
        "body": body.decode(),
        "isBase64Encoded": False,
        "flags": {},
    }


class Function:
    """A running one.

    Attributes:
        began: when its process was started, in seconds since 1970.
        loaded: when its entry file had been imported.
        answered: when its last answer was given.
        marks: what it said that it had reached, with the moment.
    """

    def __init__(
        self,
        package: Package,
        program: Path,
        limits: Group,
        variables: Mapping[str, str],
        log: Path,
    ) -> None:
        self._limits, self._log, self._left = limits, log, b""
        self._answers, given = os.pipe()
        inherited = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
        aws = {
            "AWS_LAMBDA_FUNCTION_NAME": package.name,
            "AWS_REGION": "us-east-2",
            "LAMBDA_TASK_ROOT": str(package.folder),
            "SITE_URL": SITE_URL,
            "URL": SITE_URL,
        }
        runtime = str(BENCH / "lambda_node.mjs")
        command = limits.within([str(program), runtime, str(package.entry), str(given)])
        self.began, self._started = time(), perf_counter()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=package.folder,
                env={**inherited, **aws, **variables},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                pass_fds=[given],
            )
        os.close(given)

    def start(self, first: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Its answer to its first event, and the milliseconds since its process was started."""
        self._send(first)
        self.loaded: float = self._receive()["at"] / 1000
        return self._answer(), (perf_counter() - self._started) * 1000

    def invoke(self, later: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Its answer to another event, and the milliseconds that it took."""
        asked = perf_counter()
        self._send(later)
        return self._answer(), (perf_counter() - asked) * 1000

    def cpu_ms(self) -> float:
        """The processor's time that it has used, in all its threads."""
        return cpu_seconds(self.process.pid) * 1000

    def peak_mib(self) -> float:
        """The most memory that it held: of its group, or its own where there is no group."""
        of_group = self._limits.peak_mib()
        return self.resident_mib() if of_group is None else of_group

    def resident_mib(self) -> float:
        """The most of its own memory that was resident, with shared pages of files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        os.close(self._answers)

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def _send(self, one: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(one).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self) -> dict[str, Any]:
        answer = self._receive()
        if "error" in answer:
            raise FunctionError(f"the function failed: {answer['error']}\n{self.log_tail()}")
        self.answered: float = answer["at"] / 1000
        self.marks = [(name, at / 1000) for name, at in answer["marks"]]
        return answer

    def _receive(self) -> dict[str, Any]:
        until = monotonic() + ANSWER_SECONDS
        while b"\n" not in self._left:
            readable, _, _ = select.select([self._answers], [], [], max(0, until - monotonic()))
            if not readable:
                raise FunctionError(f"no answer in {ANSWER_SECONDS} s\n{self.log_tail()}")
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise self._ended()
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        received: dict[str, Any] = json.loads(line)
        return received

    def _ended(self) -> FunctionError:
        status = self.process.wait()
        return FunctionError(f"the function ended with status {status}\n{self.log_tail()}")


@contextmanager
def function(
    package: Package, program: Path, share: Share, variables: Mapping[str, str], log: Path
) -> Iterator[Function]:
    """Run it in a new process with this share, until the end of the block."""
    with group(share) as limits:
        running = Function(package, program, limits, variables, log)
        try:
            yield running
        finally:
            running.stop()
