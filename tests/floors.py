"""The floors of branch coverage: core 95 %, its pure files 100 %.

They hold by the tests of a few folders (``marks.MEASURED``), and without properties.
Compared by pytest itself (``--floors``), so that its closing line stays the last.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from coverage import Coverage

from tests.support import ROOT

CORE_FLOOR: Final = 95.0
_SAID: Final = pytest.StashKey[tuple[list[str], str]]()


def add_option(parser: pytest.Parser) -> None:
    """Let it be asked for: a part of the tests covers a part of the code."""
    parser.addoption(
        "--floors", action="store_true", help="fail below the floors of coverage (needs --cov)"
    )


def compare(session: pytest.Session) -> None:
    """Fail a run that covers too little."""
    config = session.config
    if not config.getoption("--floors") or hasattr(config, "workerinput"):
        return
    short, total = shortfall()
    config.stash[_SAID] = short, f"branch coverage of core: {total:.1f} %"
    if short and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def tell(reporter: pytest.TerminalReporter) -> None:
    """What was found."""
    short, total = reporter.config.stash.get(_SAID, ([], ""))
    for line in short:
        reporter.write_line(f"NOT COVERED: {line}", red=True, bold=True)
    if total:
        reporter.write_line(total + ("" if short else ", pure files 100 %"))


def shortfall() -> tuple[list[str], float]:
    """What is below its floor, by the data of the run; and core's percentage."""
    from tests.test_laws import pure_files  # a test module: pytest loads it first

    data = Coverage()
    data.load()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        data.json_report(outfile=str(report))
        found = json.loads(report.read_text())
    total: float = found["totals"]["percent_covered"]
    short = [f"core has {total:.1f} %, below {CORE_FLOOR} %"] if total < CORE_FLOOR else []
    for path in pure_files():
        name = str(path.relative_to(ROOT))
        percent = found["files"][name]["summary"]["percent_covered"]
        if percent < 100:
            short.append(f"{name} has {percent:.1f} %, below 100 %")
    return short, total
