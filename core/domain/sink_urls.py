"""URLs of receivers, with one reading. Pure.

The grammar is narrow: anything that two readers of URLs might read differently is refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

from msgspec import Struct

from usher.core.bounds import MAX_SINK_URL_CHARACTERS
from usher.core.domain.public_addresses import Address
from usher.core.errors import SinkInvalidError

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[/?][!$-;=?-Z_a-z~]*)?", re.ASCII
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:.*)?")
_PORT: Final = re.compile(r":[1-9][0-9]{0,4}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_CHARACTERS: Final = 253
_USUAL_PORTS: Final = {"https": 443, "http": 80}
_PRIVILEGED: Final = 1024
_MOST_PORT: Final = 65_535


class Target(Struct, frozen=True):
    """The parts of a receiver's URL.

    Attributes:
        host: a name in lower case, or an address without brackets.
        path: with its query.
    """

    secure: bool
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The address that stands in the URL; None: it has a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port, as the header ``Host`` has them."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        usual = self.port == _USUAL_PORTS["https" if self.secure else "http"]
        return host if usual else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    """Take a URL apart.

    Raises:
        SinkInvalidError: with the problem.
    """
    if len(url) > MAX_SINK_URL_CHARACTERS:
        raise SinkInvalidError(f"A URL has at most {MAX_SINK_URL_CHARACTERS} characters.")
    found = _URL.fullmatch(url)
    if found is None:
        raise SinkInvalidError(
            "A URL is https://host/path, in ASCII, without spaces, backslashes and #fragment. "
            "Write the name of an international domain as its A-label: xn--…"
        )
    authority = found["authority"]
    if "@" in authority:
        raise SinkInvalidError("A URL has no user name and no password; the signature is enough.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise SinkInvalidError(
            "The URL names no host in ASCII. Write the name of an international domain as its "
            "A-label: xn--…"
        )
    rest = found["rest"] or "/"
    return Target(
        secure=found["scheme"] == "https",
        host=_host(parts["host"].lower()),
        port=_port(parts["port"], found["scheme"]),
        path=rest if rest.startswith("/") else f"/{rest}",
    )


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            raise SinkInvalidError("The URL has no IPv6 address in its brackets.") from None
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # inet_aton would take 127.1, 0x7f000001 and 2130706433 for an address, too.
        try:
            return str(ip_address(text))
        except ValueError:
            raise SinkInvalidError(
                "The URL has a host that ends in a number, and is no IPv4 address as 192.0.2.1."
            ) from None
    if len(text) > _HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise SinkInvalidError(
            "The host of the URL is no domain name: letters, digits and hyphens between dots, "
            "without a dot at its end."
        )
    return text


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _USUAL_PORTS[scheme]
    port = int(text[1:]) if _PORT.fullmatch(text) else 0
    if port not in _USUAL_PORTS.values() and not _PRIVILEGED <= port <= _MOST_PORT:
        raise SinkInvalidError(f"A port is 80, 443, or {_PRIVILEGED} to {_MOST_PORT}.")
    return port
