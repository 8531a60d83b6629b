"""The walk over the findings of ``usher doctor``: each is made, its advice followed, asked again.

A case is a generator. It makes the finding, yields the values of the settings that the advice
names, does by hand what the advice says in words, and, where something is left to be done after the
advice's commands, yields once more.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.cli.conftest import Program
from tests.emulator.world import MOUNT, OPERATOR, World, world
from tests.stub import Answer, Stub
from tests.stub import serving as serving_stub
from tests.support import free_port
from usher.cli.checks import doctor
from usher.core.app import App, utc_now
from usher.emulator.accounts import Record
from usher.emulator.server import serving
from usher.emulator.store import Work
from usher.functions._shared.http import Request, Response

Settings = Mapping[str, str]
Steps = Iterator[Settings]


@dataclass
class Walk:
    """The program, its folder, and what a case may need.

    Attributes:
        codes: exit codes that a command of the advice may have.
        pretended: commands that cannot be run here, by their first word, and what stands for them.
        doctor: the command that finds.
    """

    program: Program
    folder: Path
    patch: pytest.MonkeyPatch
    request: pytest.FixtureRequest
    stack: ExitStack
    codes: tuple[int, ...] = (0, 3, 4)
    pretended: dict[str, Callable[[], object]] = field(default_factory=dict)
    doctor: tuple[str, ...] = ("doctor",)

    def ask(self) -> dict[str, dict[str, Any]]:
        """The findings by key, without those that are well."""
        found = json.loads(self.program(*self.doctor, "--json", code=(0, 1)).stdout)
        return {each["key"]: each for each in found if not each["well"]}

    def set(self, name: str, value: str) -> None:
        """A setting, as in the environment; an empty one is removed."""
        if value:
            self.patch.setenv(name, value)
        else:
            self.patch.delenv(name, raising=False)

    def run(self, command: str) -> None:
        """A command of the advice, letter by letter; a question is answered with yes."""
        first, *rest = shlex.split(command)
        if first in self.pretended:
            self.pretended[first]()
        elif first == "usher":
            self.program(*rest, code=self.codes, input="y\n")
        else:
            assert first in {"chmod", "git", "mkdir", "mv"}, command
            subprocess.run([first, *rest], check=True, capture_output=True)

    def postgresql(self) -> str:
        """The program on PostgreSQL; the URL."""
        url: str = self.request.getfixturevalue("postgresql_url")
        self.set("USHER_DATABASE_URL", url)
        return url

    def moved(self, delta: timedelta) -> Callable[[], datetime]:
        """A clock that is so far off."""
        return lambda: utc_now() + delta

    def ask_at(self, delta: timedelta) -> None:
        """The doctor has this clock from now on."""
        self.patch.setattr(doctor, "App", partial(App, clock=self.moved(delta)))

    def serve(self, answer: Callable[[str, bytes], Answer]) -> Stub:
        """A server that answers by path and body."""
        return self.stack.enter_context(serving_stub(lambda _n, path, _h, body: answer(path, body)))

    def identity(self) -> Identity:
        """An Identity of its own, by whose operator token the program reaches it."""
        found = Identity(self)
        found.start()
        self.set("USHER_IDENTITY_URL", found.url)
        self.set("USHER_IDENTITY_ADMIN_TOKEN", OPERATOR)
        return found


class Identity:
    """The emulator over HTTP, started and stopped."""

    def __init__(self, walk: Walk) -> None:
        folder = walk.folder / uuid4().hex
        folder.mkdir()
        self.walk = walk
        self.world: World = walk.stack.enter_context(world(folder, clock=utc_now))
        self.answer: Callable[[Request], Response | None] = lambda _: None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{MOUNT}"
        self._up = walk.stack.enter_context(ExitStack())

    def start(self) -> None:
        """It is there."""
        self._up.enter_context(serving(self.handle, self.port))

    def stop(self) -> None:
        """It is away."""
        self._up.close()

    def handle(self, request: Request) -> Response:
        """A request; ``answer`` may spoil it."""
        return self.answer(request) or self.world.emulator.handle(request)

    def fill(self, count: int, **fields: Any) -> list[UUID]:
        """So many accounts of people without a record here."""
        work, ids = Work(), []
        for number in range(count):
            at = datetime.fromisoformat("2026-01-01T00:00:00Z") + timedelta(seconds=number)
            values: dict[str, Any] = {
                "email": f"user{number}@example.com",
                "app_metadata": {"provider": "email", "roles": ["member", "staff"]},
                "user_metadata": {},
                "confirmed_at": at,
                "confirmation_sent_at": at,
            }
            ids.append(uuid4())
            record = values | fields
            work.create(Record(id=ids[-1], aud="", created_at=at, updated_at=at, **record))
        self.world.emulator._instance.store.commit(work)
        return ids

    def bob(self) -> UUID:
        """Somebody with an account there and a record here."""
        user_id = UUID(self.world.member("bob@example.com"))
        self.walk.program.deliver("signup", "bob@example.com", user_id=user_id)
        roles = {"app_metadata": {"roles": ["member", "staff"]}}
        assert self.world.admin("PUT", f"/admin/users/{user_id}", roles).status == 200
        return user_id

    def delete(self, user_id: UUID) -> None:
        """An account is gone; no event says so."""
        assert self.world.admin("DELETE", f"/admin/users/{user_id}").status == 200

    def bridge(self) -> Callable[[str, bytes], Answer]:
        """What the bridge on Netlify does, signatures apart."""

        def answer(_path: str, body: bytes) -> Answer:
            call = json.loads(body)
            found = self.world.admin(call["method"], call["path"], call["body"])
            headers = {name.lower(): value for name, value in found.headers.items()}
            return bridged(found.status, found.text, headers)

        return answer


def bridged(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of Identity in the bridge's form."""
    document = {"status": status, "headers": headers or {}, "body": text}
    return 200, {}, json.dumps(document).encode()


