"""What befalls a PostgreSQL, done to one under `usher serve`: nothing answered may be missing.

Usage, from the repository's root: python -m bench.drill [--people N] [--events N]

Three times, each with a new cluster and a role that has the grants of docs/storage.md and no more:
10,000 events through PgBouncer with three connections; a grant revoked and given back; a primary
killed, and its synchronous replica promoted. `/readyz` and `usher doctor` are asked at each moment.
The figures go to stdout; what does not hold ends it with the line that found it.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import cluster
from tests.server import drill
from tests.support import SECRET, Server

POLICY = '[admission]\ndefault = "allow"\n\n[[role]]\ngrant = "member"\n'


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.drill", description=__doc__)
    parser.add_argument("--people", type=int, default=5_000, help="two events of each (5000)")
    parser.add_argument("--events", type=int, default=2_000, help="before, during, after (2000)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the drill."""
    given = arguments(argv)
    with tempfile.TemporaryDirectory(prefix="usher-drill-") as name:
        folder = Path(name)
        (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
        cluster.make(folder / "pgdata")
        stages = (
            (drill.behind_a_pooler, given.people),
            (drill.a_grant_revoked, given.events),
            (drill.a_replica_promoted, given.events),
        )
        for stage, count in stages:
            place = folder / stage.__name__
            place.mkdir()
            variables = {
                "USHER_WEBHOOK_SECRETS": SECRET.decode(),
                "USHER_POLICY": str(folder / "policy.toml"),
            }

            def start(
                url: str, place: Path = place, settings: dict[str, str] = variables
            ) -> Server:
                return Server(place, {**settings, "USHER_DATABASE_URL": url})

            started = time.monotonic()
            stage(
                start, place, folder / "pgdata", count, lambda line: print(f"  {line}", flush=True)
            )
            title = stage.__name__.replace("_", " ")
            print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
