"""A site that takes events while it is killed; what it committed, and what its consumers were told.

The truth is the audit: each change that an entry of it makes was committed, and no other was.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psutil
import urllib3
from msgspec import Struct, json
from msgspec.structs import replace
from sqlalchemy import func, select, update

from tests.pipeline.outbox_support import Open, World
from tests.receivers import Receiver
from tests.server.outages import now
from tests.server.outbox_site import LOOPBACK, Site
from tests.server.waiting import until
from tests.support import Clock, Server, Signed, account, signed
from usher.core.domain.outbox import changes_of
from usher.core.errors import DatabaseError
from usher.core.store.audit import to_entry
from usher.core.store.tables import AUDIT, CONSUMERS
from usher.emulator.payload import Account
from usher.server.outbox_lease import FILE, lease_of

HANDLERS = ("quick", "thorough")
PEOPLE = 4
"""One in each shard."""
_HOOKS = """
import json, os, random, time
from usher import Change, after

def note(name, change):
    what = [str(change.user.id), change.sequence, change.kind, change.role, change.id]
    file = os.open(FOLDER + "/" + name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, json.dumps([*what, os.getcwd()]).encode() + b"\\n")
    os.close(file)

@after("*", name="quick", seconds=1)
def quick(change: Change) -> None:
    note("quick", change)

@after("*", name="thorough", seconds=1)
def thorough(change: Change) -> None:
    note("thorough", change)
    time.sleep(random.uniform(0, 0.03))
