"""What is kept of an error: its class, its message without secrets, the developer's line."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import usher
from tests.domain.decide_support import event
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.events import EventName, is_text
from usher.core.domain.failures import (
    AT,
    ERROR,
    MAX_MESSAGE,
    Failure,
    in_words,
    one_line,
    personal_texts,
    shown,
)
from usher.core.domain.policy import Applicant, Reason, Verdict
from usher.core.errors import DatabaseError, PolicyError
from usher.core.faults import cause, failure_of, in_full

HERE = Path(__file__)
SOMEBODY = Applicant(
    EventName.SIGNUP, UUID(int=0), UUID(int=1), "a@b.example", "a@b.example", "b.example",
    True, "email", {},
)  # fmt: skip

HIDDEN = [
    ("no plan for ada@example.com", "no plan for [address]"),
    ("KeyError: 'Ada.Lovelace+x@mail.example.co.uk'", "KeyError: '[address]'"),
    ("<ada@example.com>, bob@münchen.example;", "<[address]>, [address];"),
    ("ada@localhost", "[address]"),
    (
        "connect postgresql://usher:hunter2secret@db/usher failed",
        "connect postgresql://[hidden]@db/usher failed",
    ),
    (
        "bad eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0123.c2lnbmF0dXJlLXNpZw here",
        "bad [hidden] here",
    ),
    ("password=hunter2 user=ada", "password=[hidden] user=ada"),
    ("{'api_key': 'k-1'}", "{'api_key': [hidden]"),
    ("Authorization: Bearer abc", "Authorization: Bearer [hidden]"),
    ("0123456789abcdef0123456789abcdef is short", "[hidden] is short"),
    ("of 5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51", "of 5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51"),
    ("a_name_of_a_function_that_is_long", "a_name_of_a_function_that_is_long"),
    ("No such customer: sk_live_4eC39HqLyjWDarjtT1zd", "No such customer: sk_live_[hidden]"),
    ("sk_live_ABCDEFGHijklMNOP, whsec_abcd/EFGH+ijkl=", "sk_live_[hidden], whsec_[hidden]"),
    (f"invalid key AKIA{'IOSFODNN7EXAMPLE'} for us", "invalid key [hidden] for us"),
    ("no customer cus_NffrFeUfNV2Hib", "no customer cus_[hidden]"),
    ("in test_handlers_2024.py, of v1_beta_2", "in test_handlers_2024.py, of v1_beta_2"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [hidden]"),
    ('bounced: "ada b"@example.com', "bounced: [address]"),
    (
        "too many retries with url: /v1/find?email=ada%40example.com&key=abc (by proxy)",
        "too many retries with url: /v1/find?[hidden] (by proxy)",
    ),
    ("GET https://crm.example/people/ada%40example.com/", "GET https://crm.example/people/[address]/"),
    ("why? a=b", "why? a=b"),
    ("call +43 660 123-45-67, or 06601234567", "call [number], or [number]"),
    ("card 4242 4242 4242 4242 declined", "card [number] declined"),
    ("at 2026-11-28T12:42:19.663776Z, port 5432", "at 2026-11-28T12:42:19.663776Z, port 5432"),
    ("plain words, 12 > 3", "plain words, 12 > 3"),
    ("two\nlines\tand a \x00 \x1b[31m", "two lines and a [31m"),
    ("half \ud83d a pair", "half � a pair"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("message", "kept"), HIDDEN)
def test_c2_a_message_shows_no_secret_and_no_address(message: str, kept: str) -> None:
    """Nor anything that a database cannot store or a terminal should not see."""
    assert shown(message) == kept


PERSONAL = [
    ({"full_name": "Ada Lovelace"}, "no customer Ada Lovelace", "no customer [personal]"),
    ({"full_name": "Ada Lovelace"}, "Mrs LOVELACE: unknown", "Mrs [personal]: unknown"),
    ({"name": {"first": "Ada", "nick": ["Countess"]}}, "ada, countess", "[personal], [personal]"),
    ({"name": "李明"}, "客户 李明 不存在", "客户 [personal] 不存在"),
    ({"name": "Al"}, "Al is an all too short name", "Al is an all too short name"),
    ({"bio": "one two three four five six"}, "three words", "three words"),
    ({"bio": "one two  three four five six"}, "x: one two three four five six", "x: [personal]"),
    ({"born": 19_851_210, "n": 12, "ok": True}, "19851210 True 12", "[personal] True 12"),
    ("ada.lovelace@example.com", "user ada.lovelace of [x]", "user [personal] of [x]"),
    ({"name": "Ada.*(", "x": None}, "Ada.*( and Ada", "[personal] and Ada"),
    ({"plan": "gold"}, "golden", "golden"),
]  # fmt: skip


@pytest.mark.parametrize(("wrote", "message", "kept"), PERSONAL)
def test_a_message_shows_nothing_that_the_person_wrote(
    wrote: object, message: str, kept: str
) -> None:
    """Names above all, which look like any other words."""
    assert shown(message, personal_texts(wrote)) == kept


def test_of_many_texts_the_longest_are_hidden() -> None:
    """A person may write thousands; the look at a message stays short."""
    texts = {f"{'x' * number}y" for number in range(3, 300)}
    assert shown(f"{'x' * 299}y {'x' * 3}y", texts) == "[personal] xxxy"


@given(st.text(), st.text())
def test_c2_whatever_the_message_is_it_can_be_stored(before: str, after: str) -> None:
    """Bounded, on one line, and without the address in the middle."""
    kept = shown(f"{before} ada.canary@example.com {after}")
    assert is_text(kept)
    assert len(kept) <= MAX_MESSAGE
    assert kept == "".join(kept.splitlines())
    assert "canary" not in kept


def test_c2_a_long_message_is_cut_and_no_half_address_is_left() -> None:
    """Where it is cut, half an address would not be known as one."""
    assert len(shown("x " * 5_000_000)) == MAX_MESSAGE
    for length in range(3_980, 4_001):
        assert "canary" not in shown(
            "a@b.example " * 300 + "x" * (length - 3_600) + " canary@x.org"
        )
    assert shown("x" * 10_000) == ""


def raised(work: Callable[[], Any]) -> Exception:
    """What this raises."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - that is the point
        return error
    raise AssertionError("raised nothing")


