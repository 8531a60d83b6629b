"""Identity's JSON as typed, immutable events; unknown keys are ignored. Pure.

Source of the shapes: GoTrue ``api/hooks.go`` and ``models/user.go`` (see docs/identity.md).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, ValidationError, convert
from msgspec.json import Decoder
from msgspec.structs import force_setattr, replace

from usher.core.bounds import (
    MAX_EMAIL_CHARACTERS,
    MAX_EMAIL_KEY_BYTES,
    MAX_MAP_BYTES,
    MAX_MAP_DEPTH,
    MAX_PROVIDER_CHARACTERS,
)
from usher.core.domain.held_roles import ABSENT, HeldRoles, read_roles
from usher.core.errors import BodyError, BodyFieldError, BodyJsonError, InstanceMismatchError
from usher.core.jws import Claims
from usher.core.opaque import APP_METADATA, SetAside, read_envelope
from usher.core.strict_json import StrictJsonError, dumps, may_be_refused, read_exactly
from usher.core.texts import read_uuid, utc_text, uuid_text

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_LOCAL = r"[^\s<>()@\",;:\\\[\]]+"


ISSUED_AT: Final = slice(2, 14)
"""The place of ``issued_at`` in ``Event.order``."""


def _address_with(domain: str) -> re.Pattern[str]:
    """The forms of an address, bare and named, with this pattern of a domain."""
    plain = f"{_LOCAL}@{domain}"
    return re.compile(
        rf"(?:(?P<bare>{plain})\.?|[^<>()@]*<(?P<named>{plain})\.?>)(?:\s*\([^()<>@]*\))?"
    )


@cache
def _any_address() -> re.Pattern[str]:
    """Of an address whose domain nobody has mapped yet; most processes meet none."""
    return _address_with(f"{_LOCAL}?")


_DOMAIN = r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+"
_PLAIN_ADDRESS = re.compile(rf"[a-z0-9._+-]+@({_DOMAIN})")
"""As most are."""


@cache
def _address() -> re.Pattern[str]:
    return _address_with(_DOMAIN)


class EventName(StrEnum):
    """The events that Identity sends."""

    VALIDATE = "validate"
    SIGNUP = "signup"
    LOGIN = "login"
    USERMODIFIED = "usermodified"
    USERDELETED = "userdeleted"


class IdentityUser(Struct, frozen=True, gc=False):
    """The user as Identity described them in one event.

    People choose ``aud`` and ``user_metadata`` themselves, so nothing privileged follows from
    these. Metadata maps are as received; None where Identity sent null. Times are UTC.

    Attributes:
        set_aside: what could not be taken as it came: fields too large, or not to be stored.
    """

    id: UUID
    email: str
    aud: str
    role: str
    app_metadata: Mapping[str, Any] | None
    user_metadata: Mapping[str, Any] | None
    created_at: datetime | None
    updated_at: datetime | None
    confirmed_at: datetime | None
    invited_at: datetime | None
    confirmation_sent_at: datetime | None
    recovery_sent_at: datetime | None
    set_aside: tuple[SetAside, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether ``app_metadata`` is as Identity holds it, so that an answer may replace it."""
        return not any(each.field == APP_METADATA for each in self.set_aside)

    @property
    def shows_keys(self) -> bool:
        """Whether ``app_metadata`` has all keys that Identity holds, values replaced or not."""
        return not any(
            each.field == APP_METADATA and not each.keeps_keys for each in self.set_aside
        )

    @property
    def provider(self) -> str:
        """``app_metadata.provider``: ``email``, ``google``, … or empty when absent."""
        found = (self.app_metadata or {}).get("provider")
        if not isinstance(found, str) or len(found) > MAX_PROVIDER_CHARACTERS:
            return ""
        return found

    @property
    def held_roles(self) -> HeldRoles:
        """``app_metadata.roles``, read as far as it can be."""
        held = self.app_metadata
        return read_roles(held["roles"]) if held and "roles" in held else ABSENT

    @property
    def roles(self) -> frozenset[str]:
        """The role names in ``app_metadata.roles``."""
        return self.held_roles.names


