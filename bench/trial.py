"""What `usher policy try` costs on a large site: ``python -m bench.trial``.

A ledger and as many records as it has people are made, then the command runs as one would run it:
on the events, and on the records, by a policy that shuts out a third of the people, and by one that
gives everybody another role, so that nothing is decided once for both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import tempfile
from pathlib import Path

from bench.machine import describe
from bench.past import EACH, POLICY, history, usher
from bench.receivers import databases
from bench.seed import seed
from usher import migrations
from usher.core.domain.policy import Reason
from usher.core.domain.records import Delivery, Outcome
from usher.core.domain.reply import NO_CONTENT
from usher.core.store.database import Database
from usher.core.store.instances import Instances
from usher.core.store.ledger import Ledger
from usher.emulator.payload import ZERO_INSTANCE

OTHERS = {
    "a third refused": POLICY.replace("mailinator.com", "b.example"),
    "another role for all": POLICY.replace('"member"', '"guest"'),
}


def fill_ledger(url: str, events: int) -> None:
    """A ledger of so many deliveries, without users."""
    database = Database(url)
    migrations.upgrade(database)
    ledger = Ledger(database, Instances())
    batch: list[Delivery] = []
    for event, user_id, issued, at, body in history(events):
        digest = hashlib.sha256(body).hexdigest()
        batch.append(
            Delivery(
                id=f"{issued:08x}{digest}",
                instance_id=ZERO_INSTANCE,
                event=event,
                user_id=user_id,
                issued_at=issued,
                received_at=at,
                path="/.netlify/functions/identity",
                body=body,
                body_digest=digest,
                key_index=0,
                outcome=Outcome.APPLIED,
                reasons=(Reason("role.1", "grants 'member' to everybody"),),
                policy="none",
                reply=NO_CONTENT,
            )
        )
        if len(batch) == 5_000:
            ledger.add(batch)
            batch.clear()
    ledger.add(batch)
    database.dispose()


def cpu_seconds() -> float:
    """Of all commands that have ended, with their processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    asked = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, databases(asked.database, Path(name)) as new:
        folder = Path(name)
        print(describe(folder))
        (folder / "policy.toml").write_text(POLICY)
        url = new("trial")
        seed(url, asked.events // len(EACH))
        fill_ledger(url, asked.events)
        print("| tried on | policy | wall s | CPU s | peak MiB |\n| --- | --- | --- | --- | --- |")
        for what, options in (("events", []), ("records", ["--records"])):
            for title, policy in OTHERS.items():
                other = folder / "other.toml"
                other.write_text(policy)
                before = cpu_seconds()
                command = ["policy", "try", str(other), *options]
                seconds, peak, said = usher(folder, url, *command)
                cpu = cpu_seconds() - before
                done = f"{said[what]:,} {what}"
                print(f"| {done} | {title} | {seconds:.1f} | {cpu:.1f} | {peak} |")
                figures[f"{what}: {title}"] = {
                    "seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "count": said[what]
                }  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
