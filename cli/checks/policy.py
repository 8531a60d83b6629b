"""The check of the policy."""

from __future__ import annotations

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, counted, fine
from usher.core.app import App
from usher.core.domain.policy_tests import run_tests
from usher.core.errors import PolicyError

MISSING = Kind(
    "policy.missing",
    "there is no policy {source}",
    (
        Advice(
            "The path in USHER_POLICY counts from the folder where the command was started.",
            "Set USHER_POLICY to an absolute path.",
            settings=("USHER_POLICY",),
        ),
        Advice("The file was moved or not deployed.", "Put it there."),
    ),
)
INVALID = Kind(
    "policy.invalid",
    "{where}: {problem}",
    (
        Advice(
            "The file was changed, and has a mistake at that place.",
            "Correct it as docs/policy.md says; `usher policy check` tells whether it is right. "
            "Then restart the server, which decides by the policy that it read when it started.",
        ),
    ),
)
CALLABLE = Kind(
    "policy.callable",
    "{where}: {problem}",
    (
        Advice(
            "USHER_POLICY names a module or a function that is not there, or is looked for from "
            "another folder than the one where the command was started.",
            "Set USHER_POLICY to package.module:function, and start in the folder of the package.",
            settings=("USHER_POLICY",),
        ),
        Advice(
            "The module, or one that it imports, fails.",
            "Mend it; `usher policy check` tells whether it loads.",
        ),
    ),
)
TESTS = Kind(
    "policy.tests",
    "its own tests fail: {failed} of {tests}",
    (
        Advice(
            "The rules do not do what the policy's own tests expect.",
            "See what came out, and correct the rules or the tests.",
            commands=("usher policy check",),
        ),
        Advice(
            "A test without `at` asks about now, and the time of a rule has come or is over.",
            "Give the test the moment that it is about: at = 2026-12-24.",
        ),
    ),
    severity=Severity.WARNING,
)


def policy_finding(app: App) -> Finding:
    """Return whether the policy can be loaded. A server has done so when it started."""
    source = app.settings.policy
    try:
        policy, now = app.policy, app.clock()
    except PolicyError as error:
        if ":" in source and not source.endswith(".toml"):
            return CALLABLE.found(where=error.where, problem=error.problem)
        if isinstance(error.__context__, FileNotFoundError):
            return MISSING.found(source=source)
        return INVALID.found(where=error.where, problem=error.problem)
    results = run_tests(policy, now)
    if failed := [result.test.number for result in results if not result.passed]:
        return TESTS.found(failed=len(failed), tests=len(results), numbers=failed)
    files = {file.name: (now - file.changed_at).days for file in policy.files}
    told = "".join(f"; {name} is {counted(days, 'day')} old" for name, days in files.items())
    return fine(
        "policy",
        f"is fine (fingerprint {policy.fingerprint}){told}",
        fingerprint=policy.fingerprint,
        files=files,
    )
