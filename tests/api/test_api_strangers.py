"""What strangers put into a query, a role's name or a cell."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.api_support import BOSS, People
from tests.store.store_support import deliver
from tests.support import account, signed
from usher.core.domain import administration
from usher.core.domain.events import is_role
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
