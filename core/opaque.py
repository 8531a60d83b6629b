"""Documents that hold metadata maps: a strict envelope around what is opaque to us. Pure.

``user_metadata`` is a person's own, of any size and content, and so is most of ``app_metadata`` to
us. Their spans are found in the bytes and never judged with the envelope: a map is kept where it
can be stored, otherwise sanitised or set aside, and the document says which. No JSON library reads
around a value without reading it (ijson, with yajl, ends at half a surrogate pair and at a number
of 4,301 digits), so the spans are found by ``core/json_spans.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from usher.core.bounds import (
    MAX_ENVELOPE_BYTES,
    MAX_MAP_BYTES,
    MAX_MAP_DEPTH,
    MAX_ROLES_BYTES,
    MAX_STRING_BYTES,
)
from usher.core.strict_json import (
    StrictJsonError,
    depth_exceeds,
    dumps,
    fits_a_double,
    loads_object,
)

if TYPE_CHECKING:
    from usher.core.json_spans import Member, Spans

APP_METADATA: Final = "app_metadata"
USER_METADATA: Final = "user_metadata"
UNREADABLE_ROLES: Final[dict[str, Any]] = {}
"""Stands for ``roles`` that cannot be taken as they are: like any other object, nobody's roles."""
_STRINGS: Final = frozenset({"email", "aud"})
_REPLACED: Final = "what cannot be stored was replaced"
_KEPT_BYTES: Final = {"provider": MAX_STRING_BYTES, "roles": MAX_ROLES_BYTES}

_HALF_PAIRS: Final = "[\x00\ud800-\udfff]"


class SetAside(Struct, frozen=True, gc=False):
    """A field of a document that could not be taken as it is, and why."""

    field: str
    why: str
    keeps_keys: bool = False
    """A map with all of its keys: only what cannot be stored was replaced."""

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"


def read_envelope(
    data: bytes, parent: str | None = None, pause: Callable[[], None] | None = None
) -> tuple[dict[str, Any], tuple[SetAside, ...]]:
    """Read one JSON object that holds metadata maps.

    Args:
        data: the bytes as received.
        parent: the member whose members the maps are; None: they are the document's own.
        pause: called every so often while megabytes are passed over, so that others get on.

    Returns:
        The document, its maps as they can be kept, and what of it was changed or set aside.

    Raises:
        StrictJsonError: the envelope, or a map of ordinary size, is not strict JSON; of a map
            this does not concern its size, depth, numbers, characters and repeated keys.
    """
    levels = MAX_MAP_DEPTH + (1 if parent is None else 2)
    if len(data) <= MAX_MAP_BYTES:
        try:
            return loads_object(data, levels, doubles=True), ()
        except StrictJsonError:
            pass  # somewhere; what follows tells where
    return _read_apart(data, parent, _spans(data, pause))


def read_list(data: bytes, name: str) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """Read one JSON object that holds a list of documents, each of which is read by itself.

    Args:
        name: the key of the list.

    Returns:
        The object with an empty list, and the bytes of each element.

    Raises:
        StrictJsonError: this is no strict JSON object with such a list.
    """
    found = [member for member in _all_members(data, name) if member.key == name]
    if len(found) != 1 or data[found[0].start] != ord("["):
        raise StrictJsonError(f"no list {name!r}")
    start, end, elements = found[0].start, found[0].end, found[0].members or ()
    rest = loads_object(data[:start] + b"[]" + data[end:])
    return rest, tuple(data[each.start : each.end] for each in elements)


def only(data: bytes, keys: Collection[str]) -> bytes:
    """The object with these members alone, so that nothing else of it needs to be readable.

    Raises:
        StrictJsonError: this is no JSON object.
    """
    return _alone(data, _all_members(data, None), keys)


def only_of_start(data: bytes, keys: Collection[str]) -> bytes:
    """The same of the beginning of an object.

    Raises:
        StrictJsonError: not all of these members are there whole.
    """
    members = _members_so_far(data)
    if not {each.key for each in members}.issuperset(keys):
        raise StrictJsonError("cut off before all that is needed")
    return _alone(data, members, keys)


def _members_so_far(data: bytes) -> list[Member]:
    found: list[Member] = []
    try:
        _spans(data).members(found=found)
    except (IndexError, ValueError):
        return found  # cut off after these
    return found


def _alone(data: bytes, members: Iterable[Member], keys: Collection[str]) -> bytes:
    chosen = [
        b'"%s":%s' % (each.key.encode(), data[each.start : each.end])
        for each in members
        if each.key in keys
    ]
    return b"{%s}" % b",".join(chosen)


def _spans(data: bytes, pause: Callable[[], None] | None = None) -> Spans:
    from usher.core.json_spans import Spans  # noqa: PLC0415 - most documents are read whole

    return Spans(data, pause)


def _all_members(data: bytes, inside: str | None) -> tuple[Member, ...]:
    try:
        return _spans(data).all_members(inside)
    except (IndexError, ValueError):
        raise StrictJsonError("not an object, or data after it") from None