def evaluated(function: Callable[[Applicant], Any]) -> Exception:
    """What a callable policy of this function raises."""
    return raised(lambda: CallablePolicy("rules:decide", function).evaluate(SOMEBODY))


def line_of(text: str) -> int:
    """The number of the line of this file that ends so."""
    lines = HERE.read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if line.endswith(text)]
    return number


def fails(_applicant: Applicant) -> Verdict:
    """A policy whose own line fails."""
    raise LookupError("nothing for a@b.example")  # here it fails


def fails_in_a_library(_applicant: Applicant) -> Verdict:
    """A policy that hands nonsense to the standard library."""
    json.loads("{")  # here it asks
    return Verdict()


def answers_nonsense(_applicant: Applicant) -> Any:  # here nonsense begins
    """A policy that returns no verdict."""
    return "yes"


@functools.wraps(answers_nonsense)
def wrapped(applicant: Applicant) -> Any:
    """The same behind a decorator."""
    return answers_nonsense(applicant)


class Answering:
    """The same as an object."""

    def __call__(self, _applicant: Applicant) -> Any:  # here an object begins
        """Return no verdict."""
        return "yes"


@pytest.mark.parametrize(
    ("screen", "error", "line"),
    [
        (fails, "LookupError", "# here it fails"),
        (answers_nonsense, "PolicyError", "# here nonsense begins"),
        (wrapped, "PolicyError", "# here nonsense begins"),
    ],
)
def test_c2_a_screens_own_line_is_named_too(
    screen: Any, error: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of the callable that decides, with the whole traceback for the developer."""
    monkeypatch.chdir(HERE.parent.parent)
    policy = CallablePolicy("rules:rules", lambda _: Verdict(), screen)
    found = raised(lambda: policy.screen(event("signup"), Verdict()))
    failure = failure_of(found)
    assert (failure.error, failure.file, failure.line) == (
        error, "domain/test_failures.py", line_of(line),
    )  # fmt: skip
    assert f'File "{HERE}", line {line_of(line)}' in in_full(found)


@pytest.mark.parametrize(
    ("policy", "error", "message", "line"),
    [
        (fails, "LookupError", "nothing for [address]", "# here it fails"),
        (fails_in_a_library, "JSONDecodeError", None, "# here it asks"),
        (answers_nonsense, "PolicyError", None, "# here nonsense begins"),
        (wrapped, "PolicyError", None, "# here nonsense begins"),
        (functools.partial(answers_nonsense), "PolicyError", None, "# here nonsense begins"),
        (Answering(), "PolicyError", None, "# here an object begins"),
    ],
)
def test_c2_the_developers_own_line_is_named(
    policy: Any, error: str, message: str | None, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost that is neither ours nor a library's; relative below the working folder."""
    monkeypatch.chdir(HERE.parent.parent)
    failure = failure_of(evaluated(policy))
    assert (failure.error, failure.file, failure.line) == (
        error, "domain/test_failures.py", line_of(line),
    )  # fmt: skip
    assert message is None or failure.message == message


def test_c2_a_file_elsewhere_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working folder says nothing about it, nor one that is gone."""
    monkeypatch.chdir(tmp_path)
    assert failure_of(evaluated(fails)).file == str(HERE)
    tmp_path.rmdir()
    assert failure_of(evaluated(fails)).file == str(HERE)


def test_c2_a_policy_in_c_has_no_line() -> None:
    """It has no code of Python's; what was raised, or answered, is named all the same."""
    compiled: Any = len
    assert failure_of(evaluated(compiled)).error == "TypeError"
    nonsense = evaluated(str)
    assert isinstance(nonsense, PolicyError)
    assert nonsense.at is None


def test_c2_a_fault_of_ours_names_our_line() -> None:
    """Relative to where Usher is installed."""
    error = raised(lambda: usher.core.strict_json.dumps(object()))
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    failure = failure_of(error)
    assert failure.file == "usher/core/strict_json.py"
    assert failure.line > 0


def test_c2_an_error_without_a_traceback_names_no_line() -> None:
    """Nothing is made up."""
    failure = failure_of(ValueError("x"))
    assert (failure.file, failure.line, failure.place) == ("", 0, "")
    assert failure.reasons == (Reason(ERROR, "ValueError: x"),)
    assert Failure("KeyError", "", "", 0).reasons == (Reason(ERROR, "KeyError"),)


def test_c2_a_line_that_belongs_to_no_file_is_passed_over() -> None:
    """Such as that of code in a text; if there is no other, it is named."""
    error = raised(lambda: exec("1 / 0"))
    assert failure_of(error).file.endswith("test_failures.py")
    while error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        error.__traceback__ = error.__traceback__.tb_next
    assert failure_of(error).place == "<string>:1"


def test_c2_a_syntax_error_names_its_own_line(tmp_path: Path) -> None:
    """That of the file that does not parse."""
    path = tmp_path / "rules.py"
    path.write_text("def decide(:\n")
    error = raised(lambda: compile(path.read_text(), str(path), "exec"))
    assert failure_of(error).place == f"{path}:1"


def test_c2_an_exception_that_cannot_be_printed_has_no_message() -> None:
    """Its __str__ is the developer's code, too."""

    class OddError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert failure_of(OddError()).message == ""


def test_c2_the_cause_is_what_the_policy_raised() -> None:
    """And not that it raised."""
    assert isinstance(cause(evaluated(fails)), LookupError)
    assert isinstance(cause(evaluated(answers_nonsense)), PolicyError)


def test_c2_the_whole_traceback_is_for_the_developer() -> None:
    """Of what was raised; of an answer that is no verdict, where the policy stands."""
    told = in_full(evaluated(fails))
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("LookupError: nothing for a@b.example")
    assert f'File "{HERE}", line {line_of("# here it fails")}, in fails' in told
    nonsense = in_full(evaluated(answers_nonsense))
    assert nonsense.startswith(f'  File "{HERE}", line {line_of("# here nonsense begins")}')
    assert in_full(DatabaseError("away")) == ""
    assert in_full(ValueError("ours")) == "ValueError: ours"


def test_a_person_may_end_a_command_while_a_policy_runs() -> None:
    """Ctrl-C is no fault of the policy's."""

    def ended(_applicant: Applicant) -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CallablePolicy("rules:decide", ended).evaluate(SOMEBODY)


def test_a_failure_in_words_and_for_the_log() -> None:
    """For lists, and as fields."""
    failure = Failure("KeyError", "'x'", "rules.py", 7)
    assert (
        in_words((Reason("body.not_kept", ""), *failure.reasons)) == "KeyError: 'x' at rules.py:7"
    )
    assert failure.fields() == {
        "error": "KeyError", "message": "'x'", "file": "rules.py", "line": 7,
    }  # fmt: skip
    assert failure.reasons[1] == Reason(AT, "rules.py:7")
    assert one_line("a\r\nb\x00c") == "a b c"
