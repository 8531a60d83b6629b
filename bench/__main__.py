"""`make bench`: every benchmark in one run; one table, one JSON file, one chart.

`make bench ARGS=--quick` for a short one, whose figures only show that everything works. The steps
print their own tables as they go; the last table holds what is promised and what was measured.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench import netlify_figures
from bench.chart import draw
from bench.events_http import spread
from bench.machine import describe
from bench.receivers import BENCH, ROOT

RESULTS = BENCH / "results"
CHART = ROOT / "docs" / "bench.svg"
CONNECTIONS = (1, 16, 256)


def steps(quick: bool, folder: Path) -> dict[str, list[str]]:
    """What is run, in this order: the module and its arguments, by the name of its result."""
    seconds, rounds = ("1", "1") if quick else ("5", "3")
    events = ["bench.events_http", "--seconds", seconds, "--rounds", rounds]
    logins = [*events, "--event", "login"]
    workers = [*events, "--workers", "2", "--connections", "16", "--connections", "64"]
    for connections in CONNECTIONS:
        events += ["--connections", str(connections)]
    outbox = ["--changes", "5000"] if quick else []
    grown = str(folder / "growth")  # not the files of bench.flat, for signups come to these
    growth = ["bench.growth", "--folder", grown, "--seconds", seconds, "--rounds", rounds]
    return {
        "instructions": ["bench.instructions", *(["--only", "signup-16"] if quick else [])],
        "writes": ["bench.writes"],
        "postgresql-writes": ["bench.writes", "--database", "postgresql"],
        "sqlite": [*events, "--database", "sqlite"],
        "postgresql": [*events, "--database", "postgresql"],
        "sqlite-logins": [*logins, "--database", "sqlite"],
        "postgresql-logins": [*logins, "--database", "postgresql"],
        "sqlite-workers": [*workers, "--database", "sqlite"],
        "postgresql-workers": [*workers, "--database", "postgresql"],
        "forged": ["bench.forged", "--seconds", seconds, "--rounds", rounds],
        "startup": ["bench.startup", "--rounds", "3" if quick else "9"],
        "api": ["bench.api_http", "--seconds", seconds, "--rounds", rounds],
        "growth": [*growth, "--many", "20000" if quick else "1000000"],
        "flat": ["bench.flat", "--folder", str(folder), "--many", "20000" if quick else "1000000"],
        "past": ["bench.past", *(["--events", "2000"] if quick else [])],
        "trial": ["bench.trial", *(["--events", "2000"] if quick else [])],
        "outbox": ["bench.outbox", *outbox],
        "postgresql-outbox": ["bench.outbox", "--database", "postgresql", *outbox],
        "aws_lambda": ["bench.aws_lambda", "--rounds", "2" if quick else "5"],
        "netlify": ["bench.netlify", *(["--rounds", "2", "--warm", "20"] if quick else [])],
    }


def shown(figures: list[float]) -> str:
    """One figure, or a ratio with its spread."""
    return spread(figures) if len(figures) > 1 else f"{figures[0]:.2f}"


def promises(found: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What is aimed at, the aim, what was measured, and whether it holds."""
    lines: list[tuple[str, str, str, bool]] = []

    def at_least(what: str, aim: float, figures: list[float]) -> None:
        lines.append((what, f">= {aim:.3g}", shown(figures), figures[0] >= aim))

    def at_most(what: str, aim: float, figures: list[float]) -> None:
        lines.append((what, f"<= {aim:.3g}", shown(figures), figures[0] <= aim))

    counted = {row["case"]: row["instructions"] / 1e6 for row in found["instructions"]["rows"]}
    for case, aim in (("signup-16", 0.75), ("signup-1", 1), ("login-16", 0.9)):
        at_most(f"{case}: million instructions", aim, [counted[case]])
    at_most("picture-16 x signup-16", 1.1, [counted["picture-16"] / counted["signup-16"]])
    for case, aim in (("cold-good", 0.5), ("cold-forged", 0.3)):
        at_most(f"{case}: instructions x imports", aim, [counted[case] / counted["imports"]])
    for database, node, fastapi in (("sqlite", 1.2, 3.3), ("postgresql", 1, 6)):
        rows = {
            row["connections"]: row for row in found[database]["rows"] if row["receiver"] == "usher"
        }
        ours = rows[16]
        at_least(f"{database}: events/s x Node, 16", node, ours["rate_ratio"]["node"])
        at_least(f"{database}: events/s x FastAPI, 16", fastapi, ours["rate_ratio"]["fastapi"])
        if database == "sqlite":
            at_most(f"{database}: p99 x FastAPI, 16", 0.5, ours["p99_ratio"]["fastapi"])
            at_least(f"{database}: events/s x FastAPI, 1", 1.2, rows[1]["rate_ratio"]["fastapi"])
            at_least(f"{database}: events/s x Node, 256", 1.5, rows[256]["rate_ratio"]["node"])
        at_most(f"{database}: errors at 256", 0, [rows[256]["errors"]])
        kept = rows[256]["per_second"] / ours["per_second"]
        at_least(f"{database}: events/s at 256 x at 16", 0.8, [kept])
    (two,) = (
        row
        for row in found["postgresql-workers"]["rows"]
        if row["receiver"] == "usher_2" and row["connections"] == 64
    )
    at_least("postgresql, 2 processes: events/s x Node, 64", 1.6, two["rate_ratio"]["node"])
    steady = [row["kept"] for row in found["forged"]["steady"]]
    kept_in_flood = [median(steady), min(steady), max(steady)]
    at_least("good events kept in 10 x as many forged", 0.7, kept_in_flood)
    at_least("forged x good events/s", 1, found["forged"]["receivers"]["usher"]["ratio"])
    for request, aim in (("one user", 3.5), ("list of 50", 4)):
        by_peer = found["api"][request]
        pairs = zip(by_peer["usher"], by_peer["fastapi"], strict=True)
        ratios = [ours[0] / theirs[0] for ours, theirs in pairs]
        asked = [median(ratios), min(ratios), max(ratios)]
        at_least(f"API: {request}, requests/s x FastAPI", aim, asked)
    at_least("events/s with many users x with few", 0.8, found["growth"]["ratio"])
    for what in ("events", "records"):
        refused = found["trial"][f"{what}: a third refused"]
        at_most(f"policy try, {refused['count']:,} {what}: seconds", 40, [refused["seconds"]])
    for what, aim, figures in netlify_figures.promises(found["netlify"]):
        at_most(what, aim, figures)
    most = found["growth"]["rows"][-1]
    at_most("memory, last run x first", 1.1, [most["memory_last_mib"] / most["memory_first_mib"]])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of an hour")
    parser.add_argument("--folder", type=Path, help="keep the large databases here (8 GB)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*steps(True, RESULTS)],
        help="this step; the others from their last run",
    )
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    folder = options.folder or RESULTS / ("quick" if options.quick else "databases")
    machine = describe(RESULTS)
    every = steps(options.quick, folder)
    for name, arguments in every.items():
        if options.only and name not in options.only:
            continue
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", *arguments, "--json", str(RESULTS / f"{name}.json")]
        subprocess.run(command, cwd=ROOT, check=True)
    files = {name: RESULTS / f"{name}.json" for name in every}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    rows = found["sqlite"]["rows"] + found["postgresql"]["rows"]
    lines = promises(found)
    print(f"\nmachine: {machine}\n\n| | aim | measured | |\n| --- | --- | --- | --- |")
    for what, aim, value, holds in lines:
        print(f"| {what} | {aim} | {value} | {'holds' if holds else '**falls short**'} |")
    whole = {"machine": machine, "promises": lines, "steps": found}
    (RESULTS / "bench.json").write_text(json.dumps(whole, indent=1) + "\n")
    chart = RESULTS / "bench.svg" if options.quick else CHART
    draw(rows, machine, chart)
    print(f"\nwritten: {RESULTS / 'bench.json'} and {chart}")


if __name__ == "__main__":
    main()
