"""Addresses for the driver that opens its lines itself: what they ask, and what is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from usher.core import database_url as module
from usher.core.database_line import Target, Wanted, wanted
from usher.core.database_url import connect_arguments, database_url, hosts

SECRET = "hunter2secret"  # pragma: allowlist secret


def read(url: str) -> Wanted:
    """An address, read."""
    arguments = connect_arguments(url)
    return wanted(arguments, hosts(arguments))


def target(host: str = "db", **more: Any) -> Target:
    """One server, verified."""
    usual: dict[str, Any] = {"address": None, "port": 5432, "tls": True, "ca_file": None}
    return Target(host=host, **(usual | more))


@pytest.mark.parametrize(
    ("rest", "targets"),
    [
        ("u@db/x", (target(),)),
        ("u@db:7/x?sslmode=require&channel_binding=require", (target(port=7),)),
        ("u@db/x?sslmode=allow&sslrootcert=ca.pem", (target(ca_file="ca.pem"),)),
        ("u@db/x?sslmode=verify-full&sslrootcert=system", (target(),)),
        ("u@db/x?sslmode=disable", (target(tls=False),)),
        ("u@/x?host=/run/pg&port=3", (target("/run/pg", port=3, tls=False),)),
        ("u@a:1,b/x", (target("a", port=1), target("b"))),
        ("u@db/x?hostaddr=10.0.0.7", (target(address="10.0.0.7"),)),
        ("u@/x?hostaddr=10.0.0.7", (target("10.0.0.7", address="10.0.0.7"),)),
        ("u@db/x?keepalives_idle=3&sslsni=1&gssencmode=disable", (target(),)),
    ],
)
def test_an_address_names_its_servers(rest: str, targets: tuple[Target, ...]) -> None:
    """Every ``sslmode`` but ``disable`` is full verification, one that is not said too."""
    url = f"postgresql+pg8000://{rest}"
    assert database_url(url) == url
    assert read(url).targets == targets


def test_an_address_says_who_connects_and_with_what() -> None:
    """The database is named as its user, unless said."""
    query = "options=-c%20a%3Db&connect_timeout=4&application_name=us&password=p%40"
    url = f"postgresql+pg8000://u@db?{query}"
    assert read(url) == Wanted(
        targets=(target(),),
        user="u",
        password="p@",
        database="u",
        application_name="us",
        startup={"client_encoding": "UTF8", "options": "-c a=b"},
        seconds=4,
    )
    plain = read("postgresql+pg8000://u@db/x?fallback_application_name=y")
    assert (plain.database, plain.application_name, plain.seconds) == ("x", "y", None)
    assert plain.startup == {"client_encoding": "UTF8"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=none", "a sslmode that pg8000 cannot honour"),
        ("channel_binding=must", "a channel_binding that pg8000 cannot honour"),
        ("channel_binding=require&sslmode=disable", "not without TLS"),
        ("gssencmode=require", "a gssencmode that"),
        ("sslcertmode=require", "a sslcertmode that"),
        ("sslnegotiation=direct", "a sslnegotiation that"),
        ("ssl_min_protocol_version=TLSv1.3", "a ssl_min_protocol_version that"),
        ("target_session_attrs=prefer-standby", "a target_session_attrs that"),
        ("sslcert=a.pem", "the parameter sslcert, which"),
        ("sslcrl=a.pem", "the parameter sslcrl, which"),
        ("require_auth=scram-sha-256", "the parameter require_auth, which"),
        ("requirepeer=postgres", "the parameter requirepeer, which"),
        ("passfile=.pgpass", "the parameter passfile, which"),
        ("service=mine", "the parameter service, which"),
    ],
)
def test_what_protects_and_cannot_be_honoured_is_refused(query: str, said: str) -> None:
    """Libpq would do it; without, the line would be weaker than its owner thinks."""
    with pytest.raises(ValueError, match=said) as found:
        database_url(f"postgresql+pg8000://u@db/x?password={SECRET}&{query}")
    assert SECRET not in str(found.value)
    assert database_url("postgresql+psycopg://u@db/x?sslcert=a.pem")


@pytest.mark.parametrize(
    ("rest", "said"),
    [("db/x", "name a user"), ("u@/x", "name a host"), ("u@%40abstract/x", "abstract socket")],
)
def test_what_libpq_would_find_for_itself_must_be_said(rest: str, said: str) -> None:
    """There is no system to ask where functions run."""
    with pytest.raises(ValueError, match=said):
        database_url(f"postgresql+pg8000://{rest}")


@pytest.mark.parametrize(
    ("installed", "scheme"),
    [
        ({"psycopg", "pg8000"}, "postgresql+psycopg"),
        ({"psycopg"}, "postgresql+psycopg"),
        ({"pg8000"}, "postgresql+pg8000"),
        (set(), "postgresql+psycopg"),
    ],
)
def test_a_providers_address_means_the_driver_that_is_there(
    installed: set[str], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Psycopg first; one that is named is that one."""

    def find_spec(name: str) -> Any:
        return importlib.util.find_spec("json") if name in installed else None

    monkeypatch.setattr(module, "find_spec", find_spec)
    for spelling in ("postgres", "postgresql"):
        assert database_url(f"{spelling}://u@db/x") == f"{scheme}://u@db/x"
    for named in ("postgresql+psycopg", "postgresql+pg8000"):
        assert database_url(f"{named}://u@db/x") == f"{named}://u@db/x"
