"""``usher policy``: what the rules say, and what they would do."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from itertools import groupby
from uuid import uuid4

import click

from cli.environment import environment, opened
from cli.output import (
    MOMENT,
    as_utc,
    collecting_less,
    difference_documents,
    json_option,
    print_differences,
    print_json,
    progress,
    say,
)
from core.differences import Differences
from core.errors import SettingsError
from core.events import EventName, email_key, split_address
from core.history import History
from core.ledger import DeliveryFilters
from core.lifecycle import applicant
from core.policy import NO_POLICY, Applicant, CallablePolicy, FilePolicy, Verdict
from core.policy_source import load_policy
from core.settings import PREFIX, Settings
from core.trial import try_on_user
from core.webhooks import event_of
from emulator.payload import ZERO_INSTANCE


@click.group()
def policy() -> None:
    """Who may enter, and with which roles."""


@policy.command()
@click.argument("source", required=False)
@json_option
def check(source: str | None, as_json: bool) -> None:
    """Read the policy (or the one named) and say in words what it does."""
    loaded = load_policy(source or _configured())
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
@click.option("--unproven", is_flag=True, help="As if nobody had proven the address.")
@click.option(
    "--event", default="signup", show_default=True, type=click.Choice(["validate", "signup"])
)
@json_option
def explain(who: str, provider: str, unproven: bool, event: str, as_json: bool) -> None:
    """What the policy says of WHO, an e-mail address or the id of a user on record, and why.

    Exits with 1 when WHO would not be admitted.
    """
    if "@" in who:
        loaded = load_policy(_configured())
        address, domain = split_address(email_key(who))
        question = Applicant(
            event=EventName(event),
            instance_id=ZERO_INSTANCE,
            id=uuid4(),
            email=who,
            address=address,
            domain=domain,
            proven=not unproven,
            provider=provider,
            app_metadata={"provider": provider},
        )
    else:
        with opened() as app:
            question = applicant(EventName(event), app.store.users.find(who))
            loaded = app.policy
    verdict = loaded.evaluate(question)
    _show(question, verdict, loaded, as_json)
    sys.exit(0 if verdict.admitted else 1)


@policy.command("try")
@click.argument("source")
@click.option("--since", type=MOMENT, help="Only what was received then or later.")
@click.option("--days", type=click.IntRange(1, 36_500), help="Only the last so many days.")
@json_option
def try_(source: str, since: datetime | None, days: int | None, as_json: bool) -> None:
    """Decide the ledger's events by the policy SOURCE beside today's; nothing is changed.

    Tells who would have been admitted or denied, and who would have which role, by which rule.
    Exits with 1 when anything would have come out differently.
    """
    if since and days:
        raise click.UsageError("Give --since or --days, not both.")
    new = load_policy(source)
    differences = Differences()
    people = decided = 0
    with opened() as app, progress() as bar, collecting_less():
        task = bar.add_task("Deciding", total=None)
        begin = app.clock() - timedelta(days=days) if days else as_utc(since)
        history = History(app.store.database, app.settings.instance_id)
        kept = history.by_user(DeliveryFilters(since=begin))
        for _, group in groupby(kept, key=lambda each: (each.instance_id, each.user_id)):
            seen = ((event_of(delivery), delivery.received_at) for delivery in group)
            readable = [(event, at) for event, at in seen if event is not None]
            count = try_on_user(readable, app.policy, new, differences)
            people, decided = people + bool(count), decided + count
            bar.advance(task, count)
    groups = difference_documents(differences)
    if as_json:
        print_json({"events": decided, "users": people, "differences": groups})
    else:
        print_differences(groups, "Nothing would have come out differently.")
        say(f"{decided} events of {people} users decided by both policies.")
    sys.exit(1 if groups else 0)


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
    """The configured policy; the rest of the settings need not be there to read it."""
    variables = environment()
    try:
        return Settings.from_env(variables).policy
    except SettingsError:
        return variables.get(PREFIX + "POLICY") or "policy.toml"