def _read_apart(
    data: bytes, parent: str | None, spans: Spans
) -> tuple[dict[str, Any], tuple[SetAside, ...]]:
    try:
        members, _ = spans.members(inside=parent)
    except (IndexError, ValueError, RecursionError):
        members = ()  # no JSON: let the strict reading say why
    if parent is not None:
        members = tuple(
            each
            for member in members
            if member.key == parent and member.members
            for each in member.members
        )
    pieces: list[bytes] = []
    maps: list[Member] = []
    notes: list[SetAside] = []
    last = 0
    for member in members:
        stands_in = _stand_in(data, member)
        if stands_in:
            pieces += data[last : member.start], stands_in
            last = member.end
            if stands_in == b"{}":
                maps.append(member)
            else:
                notes.append(SetAside(member.key, f"over {MAX_STRING_BYTES} bytes, set aside"))
    pieces.append(data[last:])
    if sum(map(len, pieces)) > MAX_ENVELOPE_BYTES:
        raise StrictJsonError(f"over {MAX_ENVELOPE_BYTES} bytes beside the metadata")
    document = loads_object(b"".join(pieces))
    holder: dict[str, Any] = document if parent is None else document.get(parent, {})
    for member in maps:
        holder[member.key], note = _read_map(data, member, spans)
        if note:
            notes.append(note)
    return document, tuple(notes)


def _stand_in(data: bytes, member: Member) -> bytes:
    """The stand-in for an opaque value in the envelope; empty: the value itself."""
    first = data[member.start]
    if member.key in (APP_METADATA, USER_METADATA) and first == ord("{"):
        return b"{}"
    if (
        member.key in _STRINGS
        and first == ord('"')
        and member.end - member.start > MAX_STRING_BYTES
    ):
        return b"null"
    return b""


def _read_map(data: bytes, found: Member, spans: Spans) -> tuple[dict[str, Any], SetAside | None]:
    """A map as it can be kept, and what became of it where that is another."""
    why = ""
    if found.end - found.start > MAX_MAP_BYTES:
        why = f"over {MAX_MAP_BYTES} bytes, set aside"
    elif depth_exceeds(data[found.start : found.end], MAX_MAP_DEPTH):
        why = f"over {MAX_MAP_DEPTH} levels, set aside"
    if why:
        kept = _kept_of(data, found, spans) if found.key == APP_METADATA else {}
        return kept, SetAside(found.key, why)
    span = data[found.start : found.end]
    try:
        return loads_object(span, MAX_MAP_DEPTH, doubles=True), None
    except StrictJsonError:
        pass
    return _loads_leniently(span), SetAside(found.key, _REPLACED, keeps_keys=True)


def _kept_of(data: bytes, found: Member, spans: Spans) -> dict[str, Any]:
    """The provider and the roles of an ``app_metadata`` that is set aside: they decide."""
    try:
        members, _ = spans.members(found.start)
    except (IndexError, ValueError):
        raise StrictJsonError(f"{found.key} is no JSON") from None
    kept: dict[str, Any] = {}
    for member in members:
        limit = _KEPT_BYTES.get(member.key, 0)
        value = data[member.start : member.end]
        if limit and len(value) <= limit and not depth_exceeds(value, MAX_MAP_DEPTH - 1):
            kept |= _loads_leniently(b'{"%s":%s}' % (member.key.encode(), value))
        elif member.key == "roles":
            kept["roles"] = UNREADABLE_ROLES
    return kept


def _no_constant(name: str) -> Any:
    raise StrictJsonError(f"{name} is not JSON")


def _number(text: str) -> float | None:
    """None where no double holds it."""
    whole = not any(sign in text for sign in ".eE")
    if whole and len(text) > 400:  # int() refuses thousands of digits
        return None
    value = int(text) if whole else float(text)
    return value if fits_a_double(value) else None


# The last of equal keys counts, as in Go.
_LENIENT = json.JSONDecoder(parse_constant=_no_constant, parse_float=_number, parse_int=_number)


def _loads_leniently(data: bytes) -> dict[str, Any]:
    try:
        document = _LENIENT.decode(data.decode())
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"{error.msg} at character {error.pos}") from None
    clean: dict[str, Any] = _clean(document)
    if "roles" in document:
        clean["roles"] = _exact(document["roles"])
        if clean["roles"] is None and not _says_null(data):
            clean["roles"] = UNREADABLE_ROLES
    return clean


def _exact(roles: Any) -> Any:
    """The roles as Identity holds them: with a character replaced, a name would be another role.

    Half a pair, which Identity does not hold and nobody can write, makes an element null.
    """
    if isinstance(roles, list):
        return [each if _can_be_written(each) else None for each in roles]
    return roles if _can_be_written(roles) else UNREADABLE_ROLES


def _can_be_written(value: Any) -> bool:
    try:
        dumps(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _says_null(data: bytes) -> bool:
    """Whether the ``roles`` of a map are null, and no number that is read as null."""
    members, _ = _spans(data).members()
    return [data[each.start : each.end] for each in members if each.key == "roles"][-1] == b"null"


def _clean(value: Any) -> Any:
    """The value with U+FFFD in place of what neither PostgreSQL nor UTF-8 can hold."""
    if isinstance(value, str):
        return re.sub(_HALF_PAIRS, "\ufffd", value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
