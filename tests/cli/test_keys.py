"""``usher keys``: made and printed once, listed, revoked."""

from __future__ import annotations

import json

from tests.cli.conftest import Program
from usher.core.domain.keys import digest_of


def test_a_key_is_printed_once(on_both: Program) -> None:
    """Alone on standard output, for a variable of the shell; the list does not have it."""
    made = on_both("keys", "create", "feed", "--scope", "changes:read, users:read")
    assert made.exit_code == 0, made.output
    text = made.stdout.removesuffix("\n")
    assert digest_of(text)
    assert "nobody can show it again. It ends 2" in made.stderr
    listed = on_both("keys", "list").stdout
    assert "changes:read, users:read" in listed
    assert text not in listed


def test_keys_as_json(on_both: Program) -> None:
    """With scopes given one by one, without an end, and told in the audit."""
    on_both.sign_up("ada@a.example")
    options = ("--scope", "users:read", "--scope", "roles:write,users:read", "--expires", "never")
    made = on_both.json("keys", "create", "roles", *options)
    assert (made["scopes"], made["expires_at"]) == (["roles:write", "users:read"], None)
    (listed,) = on_both.json("keys", "list")["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    (revoked,) = on_both.json("keys", "revoke", "roles", "--reason", "lost")["keys"]
    assert revoked["state"] == "revoked"
    audit = on_both("audit").stdout
    assert "key roles: roles:write, users:read" in audit
    assert "key roles: revoked" in audit
    assert "lost" in audit


def test_many_keys_are_listed_in_pages(on_both: Program) -> None:
    """And several revoked at once."""
    assert "usher keys create" in on_both("keys", "list").stdout
    for name in ("a", "b"):
        on_both("keys", "create", name, "--scope", "users:read")
    first = on_both.json("keys", "list", "--limit", "1")
    rest = on_both.json("keys", "list", "--cursor", first["next_cursor"])
    assert {key["name"] for key in first["keys"] + rest["keys"]} == {"a", "b"}
    assert "More: --cursor" in on_both("keys", "list", "--limit", "1").stdout
    assert on_both("keys", "revoke", "a", "b").stdout.count("is revoked") == 2


def test_what_cannot_be_made_or_found_is_told(on_both: Program) -> None:
    """In a sentence, with what there is instead."""
    for arguments, said, code in (
        (("create", "feed"), "Missing option '--scope'", 2),
        (("create", "feed", "--scope", "keys:write"), "'keys:write' is no scope. There are:", 1),
        (("create", "feed", "--scope", ","), "A key needs a scope", 1),
        (("create", "My Key", "--scope", "users:read"), "A key's name has 1 to 50", 1),
        (("create", "feed", "--scope", "users:read", "--expires", "soon"), "nor a span", 2),
        (("revoke", "nobody"), "There is no key 'nobody'", 1),
    ):
        result = on_both("keys", *arguments, code=code)
        assert said in result.output, result.output
    assert json.loads(on_both("keys", "list", "--json").stdout)["keys"] == []
