"""The pytest plugin: an Usher of the test's own, and captured events replayed.

.. code-block:: python

    def test_a_customer_is_made(usher_client, usher_changes):
        ada = usher_client.sign_up("ada@example.com")
        usher_changes.hand_over()

    @pytest.mark.captures("captures/*.jsonl")
    def test_captured_events(usher_replay, capture_file):
        usher_replay(capture_file).approved()

``pytest --approve`` writes the results as golden files. Usher's other modules are imported at first
use, so that a test run without these fixtures loads none of them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import pytest
except ImportError:
    missing = "pytest is not installed. Run: pip install 'usher-identity[testing]'"
    raise ImportError(missing) from None

if TYPE_CHECKING:
    from usher.core.app import App
    from usher.testing.changes import Changes
    from usher.testing.client import Client
    from usher.testing.goldens import Replayed
    from usher.testing.people import People


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--approve`` and the settings ``usher_policy`` and ``usher_handlers``."""
    group = parser.getgroup("usher", "events of Netlify Identity")
    group.addoption(
        "--approve",
        action="store_true",
        help="Keep the answers and states of replayed captures as golden files.",
    )
    parser.addini(
        "usher_policy",
        "The policy that decides about events in tests (default: policy.toml).",
        default="policy.toml",
    )
    parser.addini("usher_handlers", "The modules with handlers of changes.", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark ``captures``."""
    config.addinivalue_line(
        "markers",
        "captures(pattern): once for each of these files, as `capture_file`; "
        "the pattern is relative to the folder of the test.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each file that the mark names."""
    mark = metafunc.definition.get_closest_marker("captures")
    if mark is None:
        return
    if "capture_file" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.name}: it needs the argument capture_file.")
    folder = metafunc.definition.path.parent
    files = sorted(file for pattern in mark.args for file in folder.glob(pattern))
    if not files:
        raise pytest.UsageError(f"{folder}: no file fits {' '.join(mark.args)}.")
    metafunc.parametrize("capture_file", files, ids=[file.stem for file in files])


@pytest.fixture
def usher_replay(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Checked]:
    """Replay a file of captures into a new SQLite database; call it with the file.

    Keyword arguments: ``policy``, a path or ``package.module:function``, instead of that of
    ``usher_policy``; ``secrets`` and ``resign``, for events that Usher did not export; any other
    field of ``usher.core.settings.Settings``, such as ``instance_id``.
    """
    count = 0

    def replay(
        file: Path | str,
        *,
        policy: Path | str | None = None,
        secrets: Sequence[bytes] = (),
        resign: bool = False,
        **settings: Any,
    ) -> Checked:
        nonlocal count
        from usher.core.settings import Settings  # noqa: PLC0415 - see above
        from usher.testing.goldens import replay_file  # noqa: PLC0415

        count += 1
        made = Settings(
            webhook_secrets=(),
            **{
                "database_url": f"sqlite:///{tmp_path / f'usher-replay-{count}.db'}",
                "policy": str(policy or _policy(request.config)),
                **settings,
            },
        )
        done = replay_file(Path(file), made, secrets=secrets, resign=resign)
        return Checked(done, bool(request.config.getoption("approve")))

    return replay


@pytest.fixture(scope="session")
def _usher_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with Usher's tables, which each test copies."""
    from usher import migrations  # noqa: PLC0415 - see above
    from usher.core.store.database import Database  # noqa: PLC0415
    from usher.testing.quiet import quiet  # noqa: PLC0415

    file = tmp_path_factory.mktemp("usher") / "empty.db"
    database = Database(f"sqlite:///{file}")
    with quiet():
        migrations.upgrade(database)
    database.dispose()
    return file


@pytest.fixture
def usher_settings() -> Mapping[str, Any]:
    """Settings of ``usher_app``, to be overridden: ``{"admin_role": "owner"}``."""
    return {}


