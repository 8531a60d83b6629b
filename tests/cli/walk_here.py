# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases on this machine: settings, git, database, policy, spool, events."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.cli.walk import Steps, Walk, case
from tests.pipeline.outage_support import locked
from tests.store.test_users import save, user
from tests.support import SECRET, account, call, signed
from usher import migrations
from usher.cli import policy_reload
from usher.core.app import utc_now
from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.server_folder import made_in
from usher.core.spool.files import DEAD_LETTERS
from usher.core.store.drivers import sqlite
from usher.server.policy_follower import PolicyFollower

SECRETS, URL = "USHER_WEBHOOK_SECRETS", "USHER_DATABASE_URL"


def another_secret(at: Walk) -> str:
    """As ``usher secret`` makes one."""
    return str(at.program("secret").stdout.strip())


def in_a_file(at: Walk) -> str:
    """The path of a new secret that its owner alone can read."""
    path = at.folder / "webhook secrets"
    path.write_text(another_secret(at) + "\n")
    path.chmod(0o600)
    return str(path)


@case("settings.file")
def an_env_in_latin_1(at: Walk) -> Steps:
    Path(".env").write_bytes("# für uns\n".encode("latin-1"))
    yield {}
    Path(".env").write_text("# für uns\n", encoding="utf-8")


@case("settings.missing", 0)
def another_folder(at: Walk) -> Steps:
    Path(".env").write_text(f"{SECRETS}={SECRET.decode()}\n")
    at.set(SECRETS, "")
    Path("else").mkdir()
    at.patch.chdir("else")
    yield {}
    at.patch.chdir(at.folder)


@case("settings.missing", 1)
def settings_of_the_server_alone(at: Walk) -> Steps:
    at.set(SECRETS, "")
    yield {}
    at.set(SECRETS, SECRET.decode())


@case("settings.no_secret")
def an_env_without_a_secret(at: Walk) -> Steps:
    at.set(SECRETS, "")
    Path(".env").write_text("USHER_ADMIN_ROLE=admin\n")
    yield {SECRETS: another_secret(at)}


@case("settings.missing", 2)
def a_new_installation(at: Walk) -> Steps:
    for name in (SECRETS, URL, "USHER_POLICY"):
        at.set(name, "")
    (at.folder / "policy.toml").unlink()
    yield {}


@case("settings.unknown")
def a_misspelt_setting(at: Walk) -> Steps:
    at.set("USHER_WEBHOOK_SECRET", SECRET.decode())
    yield {}
    at.set("USHER_WEBHOOK_SECRET", "")


@case("settings.secret_file")
def a_file_that_never_came(at: Walk) -> Steps:
    at.set(SECRETS, "")
    at.set(f"{SECRETS}_FILE", str(at.folder / "secrets"))
    yield {f"{SECRETS}_FILE": in_a_file(at)}


@case("settings.given_twice")
def a_secret_that_moved_into_a_file(at: Walk) -> Steps:
    at.set(f"{SECRETS}_FILE", in_a_file(at))
    yield {}
    at.set(SECRETS, "")


@case("secrets.open_file")
def a_file_with_the_usual_rights(at: Walk) -> Steps:
    path = in_a_file(at)
    Path(path).chmod(0o644)
    at.set(SECRETS, "")
    at.set(f"{SECRETS}_FILE", path)
    yield {}


@case("mode.observe")
def a_week_beside_the_old_function(at: Walk) -> Steps:
    at.set("USHER_MODE", "observe")
    yield {"USHER_MODE": "live"}


@case("settings.invalid", 1)
def an_old_value_in_the_environment(at: Walk) -> Steps:
    Path(".env").write_text("USHER_MAX_BODY_BYTES=262144\n")
    at.set("USHER_MAX_BODY_BYTES", "256k")
    yield {}
    at.set("USHER_MAX_BODY_BYTES", "")


@case("settings.invalid", 0)
def a_wrong_value(at: Walk) -> Steps:
    at.set("USHER_MAX_BODY_BYTES", "256k")
    yield {"USHER_MAX_BODY_BYTES": "262144"}


@case("secrets.weak")
def a_secret_typed_by_hand(at: Walk) -> Steps:
    at.set(SECRETS, f"{SECRET.decode()},{'ab' * 20}")
    yield {SECRETS: another_secret(at)}


@case("secrets.repeated")
def a_secret_twice(at: Walk) -> Steps:
    at.set(SECRETS, f"{SECRET.decode()},{SECRET.decode()}")
    yield {SECRETS: f"{another_secret(at)},{SECRET.decode()}"}


