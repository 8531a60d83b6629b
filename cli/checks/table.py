"""The table of all findings there are, by key; docs/doctor.md shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from usher.cli.checks import (
    approvals,
    configuration,
    database,
    drift,
    events,
    failures,
    functions,
    handlers,
    identity,
    instance,
    outbox,
    policy,
    postgresql,
    pushes,
    shadow,
    site,
    spool,
)
from usher.cli.checks.deployed import api as deployed_api
from usher.cli.checks.deployed import hook, reachable, strangers
from usher.cli.checks.deployed import identity as deployed_identity
from usher.cli.checks.findings import Kind

_CHECKS: Final = (
    configuration, database, postgresql, policy, spool, instance, events, failures, approvals,
    pushes, drift, identity, site, functions, shadow, handlers,
    outbox, reachable, hook, deployed_api, deployed_identity, strangers,
)  # fmt: skip
FINDINGS: Final[Mapping[str, Kind]] = {
    kind.key: kind for module in _CHECKS for kind in vars(module).values() if isinstance(kind, Kind)
}