"""


class Told(Struct, frozen=True):
    """One change: of whom, from which entry of the audit, and with which key."""

    user_id: str
    sequence: int
    kind: str
    role: str
    id: str


class RealClock(Clock):
    """The time that servers have."""

    def __call__(self) -> Any:
        return now()


class KilledSite:
    """People who log in again and again, an administrator, two handlers and a sink.

    Args:
        start: starts a server in a folder.

    Attributes:
        acknowledged: how many events of each person were answered with 200.
        kills: of which processes.
    """

    def __init__(self, url: str, folder: Path, start: Callable[..., Server], receiver: Receiver):
        site = Site(url)  # whose people came an hour ago
        self.app = site.app
        self.acknowledged: Counter[UUID] = Counter()
        self.kills: Counter[str] = Counter()
        self.server: Server
        self._url = url
        self._folder = folder
        self._start = start
        self._receiver = receiver
        self._world = World(self.app.store.database, RealClock())
        self._stop = Event()
        self._people = [
            account(user_id=UUID(int=(n << 126) + 2 + n), email=f"p{n}@example.com")
            for n in range(PEOPLE)
        ]
        site.welcome(self._people)
        sink, _ = self.app.sinks.add(f"http://127.0.0.1:{receiver.port}/", ["*"], "cli:ada")
        self.consumers = {*(f"handler:{name}" for name in HANDLERS), sink.consumer}
        with self.app.store.database.read() as transaction:
            newest = select(func.max(AUDIT.c.sequence))
            self._begin: int = transaction.sql.execute(newest).scalar_one()
        senders = [Thread(target=self._log_in, args=(each,)) for each in self._people]
        self._threads = [*senders, Thread(target=self._administrate)]

    # --- servers ------------------------------------------------------------------------------

    def begin(self, name: str = "server") -> Server:
        """Start a server in a folder of its own, or in that of one before."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        hooks = _HOOKS.replace("FOLDER", repr(str(self._folder)))
        (folder / "site_hooks.py").write_text(hooks)
        handlers = {"USHER_HANDLERS": "site_hooks", "USHER_SINK_NETWORKS": LOOPBACK}
        return self._start(self._url, folder=folder, **handlers)

    def all_begin(self) -> None:
        """Start the server, wait until each consumer has begun, and let people in."""
        self.server = self.begin()
        names = select(CONSUMERS.c.name).distinct()

        def begun() -> set[str]:
            with self.app.store.database.read() as transaction:
                return set(transaction.sql.execute(names).scalars())

        until(lambda: begun() == self.consumers)
        for each in self._threads:
            each.start()

    def kill(self, what: str) -> None:
        """Kill -9 one kind of process, once there is one; a server is started again."""
        if what == "server":
            self.server.kill()
        else:
            until(lambda: self.attend() and kill_one(processes(self.server)[what]))
        self.kills[what] += 1
        if what in ("master", "server"):
            self.server.process.wait()
        self.attend()

    def attend(self) -> bool:
        """Start a server that has ended, as a service manager does; return that it runs.

        It ends by itself where workers end again and again.
        """
        if self.server.process.poll() is not None:
            self.server = self.begin()
        return True

    def more(self) -> None:
        """Wait until more is handed over."""
        before = len(self.notes("thorough"))
        until(lambda: self.attend() and len(self.notes("thorough")) > before)

    def everything_is_told(self) -> None:
        """Wait as long as less and less is missing; then all of it must be right."""
        self.stop()
        while missing := self.missing():
            until(lambda: self.attend() and self.missing() < missing, 0.5)
        self.is_right()
        print(self.figures())
        self.server.stop()
        until(lambda: not left_in(self._folder), 0.5)

    def kill_with_leases(self) -> set[tuple[str, int]]:
        """Kill the server while it has parts of the work; return them: consumers and shards."""
        [runner] = processes(self.server)["runner"]
        while True:
            runner.suspend()
            time.sleep(0.1)  # a transaction that was sent ends
            if self.held("server"):
                self.kills["server"] += 1
                self.server.kill()
                return self.held("server")
            runner.resume()
            time.sleep(0.05)

    def held(self, name: str) -> set[tuple[str, int]]:
        """The parts of the work that a server has the leases of, by its folder."""
        parts = select(CONSUMERS.c.name, CONSUMERS.c.shard)
        mine = parts.where(CONSUMERS.c.lease == self._lease(name))
        with self.app.store.database.read() as transaction:
            return {(row.name, row.shard) for row in transaction.sql.execute(mine)}

    def _lease(self, name: str) -> UUID:
        with (self._folder / name / ".usher-spool" / FILE).open("rb") as file:
            return lease_of(file)

    def end_leases(self, name: str) -> None:
        """Let the leases of a server end now, as if they had been shorter."""
        mine = update(CONSUMERS).where(CONSUMERS.c.lease == self._lease(name))
        with self.app.store.database.write() as transaction:
            transaction.sql.execute(mine.values(lease_until=now()))

    def stop(self) -> None:
        """Nobody comes any more."""
        self._stop.set()
        for each in self._threads:
            if each.is_alive():
                each.join()

    # --- what happens -------------------------------------------------------------------------

    def sign_up(self) -> None:
        """Somebody new comes, whose changes wait for twenty seconds."""
        who = account(email=f"{uuid4().hex}@example.com", at=now())
        delivery = signed("signup", who, at=now())
        until(lambda: self.attend() and self._post(delivery))

    def _log_in(self, who: Account) -> None:
        """Again and again, each time with other metadata; what is not answered is sent again."""
        number = 0
        while not self._stop.wait(random.uniform(0.1, 0.5)):
            number += 1
            new = replace(who, user_metadata={"n": number}, updated_at=now())
            delivery = signed("login", new, at=now())
            while not (done := self._post(delivery)) and not self._stop.wait(0.05):
                pass
            if done:
                self.acknowledged[who.id] = number

    def _post(self, delivery: Signed) -> bool:
        """Whether the server takes it, which may just be killed."""
        with suppress(urllib3.exceptions.HTTPError):
            return self.server.post(delivery).status == 200
        return False

    def _administrate(self) -> None:
        """Transactions from elsewhere, which last; every other one is rolled back in the end."""
        turns = 0
        while not self._stop.wait(0.4):
            turns += 1
            with suppress(DatabaseError), self.app.store.database.write() as transaction:
                self._world.do(Open(transaction, {}, [], {}), uuid4())
                self._stop.wait(random.uniform(0, 0.1))
                if turns % 2:
                    transaction.rollback()

    # --- what must hold -----------------------------------------------------------------------

    def committed(self) -> list[Told]:
        """The changes of the audit, in order."""
        entries = select(AUDIT).where(AUDIT.c.sequence > self._begin).order_by(AUDIT.c.sequence)
        with self.app.store.database.read() as transaction:
            rows = [to_entry(row) for row in transaction.sql.execute(entries)]
        return [
            Told(str(each.user.id), each.sequence, each.kind, each.role, each.id)
            for entry in rows
            for each in changes_of(entry)
        ]

    def told(self) -> dict[str, list[Told]]:
        """What each consumer was handed over, in the order in which it came."""
        found = {name: [Told(*line[:5]) for line in self.notes(name)] for name in HANDLERS}
        sink = found["sink"] = []
        for came in tuple(self._receiver.came):
            body = json.decode(came.body)
            data = body["data"]
            key = came.headers["webhook-id"]
            assert key == data["id"]
            role = data.get("role") or ""
            sink.append(Told(data["user_id"], data["sequence"], body["type"], role, key))
        return found

    def notes(self, name: str) -> list[list[Any]]:
        """The lines of a handler; the last part is the folder of its server."""
        path = self._folder / name
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [json.decode(line) for line in lines]

    def servers(self) -> set[str]:
        """The servers, by their folders, that have handed something over."""
        return {Path(line[-1]).name for line in self.notes("thorough")}

    def missing(self) -> int:
        """How many hand-overs are still to come."""
        committed = set(self.committed())
        return sum(len(committed - set(told)) for told in self.told().values())

    def is_right(self) -> None:
        """Each consumer was told all that was committed, in order per person, and nothing else."""
        right = by_person(self.committed())
        for name, told in self.told().items():
            found = by_person(dict.fromkeys(told))
            wrong = [
                (each, right.get(who)) for who, each in found.items() if each != right.get(who)
            ]
            assert not wrong, f"{name} was told, and should have been: {wrong[0]}"
            assert set(found) == set(right), name
        for who, number in self.acknowledged.items():
            assert self.app.store.users.get(who).user_metadata["n"] >= number

    def figures(self) -> str:
        """What happened, in numbers."""
        told = {name: (len(each), len(each) - len(set(each))) for name, each in self.told().items()}
        changes = len(self.committed())
        again = ", ".join(f"{name}: {all_} ({twice} again)" for name, (all_, twice) in told.items())
        return f"killed {dict(self.kills)}; {changes} changes; handed over: {again}"


def by_person(told: Iterable[Told]) -> dict[str, list[Told]]:
    """The changes of each person, in order."""
    found: dict[str, list[Told]] = defaultdict(list)
    for each in told:
        found[each.user_id].append(each)
    return found


def left_in(folder: Path) -> list[psutil.Process]:
    """The processes that work in a folder, or below it; zombies do not."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(each.cwd()).is_relative_to(folder):
                found.append(each)
    return found


def kill_one(found: list[psutil.Process]) -> bool:
    """Kill one of these processes; return whether there was one."""
    with suppress(psutil.NoSuchProcess):
        if found:
            random.choice(found).kill()
            return True
    return False


def processes(server: Server) -> dict[str, list[psutil.Process]]:
    """The processes of a server by kind, as far as there are any now."""
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    with suppress(psutil.NoSuchProcess):
        master = psutil.Process(server.process.pid)
        found["master"].append(master)
        for child in master.children():
            command = child.cmdline()
            if "usher.server.outbox_process" in command:
                found["runner"].append(child)
                found["handler"] += child.children()
            elif "serve" in command:
                found["worker"].append(child)
    return found
