"""What the database refuses: every event, which then waits in the spool; or one alone.

With a spool, without one, in the handlers as functions, and as the spool is applied; readiness, the
doctor and the log say what is the matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.outage_support import locked
from tests.store.grants import least_privileged, run
from tests.store.store_support import LogLines, deliver, execute
from tests.support import Clock, Signed, account, call, signed
from usher.cli.checks.database import database_findings
from usher.core.app import App, use
from usher.core.domain.codes import NewCodes
from usher.core.domain.records import Outcome
from usher.core.domain.reply import Reply
from usher.core.errors import DatabaseAwayError, NotStorableError
from usher.core.settings import Settings
from usher.core.spool.files import waiting
from usher.core.store import database, readiness
from usher.core.store.drivers import sqlite as sqlite_driver
from usher.server.routes import is_degraded

MakeSettings = Callable[..., Settings]
APP = "usher_app"


@dataclass(frozen=True)
class Fault:
    """One way in which a database refuses.

    Attributes:
        make: statements of an administrator.
        mend: likewise.
        found: what the doctor finds; empty: nothing, for it is about one event.
        said: words of the finding or of the log.
    """

    name: str
    make: str
    mend: str
    found: str = ""
    said: str = ""

    def __str__(self) -> str:
        return self.name


def revoked(right: str, table: str) -> Fault:
    """A grant is taken away and given back."""
    return Fault(
        f"{right} on {table}",
        f"REVOKE {right} ON {table} FROM {APP}",
        f"GRANT {right} ON {table} TO {APP}",
        "database.no_right",
        f"permission denied for table {table}",
    )


def trigger(when: str, body: str, *, constraint: str = "") -> tuple[str, str]:
    """A trigger of theirs, and its end."""
    made = (
        f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$; "
        f"CREATE {constraint} TRIGGER theirs {when} FOR EACH ROW EXECUTE FUNCTION theirs()"
    )
    return made, "DROP FUNCTION IF EXISTS theirs CASCADE"


RAISES = "RAISE EXCEPTION 'not on Sundays';"
DEFERRED = "AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
EVERY_POSTGRESQL = [
    revoked("SELECT", "deliveries"),
    revoked("UPDATE", "users"),
    revoked("INSERT", "grants"),
    revoked("INSERT", "audit"),
    revoked("UPDATE", "counters"),
    revoked("INSERT", "instances"),
    Fault(
        "a sequence",
        f"REVOKE ALL ON SEQUENCE deliveries_sequence_seq FROM {APP}",
        f"GRANT USAGE ON SEQUENCE deliveries_sequence_seq TO {APP}",
        "database.no_right",
        "permission denied for sequence deliveries_sequence_seq",
    ),
    Fault(
        "a role that may not log in",
        f"ALTER ROLE {APP} NOLOGIN",
        f"ALTER ROLE {APP} LOGIN",
        "database.unreachable",
        "not permitted to log in",
    ),
    Fault(
        "read only",
        f"ALTER ROLE {APP} SET default_transaction_read_only = on",
        f"ALTER ROLE {APP} RESET default_transaction_read_only",
        "database.read_only",
        "read-only transaction",
    ),
    Fault(
        "no room",
        *trigger("BEFORE INSERT ON audit", "RAISE disk_full USING MESSAGE = 'could not extend';"),
        "database.full",
        "could not extend",
    ),
    Fault(
        "a column",
        "ALTER TABLE users RENAME COLUMN profile TO theirs",
        "ALTER TABLE users RENAME COLUMN theirs TO profile",
        "database.table_missing",
        'column "profile"',
    ),
    Fault(
        "a table",
        "ALTER TABLE grants RENAME TO theirs",
        "ALTER TABLE theirs RENAME TO grants",
        "database.table_missing",
        'relation "grants" does not exist',
    ),
    Fault(
        "the search path",
        f"ALTER ROLE {APP} SET search_path = elsewhere",
        f"ALTER ROLE {APP} RESET search_path",
        "database.schema",
        "in the schema public",
    ),
    Fault(
        "row level security",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "database.row_security",
        "row-level security policy",
    ),
    Fault("a trigger", *trigger("BEFORE INSERT ON audit", RAISES), "database.failed", "Sundays"),
    Fault(
        "a trigger at the commit",
        *trigger(DEFERRED, RAISES, constraint="CONSTRAINT"),
        "database.failed",
        "Sundays",
    ),
]
BOBS = "IF NEW.email LIKE 'bob%' THEN RAISE EXCEPTION 'no Bobs'; END IF; RETURN NEW;"
ONE_POSTGRESQL = [
    Fault("a trigger", *trigger("BEFORE INSERT ON users", BOBS), said="no Bobs"),
    Fault(
        "a trigger at the commit",
        *trigger(DEFERRED, BOBS, constraint="CONSTRAINT"),
        said="no Bobs",
    ),
    Fault(
        "a check",
        "ALTER TABLE users ADD CONSTRAINT theirs CHECK (email NOT LIKE 'bob%')",
        "ALTER TABLE users DROP CONSTRAINT theirs",
        said='violates check constraint "theirs"',
    ),
    Fault(
        "a check that the trial's row does not pass either",
        "ALTER TABLE users ADD CONSTRAINT theirs CHECK (email LIKE '%@%' AND email !~ 'bob')",
        "ALTER TABLE users DROP CONSTRAINT theirs",
        "database.constraint",
        'violates check constraint "theirs"',
    ),
    Fault(
        "a domain",
        "CREATE DOMAIN theirs AS text CHECK (VALUE NOT LIKE 'bob%'); "
        "ALTER TABLE users ALTER email TYPE theirs",
        "ALTER TABLE users ALTER email TYPE text; DROP DOMAIN theirs",
        said="violates check constraint",
    ),
    Fault(
        "a length",
        "ALTER TABLE users ALTER email TYPE varchar(20)",
        "ALTER TABLE users ALTER email TYPE text",
        said="too long",
    ),
    Fault(
        "an index that takes no long rows",
        "CREATE INDEX theirs ON users ((user_metadata::text))",
        "DROP INDEX theirs",
        said="index row",
    ),
    Fault(
        "a unique index",
        "CREATE UNIQUE INDEX theirs ON users ((1)) WHERE email ~ '^(bob|dora)'; "
        "INSERT INTO users SELECT (json_populate_record(u, json_build_object('id', "
        "gen_random_uuid(), 'email', 'dora@example.com'))).* FROM users u LIMIT 1",
        "DROP INDEX theirs; DELETE FROM users WHERE email LIKE 'dora%'",
        said='unique constraint "theirs"',
    ),
    Fault(
        "row level security",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY; "
        "CREATE POLICY theirs ON users USING (true) WITH CHECK (email NOT LIKE 'bob%')",
        "DROP POLICY theirs ON users; ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        said="row-level security policy",
    ),
]
EVERY_SQLITE = [
    Fault(
        "a table",
        "ALTER TABLE grants RENAME TO theirs",
        "ALTER TABLE theirs RENAME TO grants",
        "database.table_missing",
        "no such table: grants",
    ),
    Fault(
        "a trigger",
        "CREATE TRIGGER theirs BEFORE INSERT ON audit "
        "BEGIN SELECT RAISE(ABORT, 'not on Sundays'); END",
        "DROP TRIGGER theirs",
        "database.failed",
        "Sundays",
    ),
]
ONE_SQLITE = [
    Fault(
        "a trigger",
        "CREATE TRIGGER theirs BEFORE INSERT ON users WHEN NEW.email LIKE 'bob%' "
        "BEGIN SELECT RAISE(ABORT, 'no Bobs'); END",
        "DROP TRIGGER theirs",
        said="no Bobs",
    ),
    Fault(
        "a column that may not be null",
        "CREATE TRIGGER theirs AFTER INSERT ON users WHEN NEW.email LIKE 'bob%' "
        "BEGIN UPDATE users SET profile = NULL; END",
        "DROP TRIGGER theirs",
        said="NOT NULL constraint failed",
    ),
]


@dataclass(frozen=True)
class World:
    """A database of which the App is not the owner, and its administrator."""

    app_url: str
    admin_url: str

    @contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """Meanwhile; sessions are those from before and after."""
        self._say(fault.make)
        try:
            yield
        finally:
            self._say(fault.mend)

    def _say(self, statements: str) -> None:
        if self.admin_url.startswith("sqlite"):
            other = database.Database(self.admin_url)
            execute(other, statements)
            other.dispose()
            return
        # Settings of a role are taken by its new sessions.
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{APP}'"
        run(self.admin_url, statements, ended)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[World]:
    """PostgreSQL, and a role with the rights of the documentation."""
    with least_privileged(postgresql_url) as url:
        yield World(url, postgresql_url)


@pytest.fixture
def sqlite(sqlite_url: str) -> World:
    """A SQLite file."""
    return World(sqlite_url, sqlite_url)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """Either."""
    found: World = request.getfixturevalue(request.param)
    return found


def faults(postgresql: list[Fault], sqlite: list[Fault]) -> list[object]:
    """Each with its database."""
    return [
        pytest.param(kind, each, id=f"{kind}-{each}")
        for kind, all_of_it in (("postgresql", postgresql), ("sqlite", sqlite))
        for each in all_of_it
    ]


@pytest.fixture
def start(
    make_settings: MakeSettings, clock: Clock, tmp_path: Path
) -> Iterator[Callable[..., App]]:
    """Start an App: a server's, with a spool, or a function's."""
    apps = []

    def started(url: str, *, spool: bool) -> App:
        app = App(make_settings(database_url=url, spool=str(tmp_path / "spool")), clock)
        if spool:
            app.start_store_and_forward()
        apps.append(app)
        return app

    yield started
    for app in apps:
        app.close()


def people() -> list[Signed]:
    """Three signups; much is known of the second."""
    large = {"about": "".join(f"{n * n * 7919 % 99991:05}" for n in range(3_000))}
    return [
        signed("signup", account(email="ada@example.com")),
        signed("signup", account(email="bob@somewhere.example", user_metadata=large)),
        signed("signup", account(email="cyd@example.com")),
    ]


def statuses(answers: list[Reply | Exception]) -> list[object]:
    """A status for each answer, or the exception's kind."""
    return [one.status if isinstance(one, Reply) else type(one) for one in answers]


