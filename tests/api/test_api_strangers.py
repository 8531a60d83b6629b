"""What strangers put into a query, a role's name or a cell."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.api.api_support import BOSS, HEADER, HOUR, JWT_SECRET, People, ask
from tests.forge import token
from tests.store.store_support import deliver
from tests.support import NOON, account, signed
from usher.core.bounds import MAX_ACCESS_TOKEN_BYTES
from usher.core.domain import administration
from usher.core.domain.held_roles import is_role
from usher.core.limits import RateLimiter
from usher.functions._shared.cors import cors_headers, preflight
from usher.functions._shared.http import Request
from usher.functions.api_methods.users import BETWEEN_ROLES, cell

ADMIN = "administrator"


@pytest.mark.parametrize(
    "value", ["5.0", "5.", "+5", "-5", " 5", "5 ", "5e0", "0x5", "5_0", "\u0665", ""]
)
@pytest.mark.parametrize(
    "address", ["/users?limit=", "/events?limit=", "/audit?limit=", "/stats?days="]
)
def test_h5_a_whole_number_is_written_in_digits(people: People, address: str, value: str) -> None:
    """Whatever Python would take for one as well."""
    answer = people.ask(ADMIN, "GET", address + value.replace("+", "%2B").replace(" ", "%20"))
    assert (answer.status, answer.code) == (400, "input_invalid")
    assert people.ask(ADMIN, "GET", address + "5").status == 200


def test_b3_roles_in_a_cell_are_told_apart(people: People) -> None:
    """No role can hold what stands between them."""
    other = people.app.store.users.get(people.ids["other"])
    people.app.store.users.change(
        other, administration.set_roles(["member", "super admin", "a,b", "x;y|z"]), BOSS
    )
    answer = people.ask(ADMIN, "GET", "/users?limit=200", accept="text/csv")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert rows[str(other.id)]["roles"].split("\n") == ["a,b", "member", "super admin", "x;y|z"]
    assert not is_role(f"a{BETWEEN_ROLES}b")


RUNS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tx", "\rx", "\nx", " =1", "  \t+1",
    "\u00a0=1", "\u3000=1", "\ufeff=1", "\u200b=1", "\u2028@x", "\uff1d1", "\uff0b1", "\uff0d1",
    "\uff20x", " \uff1d1", "\ufe661", "\ufe621", "\ufe631", "\ufe6bx", "\u22121", "\x00=1",
]  # fmt: skip
PLAIN = ["", "a", "a=1", "a@b.example", " a", "'=1", "0-1", "(=1)", "1+1", "\u00e4", "_", '"=1']


@pytest.mark.parametrize("value", RUNS)
def test_b4_what_a_spreadsheet_would_run_is_quoted(value: str) -> None:
    """Blanks before it and full-width forms included."""
    assert cell(value) == f"'{value}"


@pytest.mark.parametrize("value", PLAIN)
def test_b4_what_it_would_not_run_stays(value: str) -> None:
    """A file is read by programs, too."""
    assert cell(value) == value


@given(st.text(), st.sampled_from("=+-@\uff1d\uff0b\uff0d\uff20"), st.text())
def test_b4_nothing_blank_hides_a_formula(blank: str, sign: str, rest: str) -> None:
    """Whatever a spreadsheet passes over."""
    before = "".join(each for each in blank if each.isspace() or not each.isprintable())
    assert cell(before + sign + rest).startswith("'")


@pytest.mark.parametrize("value", ["=1", "\uff1d1", "\uff20x", "+1", "-1"])
def test_b4_every_column_is_guarded(people: People, value: str) -> None:
    """The address, roles and the provider are other people's to choose."""
    who = account(email=f"{value}@x.org", provider=value)
    deliver(people.app, [signed("signup", who)])
    users = people.app.store.users
    made = users.get(who.id)
    users.change(made, administration.set_roles([value]), BOSS)
    answer = people.ask(ADMIN, "GET", "/users?limit=200", accept="text/csv")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    row = rows[str(who.id)]
    assert [row["email"], row["roles"], row["provider"]] == [
        f"'{value}@x.org",
        f"'{value}",
        f"'{value}",
    ]
    assert not [each for row in rows.values() for each in row.values() if each[:1] == value[0]]