class Event(Struct, frozen=True, gc=False):
    """One event of one user, read from a signed body and its claims.

    Attributes:
        delivery_id: see the function ``delivery_id``.
        issued_at: the signed ``iat``, whole seconds since the epoch.
        order: the event's place in its user's history; the greater text is newer. Within one
            second of ``iat`` the usual order of events decides, then ``updated_at``, then the id.
            So any order of arrival ends the same. A ``validate`` comes before all others: nothing
            can have happened to an account before it exists.
    """

    name: EventName
    instance_id: UUID
    user: IdentityUser
    delivery_id: str
    issued_at: int
    order: str = ""

    @property
    def key(self) -> tuple[UUID, UUID]:
        """The key of its user: (instance id, user id)."""
        return self.instance_id, self.user.id

    def __post_init__(self) -> None:
        """Compute the order once; a decision reads it several times."""
        updated_at = self.user.updated_at
        era, rank = _ERA_AND_RANK[self.name._value_]
        moment = utc_text(updated_at) if updated_at else ""
        order = f"{era}.{self.issued_at:012}.{rank}.{moment:32}.{self.delivery_id}"
        force_setattr(self, "order", order)


class _UsualUser(Struct, gc=False):
    """A user as Go writes one, in its order; times are texts, which Go spells in several ways."""

    id: UUID
    aud: str
    role: str
    email: str
    confirmed_at: str | UnsetType = UNSET
    invited_at: str | UnsetType = UNSET
    confirmation_sent_at: str | UnsetType = UNSET
    recovery_sent_at: str | UnsetType = UNSET
    new_email: str | UnsetType = UNSET
    email_change_sent_at: str | UnsetType = UNSET
    last_sign_in_at: str | UnsetType = UNSET
    app_metadata: dict[str, Any] | None = None
    user_metadata: dict[str, Any] | None = None
    created_at: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET


class _UsualBody(Struct, gc=False):
    """The body of almost every event."""

    event: str
    instance_id: UUID
    user: _UsualUser


_DECODE_USUAL = Decoder(_UsualBody, float_hook=float).decode


class UnknownEvent(Struct, frozen=True, gc=False):
    """A well-formed event of unknown name: kept, answered 204, without effect."""

    name: str
    instance_id: UUID
    delivery_id: str
    issued_at: int


def email_key(email: str) -> str:
    """The key of an address, for look-ups and for the policy.

    The text is in NFC and lower case, the domain in A-labels (``to_a_labels``). A domain that
    cannot be mapped stays as it is, outside ASCII; ``split_address`` does not read it.
    """
    text = email.strip()
    if text.isascii():
        return text.lower()
    from usher.core.domain.domains import to_a_labels  # noqa: PLC0415 - most addresses are ASCII

    text = unicodedata.normalize("NFC", text)
    found = _any_address().fullmatch(text) if len(text) <= MAX_EMAIL_CHARACTERS else None
    if found:
        end = found.end("bare" if found["bare"] else "named")
        start = text.rindex("@", 0, end) + 1
        if domain := to_a_labels(text[start:end]):
            return _lower(text[:start]) + domain + _lower(text[end:])
    return _lower(text)


def _lower(text: str) -> str:
    """The text in lower case, composed again (NFC)."""
    return unicodedata.normalize("NFC", text.lower())


def split_address(key: str) -> tuple[str, str]:
    """The plain address and the domain of an ``email_key``; two empty strings if unreadable.

    Go's address parser accepts ``Name <a@b.c>`` and ``a@b.c (note)``, and GoTrue stores them as
    typed; mail goes to ``a@b.c``. A form with two possible readings counts as unreadable, and so
    does a domain that has no A-labels.
    """
    if plain := _PLAIN_ADDRESS.fullmatch(key):
        return key, plain[1]
    found = _address().fullmatch(key) if key.isprintable() else None
    if not found:
        return "", ""
    address: str = found["bare"] or found["named"]
    return address, address.rpartition("@")[2]


def address_key(email: str) -> str:
    """The key by which somebody is found who has no record: the plain address.

    Text that cannot be read as one address has its whole ``email_key``.
    """
    key = email_key(email)
    return split_address(key)[0] or key