def outcomes(app: App) -> dict[str, str]:
    """What became of the deliveries, by the first letters of the address."""
    return {
        str(json.loads(one.body or b"")["user"]["email"])[:3]: one.outcome.value
        for one in app.store.ledger.page().items
    }


def drain(app: App) -> None:
    """What a server does every second."""
    while app.store_and_forward.step():
        pass
    assert waiting(app.settings.spool_folder)["waiting"] == 0


def doctors(url: str, make_settings: MakeSettings) -> tuple[str, str]:
    """The first finding's key, and its words."""
    with use(App(make_settings(database_url=url))) as app:
        found = database_findings(app)[0]
    return found.key, found.text


@pytest.mark.parametrize(
    ("world", "fault"), faults(EVERY_POSTGRESQL, EVERY_SQLITE), indirect=["world"]
)
def test_i2_what_refuses_every_event_makes_them_wait_in_the_spool(
    world: World, fault: Fault, start: Callable[..., App], make_settings: MakeSettings
) -> None:
    """Answered as in any outage; a function, which has no spool, answers 503 and keeps nothing."""
    server, function = start(world.app_url, spool=True), start(world.app_url, spool=False)
    one, two, three = people()
    lines = LogLines()
    with world.broken(fault):
        assert is_degraded(server)
        assert statuses(deliver(server, [one, two])) == [200, 200]
        assert is_degraded(server)
        assert not server.store_and_forward.step()
        (began,) = lines("outage.began")
        assert fault.said in began["detail"] or fault.found == "database.schema"
        assert statuses(deliver(function, [three])) == [DatabaseAwayError]
        with use(function):
            assert call(three)["statusCode"] == 503
        key, text = doctors(world.app_url, make_settings)
        assert key == fault.found, text
        assert fault.said in text
    drain(server)
    again = start(world.app_url, spool=False)
    assert statuses(deliver(again, [three])) == [200]
    assert outcomes(again) == {"ada": "applied", "bob": "applied", "cyd": "applied"}
    assert waiting(server.settings.spool_folder)["dead_letters"] == 0
    assert doctors(world.app_url, make_settings)[0] == "database.ok"