@pytest.mark.parametrize(("per_minute", "passed"), [(1_200, 60), (40, 2), (5, 1), (0, 70)])
def test_d4_ones_own_changes_have_a_smaller_budget(
    people: People, monkeypatch: pytest.MonkeyPatch, per_minute: int, passed: int
) -> None:
    """Each is kept in the audit; reading, others and administrators' changes go on."""
    settings = replace(people.app.settings, api_requests_per_minute=per_minute)
    monkeypatch.setattr(people.app, "settings", settings)
    monkeypatch.setattr("usher.core.app.monotonic", lambda: 0.0)
    people.app.__dict__.pop("own_changes_limit", None)
    people.app.__dict__["person_limit"] = RateLimiter(0, lambda: 0.0)
    answers = [
        people.ask("user", "PATCH", "/me", {"profile": {"n": n}})
        for n in range(min(passed + 3, 70))
    ]
    allowed = [answer.status for answer in answers[:passed]]
    assert set(allowed) == {200}
    for answer in answers[passed:]:
        assert (answer.status, answer.code) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) >= 1
    assert people.ask("user", "GET", "/me").status == 200
    assert people.ask("other", "PATCH", "/me", {"profile": {"n": 1}}).status == 200
    assert people.ask(ADMIN, "PATCH", "/users/{user}", {"profile": {"n": -1}}).status == 200


# --- bounds and refusals that a change of the code must not lose without notice -------------------


@pytest.mark.parametrize("claim", ["nbf", "iat", "exp"])
@pytest.mark.parametrize("value", [True, False, "1", [1], {}, None])
def test_a_tokens_times_are_numbers(people: People, claim: str, value: object) -> None:
    """JSON's ``true`` is no 1, though Python has it so."""
    claims = {"exp": int(NOON.timestamp()) + HOUR, "sub": str(people.ids["user"]), claim: value}
    made = token(json.dumps(claims).encode(), HEADER, JWT_SECRET)
    assert ask("GET", "/me", f"Bearer {made}").code == "unauthenticated"


@pytest.mark.parametrize(("over", "status"), [(-1, 200), (0, 200), (1, 401), (1_000, 401)])
def test_a_token_has_a_largest_size(people: People, over: int, status: int) -> None:
    """To the byte, and nothing larger is taken apart."""
    header = b'{"alg":"HS256"}'
    claims = {"exp": int(NOON.timestamp()) + HOUR, "sub": str(people.ids["user"]), "x": ""}
    wanted = MAX_ACCESS_TOKEN_BYTES + over
    made = ""
    for padding in range(wanted * 3 // 4 - 400, wanted * 3 // 4):
        for blanks in (b"", b" ", b"  "):  # so that every length can be met
            claims["x"] = "x" * padding
            made = token(json.dumps(claims).encode(), header + blanks, JWT_SECRET)
            if len(made) == wanted:
                break
        if len(made) == wanted:
            break
    assert len(made) == wanted
    answer = ask("GET", "/me", f"Bearer {made}")
    assert answer.status == status
    assert ("is the most" in answer.text) is (over > 0)


def test_two_origins_are_nobodys(people: People) -> None:
    """Twice the allowed one, or one beside another: a browser sends a single one."""
    allowed = "https://site.example"
    for origins in [(allowed, allowed), (allowed, "https://evil.example"), ()]:
        request = Request("GET", "/api/me", {"origin": origins}, b"")
        assert "Access-Control-Allow-Origin" not in cors_headers(request, {allowed})
        asking = replace(
            request, headers={**request.headers, "access-control-request-method": ("GET",)}
        )
        answer = preflight(asking, ["GET"], {allowed})
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    one = Request("GET", "/api/me", {"origin": (allowed,)}, b"")
    assert cors_headers(one, {allowed})["Access-Control-Allow-Origin"] == allowed


@pytest.mark.parametrize("length", [39, 40, 41, 90])
def test_an_events_name_is_cut_in_the_counts(people: People, length: int) -> None:
    """A name can be as long as a body; the counters' key is not."""
    for end in "ab":
        who = account(at=people.app.clock())
        name = "n" * length + end
        deliver(people.app, [signed(name, who, at=people.app.clock())])
    days = people.app.store.users.stats("2000-01-01")["day"]
    found = {name.split(":")[1]: count for name, count in days.items() if ":n" in name}
    if length < 40:
        assert found == {"n" * length + "a": 1, "n" * length + "b": 1}
    else:
        assert found == {"n" * 40: 2}