@case("git.tracked")
def an_env_in_git(at: Walk) -> Steps:
    Path(".env").write_text("")
    for arguments in (["init", "-q"], ["add", "-f", ".env"]):
        subprocess.run(["git", *arguments], check=True)
    yield {}


# --- database -------------------------------------------------------------------------------------


@case("database.driver_missing")
def no_driver(at: Walk) -> Steps:
    at.postgresql()
    at.patch.setitem(sys.modules, "psycopg", None)
    at.pretended["pip"] = lambda: at.patch.delitem(sys.modules, "psycopg")
    yield {}


@case("database.not_migrated")
def no_tables(at: Walk) -> Steps:
    at.set(URL, at.request.getfixturevalue("empty_postgresql"))
    yield {}


@case("database.newer")
def a_newer_version_was_here(at: Walk) -> Steps:
    with at.program.app() as app, app.store.write() as transaction:
        transaction.sql.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    yield {}
    at.patch.setattr(migrations, "newest", lambda: "9999")  # that version is installed


@case("database.table_missing")
def a_table_was_dropped(at: Walk) -> Steps:
    file = at.folder / "usher.db"
    shutil.copy(file, at.folder / "backup.db")
    with closing(sqlite3.connect(file)) as other:
        other.execute("DROP TABLE audit")
    yield {}
    shutil.copy(at.folder / "backup.db", file)


@case("database.file", 0)
def no_folder(at: Walk) -> Steps:
    at.set(URL, f"sqlite:///{at.folder}/var/lib of ours/usher.db")
    yield {}


@case("database.file", 1)
def three_slashes(at: Walk) -> Steps:
    at.set(URL, "sqlite:///var/lib/usher.db")
    yield {URL: f"sqlite:///{at.folder}/usher.db"}


@case("database.no_database", 0)
def another_file(at: Walk) -> Steps:
    (at.folder / "letter").write_text("Dear Ada, " * 500)
    at.set(URL, f"sqlite:///{at.folder}/letter")
    yield {URL: f"sqlite:///{at.folder}/usher.db"}


@case("database.no_database", 1)
def a_damaged_file(at: Walk) -> Steps:
    file = at.folder / "usher.db"
    shutil.copy(file, at.folder / "backup.db")
    file.write_bytes(b"\0" * 100 + file.read_bytes()[100:])
    yield {}
    shutil.copy(at.folder / "backup.db", file)


@case("database.locked")
def somebody_has_a_transaction_open(at: Walk) -> Steps:
    at.patch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    with locked(f"sqlite:///{at.folder}/usher.db"):
        yield {}


# --- policy and spool -----------------------------------------------------------------------------


@case("policy.missing", 0)
def a_policy_in_another_folder(at: Walk) -> Steps:
    Path("else").mkdir()
    at.patch.chdir("else")
    at.set("USHER_POLICY", "./policy.toml")
    yield {"USHER_POLICY": str(at.folder / "policy.toml")}


@case("policy.missing", 1)
def a_policy_that_was_moved(at: Walk) -> Steps:
    good = Path("policy.toml").rename("away.toml")
    yield {}
    good.rename("policy.toml")


@case("policy.invalid")
def a_mistake_in_the_policy(at: Walk) -> Steps:
    good = Path("policy.toml").read_text()
    Path("policy.toml").write_text("[admision]")
    yield {}
    Path("policy.toml").write_text(good)


@case("policy.tests", 0)
def rules_that_do_not_pass(at: Walk) -> Steps:
    good = Path("policy.toml").read_text()
    test = '[[test]]\nwho = "a@b.example"\nexpect = "{}"\n'
    Path("policy.toml").write_text(good + test.format("refused"))
    yield {}
    Path("policy.toml").write_text(good + test.format("admitted"))


@case("policy.tests", 1)
def a_test_whose_time_is_over(at: Walk) -> Steps:
    rule = '[[role]]\ngrant = "guest"\nuntil = 2026-01-01\n'
    test = '[[test]]\nwho = "a@b.example"\nexpect = "guest"\n'
    Path("policy.toml").write_text(rule + test)
    yield {}
    Path("policy.toml").write_text(f"{rule}{test}at = 2025-12-24\n")


@contextmanager
def a_server(at: Walk) -> Iterator[PolicyFollower]:
    """The part of a server's worker that follows the policy."""
    with at.program.app() as app, made_in(app.settings.spool_folder) as folder:
        follower = PolicyFollower(app, folder)
        follower.establish()
        follower.start()
        yield follower
        follower.close()


