"""The address of a database: which ones are taken, and what one of PostgreSQL says to libpq.

No error here quotes the address: a password may stand anywhere in one that was mistyped.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qsl, unquote

SQLITE: Final = "sqlite:///"
POSTGRESQL: Final = "postgresql+psycopg://"
PG8000: Final = "postgresql+pg8000://"
SPELLINGS: Final = ("postgresql://", "postgres://")
"""Spellings of libpq and of providers of databases: psycopg, or pg8000 where only that is."""
MAX_PORT: Final = 65_535
_PARTS: Final = re.compile(
    r"[\w+]+:(?://(?P<authority>[^/?#]*))?(?:/(?P<name>[^/@?#]*))?(?:\?(?P<query>[^#@]*))?"
)
_SERVER: Final = re.compile(r"(?:\[(?P<ipv6>[^][]+)\]|(?P<host>[^][:]*))(?::(?P<port>[0-9]*))?")
"""A password with a ``?`` that was not encoded would make its rest and the hosts a query; so the
query has no ``@``."""
_ENCODED: Final = (
    "is one of / ? # : @ [ ] in the user, the password or the name, or one of # @ in a parameter, "
    "write it as %XX"
)
_PARAMETERS: Final = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname
    fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives
    keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
    oauth_scope options passfile password port replication require_auth requirepeer
    scram_client_key scram_server_key service ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey
    sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs
    tcp_user_timeout user
    """.split()  # noqa: SIM905 - as a list it fills the page
)
"""Those of libpq 18."""


def database_url(text: str) -> str:
    """The address with our driver, from any of ``SPELLINGS`` too.

    Raises:
        ValueError: it is neither of SQLite nor of PostgreSQL, names no file, cannot be read, or
            asks something of pg8000 that it cannot do.
    """
    scheme, mark, rest = text.partition("://")
    text = scheme.lower() + mark + rest  # RFC 3986, 3.1: schemes know no case
    for spelling in SPELLINGS:
        if text.startswith(spelling):
            text = _installed() + text.removeprefix(spelling)
    if text == SQLITE:
        raise ValueError("names no file: write sqlite:///usher.db, or sqlite:////var/lib/usher.db")
    if text.startswith(POSTGRESQL):
        connect_arguments(text)
    elif text.startswith(PG8000):
        from usher.core.database_line import wanted  # noqa: PLC0415 - one of two drivers

        arguments = connect_arguments(text)
        wanted(arguments, hosts(arguments))
    elif not text.startswith(SQLITE):
        raise ValueError(f"must begin with {SQLITE} or {SPELLINGS[0]}")
    return text


def _installed() -> str:
    only_pg8000 = find_spec("psycopg") is None and find_spec("pg8000") is not None
    return PG8000 if only_pg8000 else POSTGRESQL


def connect_arguments(url: str) -> dict[str, str]:
    """Libpq's parameters in an address of PostgreSQL; those in its query win.

    Several hosts are one text with commas, and so are their ports.

    Raises:
        ValueError: it cannot be read, or its parts do not go together.
    """
    found = _PARTS.fullmatch(url)
    if found is None:
        raise ValueError(f"cannot be read: {_ENCODED}")
    login, _, servers = (found["authority"] or "").rpartition("@")
    user, _, password = login.partition(":")
    names, ports = _servers(servers)
    given = {
        "user": unquote(user),
        "password": unquote(password),
        "host": names,
        "port": ports,
        "dbname": unquote(found["name"] or ""),
    }
    arguments = {name: value for name, value in given.items() if value}
    arguments |= _parameters(found["query"] or "")
    _check(arguments)
    return arguments


def hosts(arguments: dict[str, str]) -> list[dict[str, str]]:
    """The parameters of each host, in their order; without any host, one of libpq's own choice."""
    several = {
        name: arguments[name].split(",")
        for name in ("host", "hostaddr", "port")
        if arguments.get(name)
    }
    count = max(len(several.get("host", [])), len(several.get("hostaddr", [])), 1)
    return [
        {name: each[place if len(each) > 1 else 0] for name, each in several.items()}
        for place in range(count)
    ]


def _parameters(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if not found.keys() <= _PARAMETERS:
        raise ValueError("has a parameter after the ? that libpq does not know")
    if len(found) < len(pairs):
        raise ValueError("names a parameter twice: write several hosts as host=a,b")
    if not all(found.values()):
        raise ValueError("has a parameter without a value after the ?")
    return found


def _servers(text: str) -> tuple[str, str]:
    """The hosts and the ports, each with commas; no port where none is said."""
    servers = [_SERVER.fullmatch(one) for one in text.split(",")]
    found = [one for one in servers if one is not None]
    if len(found) < len(servers):
        raise ValueError(f"cannot be read: a server is HOST or HOST:PORT, with commas; {_ENCODED}")
    ports = [one["port"] or "" for one in found]
    return (
        ",".join(unquote(one["ipv6"] or one["host"]) for one in found),
        ",".join(ports) if any(ports) else "",
    )


def _check(arguments: dict[str, str]) -> None:
    names = [arguments[name].split(",") for name in ("host", "hostaddr") if arguments.get(name)]
    ports = arguments.get("port", "").split(",")
    if any("\0" in value for value in arguments.values()):
        raise ValueError("has U+0000 (%00) in a part, where libpq would end it")
    if any(len(each) > 1 and "" in each for each in names):
        raise ValueError("has a comma too many between its hosts")
    if len({len(each) for each in names}) > 1:
        raise ValueError("must name as many addresses (hostaddr) as hosts")
    if len(ports) > 1 and {len(ports)} != {len(each) for each in names}:
        raise ValueError("must name one port, or as many ports as hosts")
    if any(one and not (one.isdecimal() and 0 < int(one) <= MAX_PORT) for one in ports):
        raise ValueError(f"must have a port from 1 to {MAX_PORT}")
    if not arguments.get("connect_timeout", "0").isdecimal():
        raise ValueError("must have a whole number of seconds as connect_timeout")
