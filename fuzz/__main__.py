"""``make fuzz``: run the fuzzer on each target, one after the other."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Final

from fuzz.mutate import mutate_json

FOLDER: Final = Path(__file__).parent
FOUND: Final = FOLDER / "found"
MAX_BYTES: Final = 8192
NAMES: Final = ("verifier", "body", "policy", "captures")


def command(name: str) -> list[str]:
    """What fuzzes one target; libFuzzer calls it again, through a shell, to merge."""
    return [sys.executable, "-m", "fuzz", "--target", name]


def run_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["usher.core"]):
        from fuzz.targets import TARGETS

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        kind, text = (data[:1], data[1:]) if name == "verifier" else (b"", data)
        lines = text.splitlines(keepends=True)
        if name != "policy" and lines and random.random() < 0.7:
            place = random.randrange(len(lines))
            changed = mutate_json(lines[place], random)
            if changed is not None:
                end = b"\n" if lines[place].endswith(b"\n") else b""
                made = kind + b"".join([*lines[:place], changed + end, *lines[place + 1 :]])
                return made[:max_size]
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated

    atheris.Setup([shlex.join(command(name)), *arguments], TARGETS[name], custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Each target for so many seconds; the exit code is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("--merge", action="store_true", help="add to the corpus what covers more")
    parser.add_argument("--target", choices=NAMES, help=argparse.SUPPRESS)
    asked, more = parser.parse_known_args()
    if asked.target:
        run_one(asked.target, more)
    failed = []
    for name in asked.only or NAMES:
        new, kept = FOUND / name, FOLDER / "corpus" / name
        new.mkdir(parents=True, exist_ok=True)
        folders, options = [str(new), str(kept)], [f"-max_total_time={asked.seconds}"]
        if asked.merge:
            # New branches only: how often each is taken would fill the corpus.
            folders, options = [str(kept), str(new)], ["-merge=1", "-use_counters=0"]
        options += [f"-max_len={MAX_BYTES}", "-timeout=5", "-print_final_stats=1"]
        options += [f"-artifact_prefix={FOUND}/{name}-", *more]
        if name == "policy":
            options.append(f"-dict={FOLDER / 'policy.dict'}")
        print(f"== {name}", flush=True)
        if subprocess.run([*command(name), *folders, *options], check=False).returncode:
            failed.append(name)
    print(f"found something: {', '.join(failed)} (see {FOUND})" if failed else "nothing found")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