@case("policy.rejected")
def a_policy_that_was_half_written(at: Walk) -> Steps:
    at.stack.enter_context(a_server(at))
    good = Path("policy.toml").read_text()
    Path("policy.toml").write_text("[admission]\n")
    at.program("policy", "reload", code=1)
    yield {}
    Path("policy.toml").write_text(good)


@case("policy.not_reloaded", 0)
def a_policy_that_nobody_reloaded(at: Walk) -> Steps:
    at.stack.enter_context(a_server(at))
    Path("policy.toml").write_text('[admission]\ndefault = "deny"\n')
    yield {}


@case("policy.not_reloaded", 1)
def a_policy_changed_by_mistake(at: Walk) -> Steps:
    at.stack.enter_context(a_server(at))
    Path("next.toml").write_text('[admission]\ndefault = "deny"\n')
    # The server did not hear of it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy_reload, "running", lambda _: [])
        at.program("policy", "promote", "--yes")
    yield {}
    at.program("policy", "promote", "--undo", "--yes")


CALLABLE = "def decide(applicant):\n    return None\n"


@case("policy.callable", 0)
def a_module_in_another_folder(at: Walk) -> Steps:
    Path("walked_zero.py").write_text(CALLABLE)
    at.patch.syspath_prepend(str(at.folder))
    at.set("USHER_POLICY", "walked_none:decide")
    yield {"USHER_POLICY": "walked_zero:decide"}


@case("policy.callable", 1)
def a_module_that_fails(at: Walk) -> Steps:
    Path("walked_one.py").write_text("import walked_helper\n" + CALLABLE)
    at.patch.syspath_prepend(str(at.folder))
    at.set("USHER_POLICY", "walked_one:decide")
    yield {}
    Path("walked_helper.py").write_text("")


@case("spool.unwritable", 0)
def a_spool_in_a_file(at: Walk) -> Steps:
    Path("file").write_text("")
    at.set("USHER_SPOOL", str(at.folder / "file" / "spool"))
    yield {"USHER_SPOOL": str(at.folder / "spool")}


@case("spool.unreadable")
def a_folder_in_the_spool(at: Walk) -> Steps:
    (at.folder / ".usher-spool").mkdir()
    (at.folder / ".usher-spool" / "old.spool").mkdir()
    yield {}
    (at.folder / ".usher-spool" / "old.spool").rmdir()


@case("spool.dead_letters")
def a_dead_letter(at: Walk) -> Steps:
    spool = at.folder / "a spool"
    at.set("USHER_SPOOL", str(spool))
    at.patch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    now = utc_now()
    delivery = signed("signup", account(at=now), at=now)
    with at.program.app() as app, locked(f"sqlite:///{at.folder}/usher.db"):
        app.start_store_and_forward()
        assert call(delivery)["statusCode"] == 200
    (held,) = spool.glob("*.spool")
    held.rename(spool / DEAD_LETTERS)  # as a server does with what it cannot apply
    yield {}
    yield {}
    with at.program.app() as app:
        app.start_store_and_forward()
        while app.store_and_forward.step():
            pass
        assert len(app.store.ledger.page().items) == 1


# --- events ---------------------------------------------------------------------------------------


@case("instance.several")
def two_instances(at: Walk) -> Steps:
    with at.program.app() as app:
        save(app, user(), user(instance_id=UUID(int=2)), user(instance_id=UUID(int=2)))
    yield {"USHER_INSTANCE_ID": at.ask()["instance.several"]["facts"]["largest"]}


def a_stranger(at: Walk) -> str:
    """An event of ours, then one of another instance; its id."""
    at.program.deliver("signup", "ada@example.com", instance_id=UUID(int=7))
    at.program.deliver("usermodified", "bob@example.com", instance_id=UUID(int=8))
    return str(UUID(int=8))


@case("instance.other", 0)
def another_site(at: Walk) -> Steps:
    a_stranger(at)
    yield {}
    at.ask_at(timedelta(days=8))


@case("instance.other", 1)
def a_wrong_adoption(at: Walk) -> Steps:
    yield {"USHER_INSTANCE_ID": a_stranger(at)}


def an_event(at: Walk, delta: timedelta) -> None:
    """A login, with our clock so far off Identity's."""
    now = utc_now().replace(microsecond=0)
    with at.program.app(lambda: now + delta):
        call(
            signed("signup", account(email=f"{delta}@example.com".replace(" ", ""), at=now), at=now)
        )


@case("clock.late", 0, 1, 2)
def a_clock_that_is_ahead(at: Walk) -> Steps:
    an_event(at, timedelta(seconds=120))
    yield {}
    an_event(at, timedelta(seconds=1))


