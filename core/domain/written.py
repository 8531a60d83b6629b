"""Keys of metadata that handlers wrote into one record. Pure.

Further ``app_metadata`` is ours, and its values stand in the record. ``user_metadata`` is the
person's own: they write it at Identity at any time, and no event tells of it. So the values that
handlers wrote there are noted here, until Identity was told of them, and as the handlers' own
words afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.domain.in_flight import IN_FLIGHT_SECONDS
from usher.core.strict_json import equal

NO_KEYS: Final[Mapping[str, Any]] = {}


class UserKey(Struct, frozen=True, gc=False):
    """One key of ``user_metadata``.

    Attributes:
        value: None removes the key.
        handler: its name.
        told_at: when Identity was told, seconds since the epoch; 0: it must still be told.
    """

    value: Any
    handler: str
    told_at: int = 0

    def beats(self, moment: int, *, read_early: bool) -> bool:
        """Whether what Identity shows at this time may be older than this value."""
        if not self.told_at:
            return True
        return read_early and moment < self.told_at + IN_FLIGHT_SECONDS


class Written(Struct, frozen=True, gc=False):
    """The keys that handlers wrote.

    Attributes:
        app_metadata: the name of the handler, by key.
        user_metadata: by key.
    """

    app_metadata: Mapping[str, str] = field(default_factory=dict)
    user_metadata: Mapping[str, UserKey] = field(default_factory=dict)

    def told(self, values: Mapping[str, Any], now: datetime) -> Written:
        """Note that Identity was told these values; a key that has another one by now is not."""
        moment = int(now.timestamp())
        noted = {
            key: replace(each, told_at=moment)
            for key, each in self.user_metadata.items()
            if key in values and not each.told_at and equal(each.value, values[key])
        }
        return replace(self, user_metadata={**self.user_metadata, **noted})

    def values(self, extra_app_metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The keys with their values, removed ones left out; of one in both maps, that of ours.

        A person may have written another value over a handler's in ``user_metadata``, and so name
        what belongs to somebody else. The handler's own counts.

        Args:
            extra_app_metadata: of the record.
        """
        found = {key: each.value for key, each in self.user_metadata.items()}
        found |= {key: extra_app_metadata.get(key) for key in self.app_metadata}
        return {key: value for key, value in found.items() if value is not None}

    def document(self) -> dict[str, Any]:
        """The notes as JSON."""
        of_person = self.user_metadata.items()
        return {
            "app": self.app_metadata,
            "user": {key: [each.value, each.handler, each.told_at] for key, each in of_person},
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read back what ``document`` wrote."""
        of_person = document["user"].items()
        return cls(document["app"], {key: UserKey(*each) for key, each in of_person})


def untold_keys(written: Written | None) -> Mapping[str, Any]:
    """The keys of ``user_metadata`` that Identity must still be told, with their values."""
    if written is None:
        return NO_KEYS
    return {key: each.value for key, each in written.user_metadata.items() if not each.told_at}


def over(
    written: Written | None,
    metadata: Mapping[str, Any],
    now: datetime,
    *,
    read_early: bool = True,
) -> Mapping[str, Any]:
    """``user_metadata`` as Identity shows it, with what handlers wrote and it cannot show yet.

    Args:
        read_early: it may have been read some time before it was shown.
    """
    if written is None:
        return metadata
    moment = int(now.timestamp())
    ours = {
        key: each.value
        for key, each in written.user_metadata.items()
        if each.beats(moment, read_early=read_early)
    }
    return with_keys(metadata, ours)


def with_keys(metadata: Mapping[str, Any], keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """A map with these keys; None removes one."""
    if not keys:
        return metadata
    merged = {**metadata, **keys}
    return {key: value for key, value in merged.items() if value is not None or key not in keys}
