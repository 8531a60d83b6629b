"""The check of the policy."""

from __future__ import annotations

from contextlib import suppress

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.cli.output import counted
from usher.core.app import App
from usher.core.domain.policy_tests import run_tests
from usher.core.errors import PolicyError, UsherError
from usher.core.server_folder import State, running

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
            "Then `usher policy reload` puts it in force; until then a running server decides by "
            "the policy that it had before.",
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

REJECTED = Kind(
    "policy.rejected",
    "the running server keeps the policy {fingerprint}, for it was asked to read another one: "
    "{problem}",
    (
        Advice(
            "The file had that mistake, or was not there, or was still being written.",
            "Mend it, or put it back; `usher policy check` tells whether it is right.",
            commands=("usher policy reload",),
        ),
    ),
)
NOT_RELOADED = Kind(
    "policy.not_reloaded",
    "the running server decides by the policy {fingerprint}, and {path} is another one ({there})",
    (
        Advice("The file was changed since.", commands=("usher policy reload",)),
        Advice(
            "The file was changed by mistake.",
            "Put back what it was; where it was promoted, `usher policy promote --undo` does.",
        ),
    ),
    Severity.WARNING,
)


def policy_findings(app: App) -> list[Finding]:
    """Return whether the policy can be loaded, and whether running servers decide by it."""
    finding = _of_the_file(app)
    found = []
    with suppress(OSError, UsherError):  # another user's: the check of the spool says so
        for server in running(app.settings.spool_folder):
            if (state := server.state()) is not None:
                found += _of_a_server(state, finding)
    if finding.severity is Severity.OK and any(each.key == REJECTED.key for each in found):
        return found  # a first start would take the file, but the running server refused it
    return [finding, *found]


def _of_a_server(state: State, finding: Finding) -> list[Finding]:
    if state.rejected:
        return [REJECTED.found(fingerprint=state.fingerprint, problem=state.rejected)]
    there = finding.facts.get("fingerprint")
    if there is None or there == state.fingerprint:
        return []
    return [NOT_RELOADED.found(fingerprint=state.fingerprint, path=state.path, there=there)]


def _of_the_file(app: App) -> Finding:
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
        return TESTS.found(
            failed=len(failed), tests=len(results), numbers=failed, fingerprint=policy.fingerprint
        )
    files = {file.name: (now - file.changed_at).days for file in policy.files}
    told = "".join(f"; {name} is {counted(days, 'day')} old" for name, days in files.items())
    return fine(
        "policy",
        f"is fine (fingerprint {policy.fingerprint}){told}",
        fingerprint=policy.fingerprint,
        files=files,
    )