@case("clock.early", 0, 1)
def a_clock_that_is_behind(at: Walk) -> Steps:
    at.set("USHER_WEBHOOK_AHEAD_SECONDS", "600")
    an_event(at, timedelta(seconds=-120))
    yield {}
    an_event(at, timedelta(seconds=-1))


@case("failures.failed")
def a_policy_that_raises(at: Walk) -> Steps:
    broken = "plans = {}\n\ndef decide(applicant):\n    return plans[applicant.event]\n"
    Path("walked_two.py").write_text(broken)
    at.patch.syspath_prepend(str(at.folder))
    at.set("USHER_POLICY", "walked_two:decide")
    at.program.deliver("login", "ada@example.com", answers=500)
    (event,) = at.program.json("events", "list", "--outcome", "failed")["events"]
    yield {}
    at.program("policy", "explain", event["id"], code=(0, 1), traceback=True)
    Path("walked_three.py").write_text(
        "from usher.core.domain.policy import Verdict\n\ndef decide(applicant):\n"
        "    return Verdict()\n"
    )
    at.set("USHER_POLICY", "walked_three:decide")
    at.program("events", "again", event["id"])


@case("requests.events_too_large")
def an_event_that_is_too_large(at: Walk) -> Steps:
    now = utc_now()
    who = account(at=now, user_metadata={"x": "x" * MAX_EVENT_BYTES})
    with at.program.app():
        assert call(signed("login", who, at=now))["statusCode"] == 413
    yield {}
    at.ask_at(timedelta(days=7))


@case("approvals.long")
def somebody_who_waits_for_weeks(at: Walk) -> Steps:
    at.set("USHER_POLICY", "tests.domain.decide_support:asks")
    at.program.sign_up("bea@other.org")
    with at.program.app() as app, app.store.database.write() as transaction:
        long_ago = {"then": f"{app.clock() - timedelta(days=8):%Y-%m-%dT%H:%M:%S.%f+00:00}"}
        transaction.sql.execute(text("UPDATE requests SET created_at = :then"), long_ago)
    yield {}
    at.program("requests", "decline", "1")


@case("codes.refused", 0, 1)
def codes_that_cannot_be_used(at: Walk) -> Steps:
    now = utc_now()
    (at.folder / "policy.toml").write_text('[admission]\ninvitation_code = "code"\n')
    with at.program.app():
        for number in range(21):
            who = account(at=now, user_metadata={"code": f"guess {number}"})
            assert call(signed("validate", who, at=now))["statusCode"] == 204
    yield {}
    at.ask_at(timedelta(days=7))


@case("requests.too_large", 0, 1, 2)
def a_request_that_is_too_large(at: Walk) -> Steps:
    with at.program.app() as app:
        large = signed("login", account(user_metadata={"x": "x" * app.settings.max_body_bytes}))
        assert call(large)["statusCode"] == 413  # signed months ago
    yield {}
    at.ask_at(timedelta(days=7))


def refused_event(at: Walk, secret: bytes | None) -> None:
    """An event signed by another secret, or not at all."""
    made = signed("login", account(), secret=secret or SECRET)
    if secret is None:
        del made.headers["X-Webhook-Signature"]
    with at.program.app():
        assert call(made)["statusCode"] == 401


@case("signatures.unsigned", 0, 1, 2)
def events_without_a_signature(at: Walk) -> Steps:
    refused_event(at, None)
    yield {}
    at.ask_at(timedelta(days=7))


@case("signatures.function_hook", 0, 1)
def events_by_function_hooks(at: Walk) -> Steps:
    at.set("USHER_JWT_SECRET", "j" * 20 + "0123456789abcdef")
    refused_event(at, b"j" * 20 + b"0123456789abcdef")
    yield {}
    at.ask_at(timedelta(days=7))


@case("signatures.other_secret", 0, 1, 2)
def events_with_another_secret(at: Walk) -> Steps:
    refused_event(at, b"f" * 32)
    yield {}
    at.ask_at(timedelta(days=7))


def function_named(name: str, text: str) -> Path:
    """A function of the site in this folder."""
    path = Path("netlify", "functions", name)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@case("functions.reserved")
def a_function_that_netlify_calls(at: Walk) -> Steps:
    path = function_named("identity-signup.mjs", "export default () => new Response('');")
    yield {}
    path.unlink()


@case("functions.typed")
def a_function_with_a_handler_of_events(at: Walk) -> Steps:
    path = function_named("people.mts", "export default { userLogin(event) { event.deny(); } };")
    yield {}
    path.unlink()
