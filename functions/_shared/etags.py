"""Lists of ETags in ``If-Match`` and ``If-None-Match`` (RFC 9110, 8.8.3 and 13.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

ANY: Final = "*"
_ETAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_MEMBER = re.compile(_ETAG)
_LIST = re.compile(rf"[ \t,]*{_ETAG}(?:[ \t]*,[ \t,]*{_ETAG})*[ \t,]*")
_WEAK: Final = "W/"


def read_etags(values: Sequence[str]) -> tuple[str, ...] | None:
    """The ETags of a header, each as it was written, or ``*`` alone; None: it is no such list.

    Repeated headers are one list (RFC 9110, 5.3).
    """
    value = ", ".join(values).strip(" \t")
    if value == ANY:
        return (ANY,)
    return tuple(_MEMBER.findall(value)) if _LIST.fullmatch(value) else None


def has_already(values: Sequence[str], etag: str) -> bool:
    """Whether ``If-None-Match`` says that the caller has this; compared weakly."""
    listed = read_etags(values) or ()
    return ANY in listed or etag in {each.removeprefix(_WEAK) for each in listed}
