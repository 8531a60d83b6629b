"""Changes of JSON maps: what differs between two, and such a change made again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usher.core.bounds import MAX_DEPTH
from usher.core.strict_json import equal

Parts = tuple[dict[str, Any], dict[str, Any]]


def differing(was: Mapping[str, Any], now: Mapping[str, Any], depth: int = MAX_DEPTH) -> Parts:
    """The keys that differ, with their values before and after.

    A key that one of the maps lacks is in the other's part alone. Of two maps under one key only
    the keys that differ are told, and so on. Any other value, a list too, is told whole.

    Args:
        depth: levels of maps below which values are told whole.
    """
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for key in {**was, **now}:
        if key not in now:
            old[key] = was[key]
        elif key not in was:
            new[key] = now[key]
        elif not equal(was[key], now[key]):
            pair = old[key], new[key] = was[key], now[key]
            if depth and all(isinstance(each, Mapping) for each in pair):
                old[key], new[key] = differing(*pair, depth - 1)
    return old, new


def changed(value: Mapping[str, Any], was: Mapping[str, Any], now: Mapping[str, Any]) -> Any:
    """The map after a change that ``differing`` told, or that was told with whole maps."""
    result = {key: held for key, held in value.items() if key in now or key not in was}
    for key, new in now.items():
        parts = (result.get(key), was.get(key), new)
        whole = not all(isinstance(part, Mapping) for part in parts)
        result[key] = new if whole else changed(*parts)  # type: ignore[arg-type]
    return result
