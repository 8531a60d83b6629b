"""An address of PostgreSQL, read for a driver that opens its lines itself, without libpq.

libpq's parameters mean what they mean there, but for TLS: every ``sslmode`` other than ``disable``
is full verification. A parameter that protects, and that we cannot honour, is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

PORT: Final = 5432
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HONOURED: Final = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname
    fallback_application_name host hostaddr options password port sslmode sslrootcert
    target_session_attrs user
    """.split()  # noqa: SIM905 - as a list it fills the page
)
_NOT_NEEDED: Final = frozenset(
    """
    gssdelegation gsslib keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
    load_balance_hosts sslcompression sslsni tcp_user_timeout
    """.split()  # noqa: SIM905
)
"""Those that protect nothing: they tune the line of libpq, or belong to what is not used."""
_ONLY: Final = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("disable", "allow"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2"),
    "sslmode": _MODES,
    "sslnegotiation": ("postgres",),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby"),
}
"""Values that we can honour. TLS is 1.2 at least, whatever the address says."""


class Target(Struct, frozen=True):
    """One server.

    Attributes:
        host: its name, or the folder of a Unix socket; the certificate must be for this name.
        address: the IP address to connect to, where the address of the database names one.
        tls: whether the line is encrypted, and the server's certificate verified in full.
        ca_file: the authorities to believe; None: those of the system.
    """

    host: str
    address: str | None
    port: int
    tls: bool
    ca_file: str | None


class Wanted(Struct, frozen=True):
    """An address, read.

    Attributes:
        startup: parameters of the server that are told as a connection begins.
        seconds: for connecting, all targets together; None: the usual time.
    """

    targets: tuple[Target, ...]
    user: str
    password: str
    database: str
    application_name: str | None
    startup: dict[str, str]
    seconds: int | None


def wanted(arguments: dict[str, str], servers: list[dict[str, str]]) -> Wanted:
    """Read libpq's parameters.

    Args:
        servers: those of each host.

    Raises:
        ValueError: without libpq they cannot be honoured.
    """
    _check(arguments)
    user = arguments["user"]
    ca_file = arguments.get("sslrootcert", "system")
    tls = arguments.get("sslmode") != "disable"
    startup = {"client_encoding": "UTF8"}
    if "options" in arguments:
        startup["options"] = arguments["options"]
    return Wanted(
        targets=tuple(
            Target(
                host=each.get("host") or each["hostaddr"],
                address=each.get("hostaddr"),
                port=int(each.get("port") or PORT),
                tls=tls and not each.get("host", "").startswith("/"),
                ca_file=None if ca_file == "system" else ca_file,
            )
            for each in servers
        ),
        user=user,
        password=arguments.get("password", ""),
        database=arguments.get("dbname", user),
        application_name=arguments.get(
            "application_name", arguments.get("fallback_application_name")
        ),
        startup=startup,
        seconds=int(arguments.get("connect_timeout", "0")) or None,
    )


def authorities(target: Target) -> str | None:
    """The certificates to believe, as PEM; None: those of the system.

    Raises:
        OSError: they cannot be read.
    """
    if target.ca_file is None:
        return None
    try:
        return Path(target.ca_file).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise OSError(f"the certificate file of sslrootcert cannot be read: {error}") from error


def _check(arguments: dict[str, str]) -> None:
    for name, value in arguments.items():
        if name in _ONLY:
            if value not in _ONLY[name]:
                taken = ", ".join(_ONLY[name])
                raise ValueError(f"has a {name} that pg8000 cannot honour: it takes {taken}")
        elif name not in _HONOURED | _NOT_NEEDED:
            raise ValueError(f"has the parameter {name}, which pg8000 cannot honour: leave it out")
    if arguments.get("channel_binding") == "require" and arguments.get("sslmode") == "disable":
        raise ValueError("asks for channel_binding, which there is not without TLS")
    if "user" not in arguments:
        raise ValueError("must name a user, since pg8000 takes none from the system")
    names = [arguments[name].split(",") for name in ("host", "hostaddr") if arguments.get(name)]
    if not names:
        raise ValueError("must name a host, since pg8000 takes none from the system")
    if any(one.startswith("@") for one in names[0]):
        raise ValueError("has an abstract socket (@) as host, which pg8000 cannot use")