def is_text(value: object) -> bool:
    """Whether a value is text that databases and replies hold: no U+0000, no lone surrogate."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with up to nine fraction digits, as UTC with microseconds (truncated).

    Raises:
        ValueError: any other text, or a time without a UTC value.
    """
    if 20 <= len(text) <= 27 and text[10] == "T" and text[-1] == "Z":
        try:
            found = convert(text, datetime)
        except ValidationError:
            pass  # the reason is told below
        else:
            if found.tzinfo is UTC:  # msgspec reads no further than U+0000
                return found
    if not _RFC3339.fullmatch(text):
        raise ValueError("not an RFC 3339 time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


def reduce_body(
    body: bytes, pause: Callable[[], None] | None = None
) -> tuple[bytes, tuple[SetAside, ...]]:
    """A body without what of it cannot be kept, and what that was.

    Args:
        pause: see ``read_envelope``.

    Raises:
        BodyJsonError
    """
    try:
        document, set_aside = read_envelope(body, "user", pause)
    except StrictJsonError as error:
        raise BodyJsonError(str(error)) from None
    return dumps(document).encode(), set_aside


def parse_event(
    body: bytes, claims: Claims, set_aside: tuple[SetAside, ...] = ()
) -> Event | UnknownEvent:
    """Read the body of a verified delivery.

    Args:
        body: the bytes whose digest was signed, or those with what is in ``set_aside`` taken out.
        claims: of its signature; the body's ``instance_id`` must equal the signed ``sub``.
        set_aside: what ``reduce_body`` said of it.

    Raises:
        BodyError: with a JSON pointer to the field at fault.
    """
    usual = read_exactly(body, _DECODE_USUAL) if len(body) <= MAX_MAP_BYTES else None
    if usual is not None and usual.event in _USUAL_NAMES and not _may_be_refused(usual, body):
        if usual.instance_id != claims.instance_id:
            raise InstanceMismatchError
        identity = delivery_id(usual.instance_id, usual.event, claims.issued_at, claims.body_digest)
        user = _usual_user(usual.user, set_aside)
        return Event(_NAMES[usual.event], usual.instance_id, user, identity, claims.issued_at)
    return _read_event(body, claims, set_aside)


def kept_event(body: bytes | None, claims: Claims) -> Event | None:
    """The event of a body in the ledger; None where it is erased, unknown, or not readable."""
    if body is None:
        return None
    try:
        event = parse_event(body, claims)
    except BodyError:
        return None
    return event if isinstance(event, Event) else None


def _may_be_refused(usual: _UsualBody, body: bytes) -> bool:
    """Whether the maps, which Identity takes from people, may be too deep or hold odd numbers."""
    flat = _is_flat(usual.user.app_metadata) and _is_flat(usual.user.user_metadata)
    return not flat and may_be_refused(body, MAX_MAP_DEPTH + 2)


def _is_flat(metadata: dict[str, Any] | None) -> bool:
    """Whether a map holds texts alone, and lists of texts, as most do: a quick look."""
    for value in metadata.values() if metadata else ():
        if type(value) is list:
            for each in value:
                if type(each) is not str:
                    return False
        elif type(value) is not str:
            return False
    return True


def _read_event(
    body: bytes, claims: Claims, set_aside: tuple[SetAside, ...]
) -> Event | UnknownEvent:
    """The same of any body."""
    try:
        document, more = read_envelope(body, "user")
    except StrictJsonError as error:
        raise BodyJsonError(str(error)) from None
    name = _text(document, "event", "/event", required=True)
    if not name:
        raise BodyFieldError("must not be empty", "/event")
    instance_id = _uuid(document, "instance_id", "/instance_id")
    if instance_id != claims.instance_id:
        raise InstanceMismatchError
    identity = delivery_id(instance_id, name, claims.issued_at, claims.body_digest)
    if name not in _NAMES:
        return UnknownEvent(name, instance_id, identity, claims.issued_at)
    user = document.get("user")
    if not isinstance(user, dict):
        raise BodyFieldError("must be an object", "/user")
    event = _NAMES[name]
    read = _read_deleted if event is EventName.USERDELETED else read_user
    return Event(event, instance_id, read(user, set_aside + more), identity, claims.issued_at)


def read_user(fields: dict[str, Any], set_aside: tuple[SetAside, ...] = ()) -> IdentityUser:
    """Read a user as Identity describes one, in an event or in an answer of its API.

    Args:
        set_aside: what ``read_envelope`` said of them.

    Raises:
        BodyFieldError: with a JSON pointer below ``/user``.
    """
    return _bounded(
        IdentityUser(
            email=_text(fields, "email", "/user/email"),
            app_metadata=_object(fields, "app_metadata"),
            id=_uuid(fields, "id", "/user/id"),
            aud=_text(fields, "aud", "/user/aud"),
            role=_text(fields, "role", "/user/role"),
            user_metadata=_object(fields, "user_metadata"),
            created_at=_time(fields, "created_at"),
            updated_at=_time(fields, "updated_at"),
            confirmed_at=_time(fields, "confirmed_at"),
            invited_at=_time(fields, "invited_at"),
            confirmation_sent_at=_time(fields, "confirmation_sent_at"),
            recovery_sent_at=_time(fields, "recovery_sent_at"),
            set_aside=set_aside,
        )
    )


def _usual_user(user: _UsualUser, set_aside: tuple[SetAside, ...]) -> IdentityUser:
    """The user of a body whose members have the usual types; times may still be none."""
    return _bounded(
        IdentityUser(
            user.id,
            user.email,
            user.aud,
            user.role,
            user.app_metadata,
            user.user_metadata,
            _moment(user.created_at, "created_at"),
            _moment(user.updated_at, "updated_at"),
            _moment(user.confirmed_at, "confirmed_at"),
            _moment(user.invited_at, "invited_at"),
            _moment(user.confirmation_sent_at, "confirmation_sent_at"),
            _moment(user.recovery_sent_at, "recovery_sent_at"),
            set_aside,
        )
    )


def _bounded(user: IdentityUser) -> IdentityUser:
    """The user without an address, and with a note on a provider, that nothing can use."""
    email, set_aside = user.email, user.set_aside
    if email and not can_be_looked_up(email):
        set_aside += (SetAside("email", f"over {MAX_EMAIL_CHARACTERS} characters, set aside"),)
        email = ""
    provider = user.app_metadata.get("provider") if user.app_metadata else None
    if isinstance(provider, str) and len(provider) > MAX_PROVIDER_CHARACTERS:
        why = f"over {MAX_PROVIDER_CHARACTERS} characters, set aside"
        set_aside += (SetAside("provider", why),)
    if set_aside is user.set_aside:
        return user
    return replace(user, email=email, set_aside=set_aside)


def _read_deleted(fields: dict[str, Any], set_aside: tuple[SetAside, ...]) -> IdentityUser:
    """The deleted user: the id alone counts."""
    try:
        return read_user(fields, set_aside)
    except BodyFieldError:
        alone = {"id": fields.get("id")}
        return read_user(alone, (*set_aside, SetAside("user", "fields unreadable, set aside")))


def can_be_looked_up(email: str) -> bool:
    """Whether an address has a length that addresses have; nothing is computed on a longer one."""
    if len(email) > MAX_EMAIL_CHARACTERS:
        return False
    return email.isascii() or len(email_key(email).encode()) <= MAX_EMAIL_KEY_BYTES


def delivery_id(instance_id: UUID, event: str, issued_at: int, body_digest: str) -> str:
    """The id of a delivery, the same for every retry: its time, then a SHA-256 digest.

    Eight hex digits of ``iat`` lead, so that ids sort by time and an index of them grows at its
    end. The digest covers ``sub``, event, ``iat`` and body digest, never the header's spelling.
    """
    text = f"{uuid_text(instance_id)}\n{event}\n{issued_at}\n{body_digest}"
    return f"{issued_at & 0xFFFFFFFF:08x}{hashlib.sha256(text.encode()).hexdigest()}"


_NAMES = {name.value: name for name in EventName}
_USUAL_NAMES = _NAMES.keys() - {EventName.USERDELETED.value}
"""Of a deleted user the id alone counts."""
_ERA_AND_RANK = {
    name.value: (0 if name is EventName.VALIDATE else 1, rank)
    for rank, name in enumerate(EventName)
}


def _text(fields: dict[str, Any], key: str, pointer: str, required: bool = False) -> str:
    value = fields.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise BodyFieldError("must be a string", pointer)
    return value


def _uuid(fields: dict[str, Any], key: str, pointer: str) -> UUID:
    found = read_uuid(fields.get(key))
    if found is None:
        raise BodyFieldError("must be a UUID", pointer)
    return found


def _object(fields: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, dict):
        raise BodyFieldError("must be an object or null", f"/user/{key}")
    return value


def _time(fields: dict[str, Any], key: str) -> datetime | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BodyFieldError("must be an RFC 3339 time", f"/user/{key}")
    return _moment(value, key)


def _moment(text: str | UnsetType, key: str) -> datetime | None:
    if text is UNSET:
        return None
    try:
        moment = parse_time(text)
    except ValueError as error:
        raise BodyFieldError(f"must be an RFC 3339 time ({error})", f"/user/{key}") from None
    return moment if moment.year > 1 else None  # Go's zero time means: not set