@pytest.mark.parametrize(
    ("world", "fault"), faults(EVERY_POSTGRESQL, EVERY_SQLITE), indirect=["world"]
)
def test_i2_a_refusal_that_ends_before_it_is_looked_into_fails_no_event(
    world: World, fault: Fault, start: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mended between the refusal and the question whether all are refused, at the latest."""
    server = start(world.app_url, spool=True)
    with ExitStack() as broken:
        broken.enter_context(world.broken(fault))
        check = readiness.check

        def mended_first(asked: database.Database) -> None:
            broken.close()
            with suppress(DatabaseAwayError):  # mending ended its sessions
                check(asked)
            check(asked)

        monkeypatch.setattr(readiness, "check", mended_first)
        assert statuses(deliver(server, people())) == [200, 200, 200]
    drain(server)
    assert outcomes(server) == dict.fromkeys(("ada", "bob", "cyd"), "applied")
    assert waiting(server.settings.spool_folder)["dead_letters"] == 0


@pytest.mark.parametrize(
    "fault", [revoked("UPDATE", "codes"), revoked("INSERT", "tallies")], ids=str
)
def test_i2_where_a_grant_on_what_is_counted_is_missing_events_wait(
    postgresql: World,
    fault: Fault,
    policy_file: Path,
    start: Callable[..., App],
    make_settings: MakeSettings,
) -> None:
    """In the spool, or, where the answer hangs on the count, at Identity; none of them fails."""
    policy_file.write_text(
        '[admission]\ndefault = "deny"\nmessage = "For invited people."\n'
        'allow_email_domains = ["example.com"]\n'
        'invitation_code = "code"\nsignups_per_domain = "20/h"\n'
    )
    server = start(postgresql.app_url, spool=True)
    ((code, _),) = server.codes.make(NewCodes(), "cli:ada")
    invited = account(email="bob@b.example", user_metadata={"code": code})
    counted = [signed("signup", invited), signed("signup", account(email="ada@example.com"))]
    login = signed("login", account(email="cyd@example.com"))
    with postgresql.broken(fault):
        answers = statuses(deliver(server, [*counted, login]))
        assert answers == [DatabaseAwayError, DatabaseAwayError, 204]
        assert is_degraded(server)
        assert waiting(server.settings.spool_folder)["waiting"] == 1
        assert doctors(postgresql.app_url, make_settings)[0] == fault.found
    drain(server)
    assert outcomes(server) == {"cyd": "applied"}
    assert statuses(deliver(server, counted)) == [204, 204]
    assert outcomes(server) == dict.fromkeys(("ada", "bob", "cyd"), "applied")


@pytest.mark.parametrize(("world", "fault"), faults(ONE_POSTGRESQL, ONE_SQLITE), indirect=["world"])
def test_i2_what_refuses_one_event_is_kept_as_failed_and_holds_up_nobody(
    world: World, fault: Fault, start: Callable[..., App], make_settings: MakeSettings
) -> None:
    """Its neighbours are stored, at once and out of the spool; a retry is decided anew."""
    app = start(world.app_url, spool=True)
    assert statuses(deliver(app, [signed("signup", account(email="first@example.com"))])) == [200]
    one, two, three = people()
    with world.broken(fault):
        lines = LogLines()
        answers = statuses(deliver(app, [one, two, three]))
        assert answers == [200, NotStorableError, 200]
        assert not is_degraded(app)
        assert lines("outage.began") == []
        (failed,) = lines("event.failed")
        assert (failed["code"], fault.said in failed["detail"]) == ("not_storable", True)
        kept = next(one for one in app.store.ledger.page().items if one.body == two.body)
        assert (kept.outcome, kept.reply.status) == (Outcome.FAILED, 500)
        assert fault.said in kept.reasons[0].text
        assert doctors(world.app_url, make_settings)[0] == (fault.found or "database.ok")
    assert statuses(deliver(app, [two])) == [200]
    assert outcomes(app) == dict.fromkeys(("fir", "ada", "bob", "cyd"), "applied")


@pytest.mark.parametrize(
    ("world", "fault"), faults(ONE_POSTGRESQL[:3], ONE_SQLITE), indirect=["world"]
)
def test_i2_the_spool_goes_on_past_what_the_database_refuses(
    world: World, fault: Fault, start: Callable[..., App]
) -> None:
    """That one is kept as failed, and a dead letter."""
    app = start(world.app_url, spool=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_driver, "BUSY_TIMEOUT_MS", 50)
        with locked(world.admin_url):
            assert statuses(deliver(app, people())) == [200] * 3
    lines = LogLines()
    with world.broken(fault):
        drain(app)
        assert [line["code"] for line in lines("event.dead_letter")] == ["not_storable"]
        assert outcomes(app) == {"ada": "applied", "bob": "failed", "cyd": "applied"}
    assert waiting(app.settings.spool_folder)["dead_letters"] == 1
