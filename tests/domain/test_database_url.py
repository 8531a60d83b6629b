"""Which addresses of a database are taken, what they say, and what no refusal quotes."""

from __future__ import annotations

import pytest
from psycopg.pq import Conninfo

from usher.core.database_url import connect_arguments, database_url, hosts

SECRET = "hunter2secret"  # pragma: allowlist secret


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        (
            ("postgresql+psycopg://ada:" + "p%40ss@db.example:6543/usher"),
            {"user": "ada", "password": "p@ss", "host": "db.example", "port": "6543",
             "dbname": "usher"},
        ),
        ("postgresql+psycopg://db/usher", {"host": "db", "dbname": "usher"}),
        ("postgresql+psycopg://[::1]:5/u%20x", {"host": "::1", "port": "5", "dbname": "u x"}),
        (
            "postgresql+psycopg://ada@/usher?host=%2Fvar%2Frun&sslmode=require",
            {"user": "ada", "dbname": "usher", "host": "/var/run", "sslmode": "require"},
        ),
        ("postgresql+psycopg://ada@%2Fvar%2Frun/x", {"user": "ada", "host": "/var/run",
                                                     "dbname": "x"}),
        ("postgresql+psycopg://", {}),
        ("postgresql+psycopg:", {}),
        (
            "postgresql+psycopg://u@a:1,b:2/db",
            {"user": "u", "host": "a,b", "port": "1,2", "dbname": "db"},
        ),
        ("postgresql+psycopg://a,b:2,[::1]/db", {"host": "a,b,::1", "port": ",2,",
                                                 "dbname": "db"}),
        ("postgresql+psycopg://a,b/db", {"host": "a,b", "dbname": "db"}),
        (
            "postgresql+psycopg://u@/db?host=a,b&port=1,2&target_session_attrs=read-write",
            {"user": "u", "host": "a,b", "port": "1,2", "dbname": "db",
             "target_session_attrs": "read-write"},
        ),
        (
            "postgresql+psycopg://db?options=-c%20a%3D%40b&host=%40abstract&application_name=a/b:?",
            {"host": "@abstract", "options": "-c a=@b", "application_name": "a/b:?"},
        ),
        ("postgresql+psycopg://db/x?", {"host": "db", "dbname": "x"}),
    ],
)  # fmt: skip
def test_an_address_says_how_to_connect(url: str, arguments: dict[str, str]) -> None:
    """Parts are unquoted, and libpq's parameters stand in the query."""
    assert database_url(url.replace("+psycopg", "") if "://" in url else url + "//")
    assert connect_arguments(url) == arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dbname": "x"}, [{}]),
        ({"host": "a"}, [{"host": "a"}]),
        ({"host": "a,b", "port": "1,2"}, [{"host": "a", "port": "1"}, {"host": "b", "port": "2"}]),
        ({"host": "a,b", "port": "1"}, [{"host": "a", "port": "1"}, {"host": "b", "port": "1"}]),
        ({"host": "a,b", "port": ",2"}, [{"host": "a", "port": ""}, {"host": "b", "port": "2"}]),
        ({"hostaddr": "::1,::2"}, [{"hostaddr": "::1"}, {"hostaddr": "::2"}]),
        ({"port": "7"}, [{"port": "7"}]),
    ],
)
def test_each_host_has_its_parameters(
    arguments: dict[str, str], expected: list[dict[str, str]]
) -> None:
    """One port serves all of them."""
    assert hosts(arguments) == expected


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("db:port/x", "HOST or HOST:PORT"),
        ("db:99999/x", "port from 1 to 65535"),
        ("db:0/x", "port from 1 to 65535"),
        ("a:1,b:/x?port=1,2,3", "one port, or as many ports as hosts"),
        ("a,b/x?port=1,2,3", "one port, or as many ports as hosts"),
        ("/x?port=1,2", "one port, or as many ports as hosts"),
        ("a,,b/x", "a comma too many"),
        ("a,b/x?hostaddr=::1", "as many addresses"),
        ("/x?host=a&host=b", "host=a,b"),
        ("a/x?connect_timeout=soon", "whole number of seconds as connect_timeout"),
        (f"u:#{SECRET}@db/x", "write it as %XX"),
        (f"u:1/{SECRET}@a,b/x", "write it as %XX"),
        (f"u:{SECRET}/1@db/x", "write it as %XX"),
        (f"u:1@{SECRET}:{SECRET}:x@db:1,c:x/x", "write it as %XX"),
        (f"u:12?{SECRET}=@127.0.0.1/db", "write it as %XX"),
        (f"u:9?host={SECRET}@127.0.0.1/db", "write it as %XX"),
        (f"u:1?{SECRET}@127.0.0.1:1/db", "write it as %XX"),
        (f"u:5?{SECRET}=1/x@db:1/x", "write it as %XX"),
        (f"u:1/{SECRET}?x@db/x", "write it as %XX"),
        (f"u:12?{SECRET}=1", "that libpq does not know"),
        (f"u:12?{SECRET}", "that libpq does not know"),
        (f"u:12?host&{SECRET}", "that libpq does not know"),
        (f"u:{SECRET}@db/x?sslmode", "without a value"),
        (f"u:{SECRET}@db/x?sslmode=&connect_timeout=1", "without a value"),
        (f"u:{SECRET}%00x@db/x", "U\\+0000"),
        (f"u%00{SECRET}@db/x", "U\\+0000"),
        (f"u:{SECRET}@db%00x/x", "U\\+0000"),
        (f"u:{SECRET}@db/x%00x", "U\\+0000"),
        (f"u@db/x?password=%00{SECRET}", "U\\+0000"),
    ],
)
def test_a_refused_address_is_not_quoted(rest: str, said: str) -> None:
    """Its password could stand anywhere."""
    with pytest.raises(ValueError, match=said) as found:
        database_url(f"postgresql://{rest}")
    assert SECRET not in str(found.value)


def test_every_parameter_of_libpq_is_taken() -> None:
    """Those of the libpq that is installed."""
    for option in Conninfo.get_defaults():
        name = option.keyword.decode()
        assert connect_arguments(f"postgresql+psycopg:///?{name}=1") == {name: "1"}
