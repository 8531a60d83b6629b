"""The pytest plugin: captured events replayed in any project's tests.

.. code-block:: python

    @pytest.mark.captures("captures/*.jsonl")
    def test_captured_events(usher_replay, capture_file):
        usher_replay(capture_file).approved()

``pytest --approve`` writes the results as golden files. Usher's other modules are imported at first
use, so that a test run without captures loads none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import pytest
except ImportError:
    missing = "pytest is not installed. Run: pip install 'usher-identity[testing]'"
    raise ImportError(missing) from None

if TYPE_CHECKING:
    from usher.testing.goldens import Replayed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--approve`` and the setting ``usher_policy``."""
    group = parser.getgroup("usher", "captured events of Netlify Identity")
    group.addoption(
        "--approve",
        action="store_true",
        help="Keep the answers and states of replayed captures as golden files.",
    )
    parser.addini(
        "usher_policy",
        "The policy that captured events are replayed with (default: policy.toml).",
        default="policy.toml",
    )


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
        configured: str = request.config.getini("usher_policy")
        root = str(request.config.rootpath)
        if ":" not in configured:
            configured = str(request.config.rootpath / configured)
        if root not in sys.path:
            sys.path.append(root)  # a callable policy may stand there
        made = Settings(
            webhook_secrets=(),
            **{
                "database_url": f"sqlite:///{tmp_path / f'usher-replay-{count}.db'}",
                "policy": str(policy or configured),
                **settings,
            },
        )
        done = replay_file(Path(file), made, secrets=secrets, resign=resign)
        return Checked(done, bool(request.config.getoption("approve")))

    return replay


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
