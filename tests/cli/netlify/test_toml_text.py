"""Edits of TOML as text: one place changes, everything else stays to the byte."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.cli.netlify.toml_text import (
    NoPlaceError,
    add_first,
    add_key,
    add_to_list,
    prefix_text,
    read,
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[build]\nk = "v"\n'),
        ("[build]\n  a = 1\n", '[build]\n  k = "v"\n  a = 1\n'),
        ("[build]", '[build]\nk = "v"\n'),
        ("[ build ] # why\n\n[x]\n", '[ build ] # why\nk = "v"\n\n[x]\n'),
        ("[x]\r\na = 1", '[x]\r\na = 1\r\n\r\n[build]\r\nk = "v"\r\n'),
        ("build = {}\n", 'build = {k = "v"}\n'),
        ("build = { a = 1 }\n", 'build = { k = "v", a = 1 }\n'),
        ("build.a = 1\n", 'build.k = "v"\nbuild.a = 1\n'),
        ("\ufeff[build]\na = 1\n", '\ufeff[build]\nk = "v"\na = 1\n'),
        ("\ufeffbuild.a = 1\n", '\ufeffbuild.k = "v"\nbuild.a = 1\n'),
        ("[build.b]\na = 1\n", '[build.b]\na = 1\n\n[build]\nk = "v"\n'),
        ('x = """\n[build]\n"""\n[build]\n', 'x = """\n[build]\n"""\n[build]\nk = "v"\n'),
        ("# [build]\n[build]\na = 1\n", '# [build]\n[build]\nk = "v"\na = 1\n'),
    ],
)
def test_a_key_is_added_where_its_table_is(before: str, after: str) -> None:
    """After the header, with the indentation of what follows; never in a comment or a text."""
    assert add_key(before, ["build"], "k", "v") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[b]\nc = "x" # y\n', '[b]\nc = "p x" # y\n'),
        ("[b]\nc='x'\n", "[b]\nc='p x'\n"),
        ('[b]\nc = """\nx\n"""\n', '[b]\nc = """\np x\n"""\n'),
        ("[b]\nc = '''\r\nx'''\n", "[b]\nc = '''\r\np x'''\n"),
        ('b = { "c" = "x" }\n', 'b = { "c" = "p x" }\n'),
        ('b.c = "x"\n', 'b.c = "p x"\n'),
        ('[a]\nc = "x"\n[b]\nc = "x"\n', '[a]\nc = "x"\n[b]\nc = "p x"\n'),
        (
            '# c = "x"\n[b]\nd = \'c = "x"\'\nc = "x"\n',
            '# c = "x"\n[b]\nd = \'c = "x"\'\nc = "p x"\n',
        ),
    ],
)
def test_a_text_gets_its_prefix_in_its_own_quotes(before: str, after: str) -> None:
    """The one that is meant, of several alike."""
    assert prefix_text(before, ["b", "c"], "p ") == after


def test_a_table_within_braces_stays_there() -> None:
    """Braces are closed to what stands outside of them."""
    before = "f = { d = 1 } # x\n"
    assert add_key(before, ["f", "api"], "k", "v") == 'f = { api.k = "v", d = 1 } # x\n'


def test_a_comment_stays_with_the_table_that_it_is_about() -> None:
    """Ours goes above both, and other tables between two of the array stay where they are."""
    before = "a = 1\n\n# first\n[[r]]\nf = 1\n[h]\n[[r]]\nf = 2\n"
    after = "a = 1\n\n# us\n[[r]]\nf = 0\n\n# first\n[[r]]\nf = 1\n[h]\n[[r]]\nf = 2\n"
    assert add_first(before, "r", "us", [{"f": 0}]) == after
    assert add_first("a = 1", "r", "us", [{"f": 0}]) == "a = 1\n\n# us\n[[r]]\nf = 0\n"


def test_a_list_gets_one_more() -> None:
    """In front, whether or not it was empty."""
    assert add_to_list('[a]\nl = ["y"]\n', ["a"], "l", "x") == '[a]\nl = ["x", "y"]\n'
    assert add_to_list("[a]\nl = [\n]\n", ["a"], "l", "x") == '[a]\nl = ["x"\n]\n'


@pytest.mark.parametrize("text", ["r = [{ f = 1 }]\n", "[t]\nx = 1\n[[t.r]]\n[[q]]\n[q.r]\n"])
def test_where_no_place_is_found_the_lines_are_told(text: str) -> None:
    """An array written in one line is left to the person."""
    if "r = [" in text:
        with pytest.raises(NoPlaceError) as error:
            add_first(text, "r", "us", [{"f": 0}])
        assert "[[r]]\nf = 0\n" in error.value.lines
    else:
        assert read(add_first(text, "r", "us", [{"f": 0}]))["r"] == [{"f": 0}]


names = st.sampled_from(["build", "functions", "r", "x", "command"])
values = st.sampled_from(['"x"', "'[build]'", '"""\n[build]\ncommand = 1\n"""', "1", "[1]", "{}"])
lines = st.one_of(
    st.builds("[{}]\n".format, names),
    st.builds("[[{}]]\n".format, names),
    st.builds("{} = {}\n".format, names, values),
    st.sampled_from(["\n", "# [build]\n", "# command\r\n"]),
)


@given(st.lists(lines, max_size=8).map("".join))
def test_nothing_but_what_is_wanted_changes(text: str) -> None:
    """Whatever the file looks like: the edit is right, or there is none."""
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    build = before.get("build", {})
    if not isinstance(build, dict) or "k" not in build:
        try:
            after = add_key(text, ["build"], "k", "v")
        except NoPlaceError:
            return
        assert tomllib.loads(after) == before | {"build": before.get("build", {}) | {"k": "v"}}
        assert len(after) > len(text)
        rest = iter(after)
        assert all(letter in rest for letter in text)
