"""The question to a policy and its answer; what every policy keeps to. Pure.

A policy gives one applicant a verdict and lists the rules that led to it. The applicant lacks the
fields that people choose freely (``user_metadata``, ``aud``), so no rule can depend on them. Rules
that name an address or a domain need a proven address (docs/policy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from msgspec import Struct, field

from usher.core.bounds import MAX_GRANTED_BYTES
from usher.core.domain.codes import CodeState
from usher.core.domain.counting import Counting
from usher.core.domain.events import Event, EventName, email_key, split_address
from usher.core.errors import PolicyError
from usher.core.strict_json import cannot_travel, dumps, written_bytes

DEFAULT_MESSAGE: Final = "This site does not admit this account."
NO_POLICY: Final = "no-policy"
"""The fingerprint of the empty policy, where there is no file."""
NO_ENDS: Final[Mapping[str, datetime]] = {}
"""The ends of a verdict whose roles have none."""
_NIL: Final = UUID(int=0)
RESERVED_APP_METADATA: Final = frozenset({"roles", "provider", "providers", "authorization"})
"""Keys of ``app_metadata`` by which Identity, GoTrue or Netlify's role redirects admit somebody.

Netlify reads roles from ``authorization`` too (its page on role-based access control).
"""


class Applicant(Struct, frozen=True, gc=False):
    """All that a policy may look at.

    Attributes:
        email: as Identity stores it; ``address`` and ``domain`` are its normalised parts, empty
            where the text cannot be read as one address.
        proven: whether somebody reached this address or a provider vouched for it.
        provider: ``email``, ``google``, …, ``""`` when Identity named none.
        app_metadata: as Identity holds it; only Identity's administrators write it.
        at: the signed time of the newest event, in seconds since the epoch; time windows are
            compared with it, so that the order of arrival does not matter.
        invited: whether Identity ever said that an administrator invited this account.
        code: the state of the invitation code that the person gave; None: they gave none.
        full: whether a quota has no place left for this account.
    """

    event: EventName
    instance_id: UUID
    id: UUID
    email: str
    address: str
    domain: str
    proven: bool
    provider: str
    app_metadata: Mapping[str, Any]
    at: int = 0
    invited: bool = False
    code: CodeState | None = None
    full: bool = False


def somebody(
    email: str,
    *,
    at: datetime,
    event: EventName = EventName.SIGNUP,
    proven: bool = True,
    provider: str = "email",
    invited: bool = False,
    instance_id: UUID = _NIL,
    code: CodeState | None = None,
) -> Applicant:
    """The question about a person who is not on record.

    Args:
        email: as Identity would store it.
        at: the time of the event.
        provider: in any case; Identity writes it in lower case.
    """
    provider = provider.lower()
    address, domain = split_address(email_key(email))
    return Applicant(
        event,
        instance_id,
        _NIL,
        email,
        address,
        domain,
        proven,
        provider,
        {"provider": provider},
        int(at.timestamp()),
        invited,
        code,
    )


class Reason(Struct, frozen=True, gc=False):
    """One rule that took part in a decision, without personal data: reasons outlive erasure.

    Those of a failure alone may quote a person's data, and are erased with it.
    """

    rule: str
    text: str


class Verdict(Struct, frozen=True, gc=False):
    """A policy's answer.

    Attributes:
        admitted: whether the applicant may enter.
        message: the sentence for a person who may not.
        roles: the roles that the policy gives, independent of ``admitted`` and ``asks``.
        app_metadata: keys merged into the reply (never ``roles`` or ``provider``).
        reasons: the rules that admitted or refused.
        role_reasons: the rules that gave or withheld roles.
        asks: without roles until an administrator approves (``waiting``). With a refusal it counts
            where nobody can be refused any more: at a login and later.
        ends: of roles that the policy gives for a time, the end of each, UTC.
        by_code: admitted for the invitation code, and not otherwise.
    """

    admitted: bool = True
    message: str = ""
    roles: frozenset[str] = frozenset()
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    role_reasons: tuple[Reason, ...] = ()
    asks: bool = False
    ends: Mapping[str, datetime] = NO_ENDS
    by_code: bool = False


class Refuse(Struct, frozen=True, gc=False):
    """The word of a screen: this person may not enter.

    Attributes:
        message: the sentence for the person; empty means the default one.
        reason: kept in the ledger. Quote nothing that the person typed: it outlives erasure.
    """

    message: str = ""
    reason: str = ""


class Ask(Struct, frozen=True, gc=False):
    """The word of a screen: an administrator decides; ``reason`` as in ``Refuse``."""

    reason: str = ""


class Rules(Struct, frozen=True):
    """A policy in code that also looks at what people type.

    Attributes:
        decide: gives the verdict, and all roles, by facts that nobody chooses freely.
        screen: asked about the whole event, name and ``user_metadata`` included, wherever admission
            is. It can only make the answer stricter: neither of its words has a role.
    """

    decide: Callable[[Applicant], Verdict]
    screen: Callable[[Event], Refuse | Ask | None]


class Policy(Protocol):
    """The part of a policy that ``decide`` uses."""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when the policy changes; kept with every decision."""

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Answer for one applicant; the same applicant gets the same answer."""

    def screen(self, event: Event, verdict: Verdict) -> Verdict:
        """The verdict on an event, or a stricter one with the same roles.

        This alone may look at what a person typed.
        """


class CountingPolicy(Policy, Protocol):
    """The part of a policy that the pipeline uses."""

    @property
    def counting(self) -> Counting | None:
        """The codes and quotas that it needs to be told of; None: it counts nothing."""


class Outage(Struct, frozen=True, gc=False):
    """``[outage]``: events refused while the database is away; the others are answered."""

    refused: frozenset[EventName] = frozenset()


class ListFile(Struct, frozen=True, gc=False):
    """A text file of addresses or domains that the policy names.

    Attributes:
        digest: SHA-256 of its bytes, in hex.
        changed_at: its time in the file system, UTC.
    """

    name: str
    digest: str
    changed_at: datetime


def check_app_metadata(values: object, where: str) -> None:
    """Require keys that a reply can carry and the next event can bring back.

    Raises:
        PolicyError: no dict, no strict JSON, or with a reserved key.
    """
    if not isinstance(values, dict):
        raise PolicyError(where, f"must be a table, not {type(values).__name__}")
    if reserved := reserved_keys(values):
        raise PolicyError(where, f"may not set {listed(reserved)}")
    try:
        problem = cannot_travel(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError(where, f"must fit into JSON: {error}") from None
    if problem:
        raise PolicyError(where, f"must fit into JSON and into a token: it would {problem}")


def reserved_keys(keys: Iterable[object]) -> set[str]:
    """Those of the keys that nobody adds to ``app_metadata``, in any letter case.

    Programs in Go, as Netlify's, read the keys of a document in any letter case.
    """
    return {key for key in keys if isinstance(key, str) and key.casefold() in RESERVED_APP_METADATA}


def check_roles(roles: Iterable[str], where: str) -> None:
    """Whether a token has room for all of these roles.

    Raises:
        PolicyError
    """
    size = written_bytes(dumps(sorted(roles)))
    if size > MAX_GRANTED_BYTES:
        raise PolicyError(
            where, f"all roles together have {size} bytes; {MAX_GRANTED_BYTES} is the most"
        )


def listed(values: frozenset[str] | set[str]) -> str:
    """The values in a sentence, sorted."""
    return ", ".join(sorted(values))


def told(moment: datetime) -> str:
    """A time of the policy, UTC, in words: the day alone where it is its beginning."""
    if moment.hour == moment.minute == moment.second == moment.microsecond == 0:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
