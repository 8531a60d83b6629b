"""Handlers: how they are found in modules and called, and all that may be wrong with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import structs

import usher
from tests.support import NOON, ROOT, clean_environment
from usher import Change, Person, Write, after
from usher.core.domain.outbox import Kind
from usher.core.errors import HandlersError
from usher.core.outbox.calls import OverdueError, call
from usher.core.outbox.consumer import Done, Failed
from usher.core.outbox.handlers import Handler, load_handlers

CHANGE = Change(
    id="chg_1", kind=Kind.USER_CONFIRMED, at=NOON, instance_id=UUID(int=1),
    user=Person(id=UUID(int=2), email="ada@example.com"),
)  # fmt: skip
HEAD = "from usher import Change, Write, after\n"
Module = Callable[..., str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module into the working folder, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    names: list[str] = []

    def write(text: str, name: str = "") -> str:
        name = name or f"hooks_{abs(hash((text, str(tmp_path))))}"
        Path(f"{name}.py").write_text(HEAD + text)
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def handled(function: Callable[[Change], object]) -> Done | Failed:
    """A call of a function as a handler."""
    return call(Handler("f", frozenset("*"), 30, function), CHANGE)


def test_marked_functions_are_found_in_their_order(module: Module) -> None:
    """With the name of module and function, unless they have another."""
    name = module(
        "@after('user.confirmed', 'role.*')\n"
        "def first(change: Change) -> None: ...\n"
        "def other(change: Change) -> None: ...\n"
        "@after('*', name='second', seconds=5)\n"
        "async def later(change: Change) -> Write: ...\n"
        "again = first\n"
    )
    first, second = load_handlers([name])
    assert (first.name, first.patterns) == (f"{name}.first", {"user.confirmed", "role.*"})
    assert (second.name, second.patterns, second.seconds) == ("second", {"*"}, 5)


def test_a_handler_that_another_module_imports_counts_once(module: Module) -> None:
    """Under the name of the module in which it stands."""
    one = module("@after('*')\ndef f(change: Change) -> None: ...\n")
    other = module(f"from {one} import f\n")
    assert [each.name for each in load_handlers([one, other])] == [f"{one}.f"]


def test_after_only_marks() -> None:
    """A test of one's own calls the function as any other."""

    @after("user.confirmed")
    def f(change: Change) -> Write:
        return Write(grant=(change.id,))

    assert f(CHANGE) == Write(grant=("chg_1",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_at_all\n", ": No module named 'nowhere_at_all' at NAME.py:2."),
        ("1 / 0\n", "NAME cannot be imported: ZeroDivisionError: division by zero at NAME.py:2."),
        ("raise SystemExit\n", "NAME cannot be imported: SystemExit at NAME.py:2."),
        ("def (:\n", "NAME cannot be imported: SyntaxError: invalid syntax"),
        ("def f(change): ...\n", "NAME has no function with @after."),
        ("@after\ndef f(change): ...\n",  '@after needs the kinds of changes: @after("user.c'),
        ("@after('*')\n@after('*')\ndef f(change): ...\n", "TypeError: @after stands there twice"),
        ("@after()\ndef f(change): ...\n", "NAME.py:2: @after names no kind of changes"),
        ("@after('user.confirm')\ndef f(change): ...\n",
         "NAME.py:2: there is no kind 'user.confirm'; did you mean 'user.confirmed'?"),
        ("@after('users.*')\ndef f(change): ...\n", "; did you mean 'user.*'?\n"),
        ("@after('zzz')\ndef f(change): ...\n", "there is no kind 'zzz': there are user.created,"),
        ("@after(7)\ndef f(change): ...\n", "NAME.py:2: 7 is no kind of changes."),
        ("@after('*')\ndef f(): ...\n", "NAME.py:2: a handler takes one argument, the Change."),
        ("@after('*')\ndef f(a, b): ...\n", "a handler takes one argument, the Change."),
        ("@after('*')\ndef f(change): yield\n", "a handler cannot yield: it would never run."),
        ("@after('*')\nasync def f(change): yield\n", "a handler cannot yield"),
        ("@after('*', seconds=0)\ndef f(change): ...\n", "more than 0 and at most 600, not 0."),
        ("@after('*', seconds=601)\ndef f(change): ...\n", "at most 600, not 601."),
        ("@after('*', seconds='5')\ndef f(change): ...\n", "seconds must be a number, not '5'."),
        ("@after('*', seconds=True)\ndef f(change): ...\n", "a number, not True."),
        ("@after('*', name='a b')\ndef f(change): ...\n", "'a b' is none."),
        ("f = after('*')(lambda change: None)\n", "<lambda>' is none."),
        ("@after('*', name='x')\ndef f(change): ...\n@after('*', name='x')\ndef g(change): ...\n",
         'NAME.py:4: another handler is named x, too: give one a name="…".'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_module_is_said_with_its_place(
    text: str, said: str, module: Module
) -> None:
    """A sentence for people: where it is, and what to write there."""
    name = module(text)
    with pytest.raises(HandlersError) as caught:
        load_handlers([name])
    assert said.replace("NAME", name) in f"{caught.value.detail}\n"


def test_every_mistake_is_told_at_once(module: Module) -> None:
    """Of all modules."""
    names = [module("1 / 0\n"), module("@after('x', seconds=0)\ndef f(change): ...\n"), "no.where"]
    with pytest.raises(HandlersError) as caught:
        load_handlers(names)
    assert len(caught.value.problems) == 4
    assert caught.value.problems[3] == (
        "There is no module no.where, neither in this folder nor among the packages."
    )


def test_a_function_in_c_is_taken(module: Module) -> None:
    """Nobody can tell how many arguments it takes."""
    name = module("import functools\nf = after('*', name='f')(functools.partial(dict))\n")
    assert [each.name for each in load_handlers([name])] == ["f"]


def test_a_folder_that_is_hidden_by_another_module_of_its_name_is_told() -> None:
    """Python has a module ``site`` of its own."""
    with pytest.raises(
        HandlersError, match=r"no module site\.hooks: site is /\S+site\.py, which is"
    ):
        load_handlers(["site.hooks"])


def test_looking_for_handlers_runs_no_code_of_the_values(module: Module) -> None:
    """A framework's lazy settings would raise, and a mock has any attribute."""
    name = module(
        "from unittest.mock import MagicMock\n"
        "class Lazy:\n"
        "    def __getattr__(self, name): raise RuntimeError(name)\n"
        "lazy, mock = Lazy(), MagicMock()\n"
        "@after('*')\n"
        "def f(change): ...\n"
    )
    assert [each.name for each in load_handlers([name])] == [f"{name}.f"]


def test_the_answer_of_a_handler() -> None:
    """Nothing, or a Write, which is then plain JSON; also where it is awaited."""

    async def awaited(change: Change) -> Write:
        return Write(app_metadata={"id": change.id})

    class Text(str):
        __slots__ = ()

    write = Write(user_metadata={"n": (1, {"a": None})}, grant=[Text("editor")])
    assert handled(lambda _: None) == Done()
    assert handled(awaited) == handled(awaited) == Done(Write(app_metadata={"id": "chg_1"}))
    found = handled(lambda _: write)
    assert found == Done(Write(user_metadata={"n": [1, {"a": None}]}, grant=("editor",)))
    assert isinstance(found, Done)
    assert found.write is not None
    assert [type(role) for role in found.write.grant] == [str]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"app_metadata": {}}, "returned a dict, not a Write or None"),
        (Write(app_metadata={"at": NOON}), "Object of type datetime is not JSON serializable"),
        (Write(app_metadata={1: 2}), "the metadata would have the key 1, which is not a text"),  # type: ignore[dict-item]
        (Write(user_metadata={"x": float("nan")}), "not JSON compliant"),
        (Write(app_metadata={"x": "y" * 70_000}), "the metadata would have 70008 bytes"),
        (Write(app_metadata=[]), "metadata is a dict"),  # type: ignore[arg-type]
        (Write(grant="editor"), "roles are a list of names"),  # type: ignore[arg-type]
        (Write(revoke=(1,)), "roles are a list of names"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_cannot_be_kept_is_a_failure(answer: object, said: str) -> None:
    """It is told at once, not where the record would be written."""
    found = handled(lambda _: answer)
    assert isinstance(found, Failed)
    assert said in found.error


def test_a_failure_is_kept_as_type_message_and_place_without_personal_data(module: Module) -> None:
    """The developer's own line, and no address."""
    name = module(
        "def bill(change): raise ValueError('no customer ' + change.user.email)\n"
        "@after('*')\n"
        "def f(change): bill(change)\n"
    )
    [handler] = load_handlers([name])
    assert call(handler, CHANGE) == Failed(f"ValueError: no customer [address] at {name}.py:2")


SAID = [
    ("{u.email}", "[address]"),
    ("of ada: no such user", "of [personal]: no such user"),
    ("Ada Lovelace, once Byron, has no card", "[personal], once [personal], has no card"),
    ("phone 4366012 is taken", "phone [personal] is taken"),
    ("sk_live_51H8xYzAbCdEfGhI refused, plan gold", "sk_live_[hidden] refused, plan gold"),
    ("x" * 400, "x" * 299 + "…"),
]


@pytest.mark.parametrize(("said", "kept"), SAID)
def test_a_failure_shows_neither_names_nor_addresses_nor_keys(said: str, kept: str) -> None:
    """Nothing of what the person wrote, now or before; what the site wrote is shown."""
    user = structs.replace(
        CHANGE.user,
        user_metadata={"full_name": "Ada Lovelace"},
        profile={"phone": 4_366_012},
        app_metadata={"plan": "gold"},
    )
    before = {"user_metadata": {"full_name": "Ada Byron"}, "status": "refused"}
    change = structs.replace(CHANGE, user=user, before=before)

    def fail(_: Change) -> None:
        raise ValueError(said.format(u=user))

    found = call(Handler("f", frozenset("*"), 30, fail), change)
    assert isinstance(found, Failed)
    assert found.error.startswith(f"ValueError: {kept} at ")
    wrong = call(Handler("f", frozenset("*"), 30, lambda _: Write(app_metadata=Odd())), change)
    assert isinstance(wrong, Failed)
    assert "Lovelace" not in wrong.error


class Odd(Mapping[str, object]):
    """Metadata whose mistake names somebody."""

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise ValueError("Ada Lovelace, ada@example.com")

    def __len__(self) -> int:
        return 1


def test_sys_exit_is_no_more_than_a_failure() -> None:
    """But for want of memory, the alarm and a person at the keyboard the process goes on."""

    def leave(_: Change) -> None:
        sys.exit(3)

    found = handled(leave)
    assert isinstance(found, Failed)
    assert found.error.startswith("SystemExit: 3 at ")
    for fatal in (MemoryError, OverdueError, KeyboardInterrupt):

        def end(_: Change, error: type[BaseException] = fatal) -> None:
            raise error

        with pytest.raises(fatal):
            handled(end)


def test_importing_usher_loads_nothing_else(tmp_path: Path) -> None:
    """A site's modules import it in every process; each name is there, and no other."""
    program = (
        "import sys, usher\n"
        "print(*[name for name in sys.modules if name.startswith('usher')])\n"
        "print(*[getattr(usher, name) is not None for name in usher.__all__])\n"
        "print('sqlalchemy' in sys.modules, 'usher.core.app' in sys.modules)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == ["usher", "True True True True True", "False False"]
    with pytest.raises(AttributeError, match="no attribute 'before'"):
        _ = usher.before