def refused(status: int, code: str) -> Answer:
    """A refusal of the bridge."""
    document = {"status": status, "headers": {}, "body": json.dumps({"code": code})}
    return status, {}, json.dumps(document).encode()


@dataclass(frozen=True)
class Case:
    """One cause of one finding.

    Attributes:
        leaves: other findings that may be there afterwards, since they have an advice of their own.
    """

    key: str
    cause: int
    steps: Callable[[Walk], Steps]
    leaves: frozenset[str]

    def __str__(self) -> str:
        return f"{self.key}-{self.cause}-{self.steps.__name__}"


CASES: list[Case] = []


def case(
    key: str, *causes: int, leaves: tuple[str, ...] = ()
) -> Callable[[Callable[[Walk], Steps]], Callable[[Walk], Steps]]:
    """A case for these causes of a finding, by their places in its advice."""

    def keep(steps: Callable[[Walk], Steps]) -> Callable[[Walk], Steps]:
        CASES.extend(Case(key, cause, steps, frozenset(leaves)) for cause in causes or (0,))
        return steps

    return keep


def follow(at: Walk, made: Case) -> None:
    """Make the finding, read its advice, follow it, and ask again."""
    steps = made.steps(at)
    values = next(steps)
    before = at.ask()
    assert made.key in before, before
    advice = before[made.key]["advice"][made.cause]
    printed = " ".join(at.program(*at.doctor, code=(0, 1)).stdout.split())
    for said in (advice["cause"], advice["mend"], *advice["commands"]):
        assert " ".join(said.split()) in printed
    assert set(values) == set(advice["settings"])
    assert all(name in advice["mend"] for name in values)
    for name, value in values.items():
        at.set(name, value)
    again = next(steps, None)
    for command in advice["commands"]:
        at.run(command)
    if again is not None:
        assert not again
        assert next(steps, None) is None
    left = at.ask()
    assert left.keys() <= made.leaves, left
