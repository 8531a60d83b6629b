"""``usher policy``: check, explain and try the rules."""

from __future__ import annotations

import sys
from datetime import datetime
from uuid import UUID, uuid4

import click

from usher.cli.decisions import find_event, print_traceback, show_decision, told_in_full
from usher.cli.environment import environment, opened
from usher.cli.moments import PAST
from usher.cli.observed import observed
from usher.cli.output import (
    collecting_less,
    difference_documents,
    json_option,
    moment,
    print_differences,
    print_json,
    say,
    working,
)
from usher.cli.trying import try_policy
from usher.core.domain.decide import applicant
from usher.core.domain.documents import decision_document
from usher.core.domain.events import EventName, email_key, split_address
from usher.core.domain.policy import NO_POLICY, Applicant, CallablePolicy, FilePolicy, Verdict
from usher.core.domain.records import Outcome
from usher.core.errors import PolicyError, SettingsError
from usher.core.policy_source import load_policy
from usher.core.settings import PREFIX, Settings
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History
from usher.core.webhooks import failed_decision
from usher.emulator.payload import ZERO_INSTANCE

_ASKED = (EventName.VALIDATE, EventName.SIGNUP, EventName.LOGIN, EventName.USERMODIFIED)
"""The events at which a policy is asked."""


@click.group()
def policy() -> None:
    """The rules of admission and roles."""


policy.add_command(observed)


@policy.command()
@click.argument("source", required=False)
@json_option
def check(source: str | None, as_json: bool) -> None:
    """Check the policy (or SOURCE) and print its rules in words.

    A callable policy is also asked about somebody@example.com, at each event.
    """
    with told_in_full():
        loaded = load_policy(source or _configured())
        if isinstance(loaded, CallablePolicy):
            for event in _ASKED:
                proven = event is not EventName.VALIDATE
                loaded.evaluate(_newcomer("somebody@example.com", "email", proven, event))
    if as_json:
        print_json({"fingerprint": loaded.fingerprint, "rules": loaded.describe()})
        return
    if loaded.fingerprint == NO_POLICY:
        say("There is no policy.toml here, so the empty policy holds.")
    for line in loaded.describe():
        say(line)
    click.secho(f"The policy is fine (fingerprint {loaded.fingerprint}).", fg="green")


@policy.command()
@click.argument("who")
@click.option("--provider", default="email", show_default=True)
@click.option("--unproven", is_flag=True, help="Treat the address as unproven.")
@click.option(
    "--event", default="signup", show_default=True, type=click.Choice(["validate", "signup"])
)
@json_option
def explain(who: str, provider: str, unproven: bool, event: str, as_json: bool) -> None:
    """Show the policy's verdict and reasons for WHO: an e-mail address, or a user's or event's id.

    For an event, this compares the recorded decision with the one that would be made now; the
    first characters of its id are enough. Exits with 1 when WHO would not be admitted, or the
    answers differ, or the policy fails.
    """
    if "@" not in who and not _is_uuid(who):
        sys.exit(_explain_event(who, as_json))
    if "@" in who:
        with told_in_full():
            loaded = load_policy(_configured())
        question = _newcomer(who, provider, not unproven, EventName(event))
    else:
        with opened() as app:
            question = applicant(EventName(event), app.store.users.find(who))
            loaded = app.policy
    with told_in_full():
        verdict = loaded.evaluate(question)
    _show(question, verdict, loaded, as_json)
    sys.exit(0 if verdict.admitted else 1)


@policy.command("try")
@click.argument("source")
@click.option("--since", type=PAST, help="Only events received since: a time, or a span (30d).")
@json_option
def try_(source: str, since: datetime | None, as_json: bool) -> None:
    """Try the policy SOURCE on the ledger's events, and compare it with today's.

    Shows who would have been admitted or denied, and who would have which role, by which rule.
    Nothing is changed. Exits with 1 when anything would have come out differently.
    """
    load_policy(source)  # a faulty policy is reported before any work
    with opened() as app:
        count = History(app.store.database, app.store.instance()).count(
            DeliveryFilters(since=since)
        )
        with working("Deciding", count) as bar, collecting_less():
            trial = try_policy(app, source, since, count, bar.add)
    groups = difference_documents(trial.differences)
    if as_json:
        print_json({"events": trial.events, "users": trial.users, "differences": groups})
    else:
        print_differences(groups, "Nothing would have come out differently.")
        say(f"{trial.events} events of {trial.users} users decided by both policies.")
    sys.exit(1 if groups else 0)


def _newcomer(email: str, provider: str, proven: bool, event: EventName) -> Applicant:
    """The question about somebody who is not on record."""
    address, domain = split_address(email_key(email))
    return Applicant(
        event=event,
        instance_id=ZERO_INSTANCE,
        id=uuid4(),
        email=email,
        address=address,
        domain=domain,
        proven=proven,
        provider=provider,
        app_metadata={"provider": provider},
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _explain_event(prefix: str, as_json: bool) -> int:
    """Print the recorded decision on an event, and today's. Return the exit code."""
    with opened() as app:
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
        print_json(
            {
                "admitted": verdict.admitted,
                "message": verdict.message,
                "roles": sorted(verdict.roles),
                "app_metadata": verdict.app_metadata,
                "reasons": [
                    {"rule": r.rule, "text": r.text} for r in verdict.reasons + verdict.role_reasons
                ],
                "fingerprint": loaded.fingerprint,
            }
        )
        return
    proof = "proven" if question.proven else "unproven"
    if verdict.admitted:
        roles = ", ".join(sorted(verdict.roles)) or "no role"
        say(f"{question.email} ({proof}) is admitted with {roles}.", fg="green")
    else:
        say(f"{question.email} ({proof}) is refused: {verdict.message}", fg="red")
    for reason in verdict.reasons + (verdict.role_reasons if verdict.admitted else ()):
        say(f"  {reason.rule:<32} {reason.text}")


def _configured() -> str:
    """Return the configured policy's source, even where other settings are unusable."""
    variables = environment()
    try:
        return Settings.from_env(variables).policy
    except SettingsError:
        return variables.get(PREFIX + "POLICY") or "policy.toml"