@pytest.fixture
def usher_app(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    _usher_database: Path,
    usher_settings: Mapping[str, Any],
) -> Iterator[App]:
    """An Usher of the test's own with an empty database, which guards ask as well."""
    from usher.core.app import App, use  # noqa: PLC0415 - see above
    from usher.core.settings import Settings  # noqa: PLC0415
    from usher.emulator.payload import ZERO_INSTANCE  # noqa: PLC0415
    from usher.testing.client import WEBHOOK_SECRET  # noqa: PLC0415
    from usher.testing.people import JWT_SECRET  # noqa: PLC0415
    from usher.testing.quiet import quiet  # noqa: PLC0415

    file = shutil.copy(_usher_database, tmp_path / "usher.db")
    usual = {
        "database_url": f"sqlite:///{file}",
        "webhook_secrets": (WEBHOOK_SECRET,),
        "jwt_secret": JWT_SECRET,
        "instance_id": ZERO_INSTANCE,
        "policy": _policy(request.config),
        "handlers": tuple(request.config.getini("usher_handlers")),
    }
    with quiet(), use(App(Settings(**{**usual, **usher_settings}))) as app:
        yield app


@pytest.fixture
def usher_person(usher_app: App) -> People:
    """Makes people with a record and a valid token: ``usher_person(roles={"editor"})``."""
    from usher.testing.people import People  # noqa: PLC0415 - see above

    return People(usher_app)


@pytest.fixture
def usher_client(usher_app: App, usher_person: People) -> Client:
    """Sends signed events and requests of the API to ``usher_app``."""
    from usher.testing.client import Client  # noqa: PLC0415 - see above

    return Client(usher_app, usher_person)


@pytest.fixture
def usher_changes(usher_app: App) -> Changes:
    """The calls of the handlers of ``usher_handlers``; ``hand_over()`` makes them."""
    from usher.core.errors import HandlersError  # noqa: PLC0415 - see above
    from usher.core.outbox.handlers import load_handlers  # noqa: PLC0415
    from usher.testing.changes import Changes  # noqa: PLC0415

    modules = usher_app.settings.handlers
    if not modules:
        raise pytest.UsageError("usher_handlers in pytest's settings names no module.")
    try:
        handlers = load_handlers(modules)
    except HandlersError as error:
        pytest.fail(str(error), pytrace=False)  # the fault is in a module, not in our code
    return Changes(usher_app, handlers)


def _policy(config: pytest.Config) -> str:
    """The policy of ``usher_policy``; callables and handlers in the root folder can be imported."""
    configured: str = config.getini("usher_policy")
    root = str(config.rootpath)
    if root not in sys.path:
        sys.path.append(root)
    return configured if ":" in configured else str(config.rootpath / configured)


class Checked:
    """The result of a replay, to be compared with its golden file.

    Attributes:
        replayed: see ``usher.testing.goldens.Replayed``.
    """

    def __init__(self, replayed: Replayed, approving: bool) -> None:
        self.replayed = replayed
        self._approving = approving

    def answer(self, line: int) -> dict[str, Any]:
        """The answer to the event of a line: ``status``, and the members of its body."""
        return self.replayed.answer(line)

    def user(self, who: str) -> dict[str, Any]:
        """A user's record at the end, by id or address."""
        return self.replayed.user(who)

    def approved(self) -> None:
        """Fail unless everything is as in the golden file; with ``--approve``, write that file."""
        __tracebackhide__ = True
        if self._approving:
            self.replayed.approve()
            return
        found = self.replayed.differences()
        if found:
            shown = found[:25] + ([f"… and {len(found) - 25} more"] if len(found) > 25 else [])
            listed = "\n".join(f"  {line}" for line in shown)
            pytest.fail(
                f"{self.replayed.file.name}: {len(found)} differences from what was approved\n"
                f"{listed}\nIf this is right: pytest --approve",
                pytrace=False,
            )
