"""``usher policy``: check, explain and try the rules."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import click
from msgspec.structs import replace

from usher.cli.decisions import find_event, print_traceback, show_decision, told_in_full
from usher.cli.environment import environment, opened
from usher.cli.moments import PAST
from usher.cli.observed import observed
from usher.cli.output import (
    collecting_less,
    json_option,
    moment,
    print_differences,
    print_json,
    say,
    working,
)
from usher.cli.policy_reload import promote, reload
from usher.cli.shadow import shadow
from usher.cli.trying import Question, try_policy
from usher.core.app import utc_now
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.codes import STAND_INS
from usher.core.domain.decide import applicant
from usher.core.domain.documents import (
    decision_document,
    policy_test_document,
    verdict_document,
)
from usher.core.domain.events import Event, EventName, read_user
from usher.core.domain.policy import NO_POLICY, Applicant, Reason, Verdict, somebody
from usher.core.domain.policy_tests import (
    ADMITTED,
    REFUSED,
    WAITING,
    answer_of,
    in_words,
    reasons_of,
    run_tests,
)
from usher.core.domain.records import Outcome
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError, SettingsError
from usher.core.policy_source import load_policy
from usher.core.settings import PREFIX, Settings
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History
from usher.core.webhooks import failed_decision

_ASKED = (EventName.VALIDATE, EventName.SIGNUP, EventName.LOGIN, EventName.USERMODIFIED)
"""The events at which a policy is asked."""

_NOBODY = UUID(int=0)


@click.group()
def policy() -> None:
    """The rules of admission and roles."""


for command in (observed, shadow):
    policy.add_command(command)


@policy.command()
@click.argument("source", required=False)
@json_option
def check(source: str | None, as_json: bool) -> None:
    """Check the policy (or SOURCE), print its rules in words, and run its tests.

    A callable policy is also asked about somebody@example.com, at each event. Exits with 1 when a
    test fails.
    """
    with told_in_full():
        loaded = load_policy(source or _configured())
        if isinstance(loaded, CallablePolicy):
            _ask_about_somebody(loaded)
    results = run_tests(loaded, utc_now())
    failed = [result for result in results if not result.passed]
    if as_json:
        print_json(
            {
                "fingerprint": loaded.fingerprint,
                "rules": loaded.describe(),
                "tests": [policy_test_document(result) for result in results],
            }
        )
        sys.exit(1 if failed else 0)
    if loaded.fingerprint == NO_POLICY:
        say("There is no policy.toml here, so the empty policy holds.")
    for line in loaded.describe():
        say(line)
    for result in failed:
        say(result.sentence, fg="red")
        _show_reasons(result.reasons)
    if failed:
        say(f"{len(failed)} of {len(results)} tests fail.")
        sys.exit(1)
    if results:
        say(f"All {len(results)} tests pass.")
    click.secho(f"The policy is fine (fingerprint {loaded.fingerprint}).", fg="green")


def _ask_about_somebody(code: CallablePolicy) -> None:
    """Ask a policy in code at each event, so that a fault shows.

    Raises:
        PolicyError
    """
    email, now = "somebody@example.com", utc_now()
    for name in _ASKED:
        proven = name is not EventName.VALIDATE
        verdict = code.evaluate(somebody(email, at=now, event=name, proven=proven))
        user = read_user(
            {
                "id": str(_NOBODY),
                "email": email,
                "app_metadata": {"provider": "email"},
                "user_metadata": {"full_name": "Somebody"},
            }
        )
        event = Event(name, _NOBODY, user, "check", int(now.timestamp()))
        code.screen(event, verdict)


@policy.command()
@click.argument("who")
@click.option("--provider", default="email", show_default=True)
@click.option("--unproven", is_flag=True, help="Treat the address as unproven.")
@click.option(
    "--event", default="signup", show_default=True, type=click.Choice(["validate", "signup"])
)
@click.option("--invited", is_flag=True, help="Treat the account as invited.")
@click.option("--at", type=PAST, help="Time of the event; now unless told otherwise.")
@click.option("--code", type=click.Choice([*STAND_INS]), help="Give such an invitation code.")
@json_option
def explain(
    who: str,
    provider: str,
    unproven: bool,
    event: str,
    invited: bool,
    at: datetime | None,
    code: str | None,
    as_json: bool,
) -> None:
    """Show the policy's verdict and reasons for WHO: an e-mail address, or a user's or event's id.

    For an event, this compares the recorded decision with the one that would be made now; the
    first characters of its id are enough. Exits with 1 when WHO would not be admitted, or the
    answers differ, or the policy fails.
    """
    if "@" not in who and not _is_uuid(who):
        sys.exit(_explain_event(who, as_json))
    given = STAND_INS[code] if code else None
    if "@" in who:
        with told_in_full():
            loaded = load_policy(_configured())
        question = somebody(
            who,
            at=at or utc_now(),
            event=EventName(event),
            proven=not unproven,
            provider=provider,
            invited=invited,
            code=given,
        )
    else:
        with opened(verifies=False) as app:
            question = applicant(EventName(event), app.store.users.find(who), app.clock())
            question = replace(question, code=given)
            loaded = app.policy
        if at is not None:
            question = replace(question, at=int(at.timestamp()))
    with told_in_full():
        verdict = loaded.evaluate(question)
    _show(question, verdict, loaded, as_json)
    sys.exit(0 if verdict.admitted else 1)


@policy.command("try")
@click.argument("source")
@click.option("--since", type=PAST, help="Only events received since: a time, or a span (30d).")
@click.option("--records", is_flag=True, help="On today's records instead of past events.")
@json_option
def try_(source: str, since: datetime | None, records: bool, as_json: bool) -> None:
    """Try the policy SOURCE on the ledger's events, and compare it with today's.

    Shows who would have been admitted or denied, and who would have which role, by which rule.
    With --records: who of today's people would not be admitted now, and who would gain or lose
    which role at their next login. Nothing is changed. Exits with 1 when anything would come out
    differently.
    """
    if records and since:
        raise click.UsageError("--since chooses events; with --records there are none.")
    load_policy(source)  # a faulty policy is reported before any work
    with opened(verifies=False) as app:
        if records:
            count = sum(app.store.users.counts("status").values())
        else:
            history = History(app.store.database, app.store.instance())
            count = history.count(DeliveryFilters(since=since))
        question = Question(source, since, records, app.clock())
        with working("Deciding", count) as bar, collecting_less():
            trial = try_policy(app, question, count, bar.add)
    groups = trial.differences.documents()
    counted = {"records": trial.count} if records else {"events": trial.count, "users": trial.users}
    if as_json:
        print_json({**counted, "differences": groups})
    elif records:
        print_differences(groups, "Nothing would come out differently.")
        say(f"{trial.count} records compared by both policies.")
    else:
        print_differences(groups, "Nothing would have come out differently.")
        say(f"{trial.count} events of {trial.users} users decided by both policies.")
    sys.exit(1 if groups else 0)


policy.add_command(reload)
policy.add_command(promote)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _explain_event(prefix: str, as_json: bool) -> int:
    """Print the recorded decision on an event, and today's. Return the exit code."""
    with opened(verifies=False) as app:
        delivery = find_event(app, prefix)
        user = app.store.users.look_up(delivery.user_id) if delivery.user_id else None
        try:
            now = app.webhooks.rehearse(delivery, user, app.clock())
        except PolicyError as error:
            print_traceback(error)
            now = failed_decision(error)
    fails = now is not None and now.outcome is Outcome.FAILED
    differs = now is not None and now.reply != delivery.reply
    if as_json:
        print_json(
            {
                "id": delivery.id,
                "event": delivery.event,
                "user_id": str(delivery.user_id) if delivery.user_id else None,
                "recorded": decision_document(delivery.recorded),
                "now": decision_document(now) if now else None,
                "differs": differs,
            }
        )
        return int(differs or fails)
    say(f"{delivery.event or 'no event'} of {delivery.user_id}, {moment(delivery.received_at)} UTC")
    show_decision("It was", delivery.recorded)
    if now is None:
        say("Its body was erased, or is not an event that can be read; it cannot be decided again.")
    else:
        show_decision("It would now be", now)
        say("The answers differ." if differs else "The answers are the same.")
    return int(differs or fails)


def _show(
    question: Applicant, verdict: Verdict, loaded: FilePolicy | CallablePolicy, as_json: bool
) -> None:
    if as_json:
        print_json(verdict_document(verdict) | {"fingerprint": loaded.fingerprint})
        return
    proof = "proven" if question.proven else "unproven"
    answer = answer_of(verdict)
    color = {ADMITTED: "green", WAITING: "yellow", REFUSED: "red"}[answer]
    say(f"{question.email} ({proof}) is {in_words(verdict)}", fg=color)
    _show_reasons(reasons_of(verdict))


def _show_reasons(reasons: Iterable[Reason]) -> None:
    for reason in reasons:
        say(f"  {reason.rule:<32} {reason.text}")


def _configured() -> str:
    """Return the configured policy's source, even where other settings are unusable."""
    variables = environment()
    try:
        return Settings.from_env(variables, verifies=False).policy
    except SettingsError:
        return variables.get(PREFIX + "POLICY") or "policy.toml"
