"""``/policy/try``: a candidate policy on the newest events or on today's records, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from pydantic import Field

from usher.core.app import App
from usher.core.domain.recount import UNCOUNTED, DatedEvent, PastCounts, recount
from usher.core.domain.rules import FilePolicy
from usher.core.domain.trial import COMPARED, Trial, try_on_past, try_on_records
from usher.core.errors import InvalidInputError, PolicyError, TooManyRequestsError
from usher.core.policy_file import parse_policy
from usher.core.policy_source import is_callable, load_file
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Input, Operation, json_response
from usher.functions.api_methods import schemas

if TYPE_CHECKING:
    from usher.core.store.past import Past

MOST: Final = 10_000
"""Events or records that one trial reads."""
MOST_SECONDS: Final = 3.0
PAUSE_EACH: Final = 8
"""Users. In a pause the process answers events and other requests."""
PAUSE_SECONDS: Final = 0.0005
_RUNNING: Final = Lock()
Item = TypeVar("Item")


class TryRequest(Input):
    """The policy to try, and on what."""

    policy: str | None = Field(
        None,
        min_length=1,
        description="The text of a policy.toml; absent: the file of `USHER_POLICY_SHADOW`.",
        examples=['[admission]\ndefault = "deny"\nallow_email_domains = ["example.com"]\n'],
    )
    on: Literal["events", "records"] = Field(
        "events", description="The newest events, or the records as they are now."
    )


def try_policy(call: Call) -> Response:
    """Compare a candidate with the policy in force, as ``usher policy try`` does; one at a time.

    Raises:
        InvalidInputError: the text is no policy, or names a list in a file of this machine; or
            none was sent, and the shadow policy is none that can be tried here.
        TooManyRequestsError: another trial runs in this process.
    """
    body: TryRequest = call.body
    try:
        if body.policy is None:
            candidate = _watched(call.app.settings.policy_shadow)
        else:
            candidate = parse_policy(body.policy, folder=None)
    except PolicyError as error:
        raise InvalidInputError((("/policy", str(error)),)) from None
    if not _RUNNING.acquire(blocking=False):
        raise TooManyRequestsError(MOST_SECONDS)
    try:
        tried = _on_records if body.on == "records" else _on_events
        trial, of = tried(call, candidate)
    finally:
        _RUNNING.release()
    return json_response(
        {
            "fingerprint": candidate.fingerprint,
            "on": body.on,
            "count": trial.count,
            "of": max(of, trial.count),
            "users": trial.users,
            "differences": trial.differences.documents(),
        }
    )


def _watched(source: str) -> FilePolicy:
    """The shadow policy. Code is not loaded here: it might hang, or grow.

    Raises:
        InvalidInputError: there is none, or it is code.
        PolicyError: it is not there, or has a mistake.
    """
    if not source:
        raise InvalidInputError((("/policy", "is needed where USHER_POLICY_SHADOW is not set"),))
    if is_callable(source):
        said = f"is needed, for {source} is code, which only usher policy try asks"
        raise InvalidInputError((("/policy", said),))
    return load_file(source)


def _on_events(call: Call, candidate: FilePolicy) -> tuple[Trial, int]:
    past, policies = _past(call.app), (call.app.policy, candidate)
    histories: Iterable[Sequence[DatedEvent]] = past.newest(MOST)
    counted: Sequence[PastCounts] = (UNCOUNTED, UNCOUNTED)
    if any(policy.counting for policy in policies):
        histories = list(histories)
        arrivals = sorted(chain.from_iterable(histories), key=itemgetter(1))
        counted = recount(_in_turns(arrivals), past.codes(), policies)
    return try_on_past(_bounded(histories), *policies, counted), past.size()


def _on_records(call: Call, candidate: FilePolicy) -> tuple[Trial, int]:
    # In the order of random ids: where there are more, these are a fair sample.
    records = _bounded(islice(_past(call.app).records(), MOST))
    trial = try_on_records(records, call.app.policy, candidate, call.now)
    counts = call.app.store.users.counts("status")
    return trial, sum(counts.get(status, 0) for status in COMPARED)


def _past(app: App) -> Past:
    from usher.core.store.past import Past  # noqa: PLC0415 - loads SQLAlchemy

    return Past(app.store.database, app.store.instance())


def _bounded(items: Iterable[Item]) -> Iterator[Item]:
    """The items, until the time is over."""
    until = monotonic() + MOST_SECONDS
    for item in _in_turns(items):
        if monotonic() > until:
            return
        yield item


def _in_turns(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with pauses in which others run."""
    for number, item in enumerate(items):
        if number % PAUSE_EACH == 0:
            sleep(PAUSE_SECONDS)
        yield item


OPERATIONS: Final = (
    Operation(
        "POST",
        "/policy/try",
        "What another policy would change",
        Access.ADMINISTRATOR,
        try_policy,
        schemas.PolicyTrial,
        body=TryRequest,
        errors=(429,),
    ),
)
