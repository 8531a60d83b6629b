"""The files of ``site/``, the console, as Netlify publishes them. Read once, at the start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usher.core.errors import MethodNotAllowedError, NotFoundError
from usher.functions._shared.etags import has_already
from usher.functions._shared.headers import SITE_HEADERS
from usher.functions._shared.http import Request, Response

FOLDER: Final = Path(__file__).parents[1] / "site"
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The kinds of files that are served; no other is."""


@dataclass(frozen=True, slots=True)
class _File:
    text: str
    content_type: str
    etag: str


class Site:
    """Answers from memory: no path of a request ever reaches the disk.

    Args:
        folder: of the files. Where it is absent there is no site, and every path is unknown.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            f"/{path.relative_to(folder).as_posix()}": _read(path)
            for path in folder.rglob("*")
            if path.suffix in TYPES and path.is_file()
        }
        if "/index.html" in self._files:
            self._files["/"] = self._files["/index.html"]

    def answer(self, request: Request) -> Response:
        """Return the file, or 304 where the browser has it already.

        Raises:
            NotFoundError, MethodNotAllowedError
        """
        file = self._files.get(request.path)
        if file is None:
            raise NotFoundError
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(request.method, ("GET", "HEAD"))
        headers = {**SITE_HEADERS, "ETag": file.etag}
        if has_already(request.headers.get("if-none-match", ()), file.etag):
            return Response(304, headers=headers)
        return Response(200, file.text, file.content_type, headers)


def _read(path: Path) -> _File:
    octets = path.read_bytes()
    digest = hashlib.sha256(octets).hexdigest()[:32]
    return _File(octets.decode(), TYPES[path.suffix], f'"{digest}"')
