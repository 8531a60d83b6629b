"""Fails when branch coverage falls below the floors: core 95 %, its pure files 100 %."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import ROOT
from tests.test_laws import pure_files

CORE_FLOOR = 95.0


def main() -> int:
    """Read the coverage data of the last test run and compare."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(command, check=True)
        data = json.loads(report.read_text())
    short = []
    total = data["totals"]["percent_covered"]
    if total < CORE_FLOOR:
        short.append(f"core has {total:.1f} %, below {CORE_FLOOR} %")
    for path in pure_files():
        name = str(path.relative_to(ROOT))
        found = data["files"][name]["summary"]["percent_covered"]
        if found < 100:
            short.append(f"{name} has {found:.1f} %, below 100 %")
    for line in short:
        print(line)
    print(f"branch coverage of core: {total:.1f} %" + ("" if short else ", pure files 100 %"))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
