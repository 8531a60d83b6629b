"""Sources of a policy, policy.toml or a Python callable, and the check of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from usher.core.bounds import MAX_LIST_BYTES
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Rules
from usher.core.domain.policy_tests import run_tests
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.policy_lists import Content, Read


class PolicyInForce:
    """The holder of the current policy, shared by all services.

    A batch of events reads ``current`` once, so that each event is decided by one policy whole.

    Args:
        source: the value of ``USHER_POLICY``.
        before_code: called before somebody's own code is imported.

    Attributes:
        rejected: why the file as it is now does not take the place of the policy in force; empty:
            no reload was refused since the last one that was not.
    """

    def __init__(self, source: str, before_code: Callable[[], None] = lambda: None) -> None:
        self.rejected = ""
        self._source = source
        self._before_code = before_code

    @cached_property
    def current(self) -> FilePolicy | CallablePolicy:
        """The policy, loaded at first use; a server assigns another one when it is reloaded.

        Raises:
            PolicyError: the policy cannot be loaded.
        """
        if is_callable(self._source):
            self._before_code()
        return load_policy(self._source)


def warn_of_tests(policy: FilePolicy | CallablePolicy, now: datetime) -> None:
    """Log which of the policy's own tests fail, if any: no reason for a server not to start."""
    results = run_tests(policy, now)
    failed = [result.test.number for result in results if not result.passed]
    if failed:
        get_logger().warning("policy.tests_failed", failed=failed, tests=len(results))


def is_callable(source: str) -> bool:
    """Whether a source names a callable, ``package.module:function``, and not a file."""
    return ":" in source and not source.endswith(".toml")


def is_absent(source: str) -> bool:
    """Whether a source names a file that is not there."""
    return not is_callable(source) and not Path(source).exists()


def load_policy(source: str) -> FilePolicy | CallablePolicy:
    """Load the policy of ``USHER_POLICY``.

    Args:
        source: path of a file, or ``package.module:function``. Where ``policy.toml``, the default,
            is absent, the policy is empty; any other absent file is an error.

    Raises:
        PolicyError: names the place and the problem.
    """
    return load_callable(source) if is_callable(source) else load_file(source)


def load_file(source: str, content: Read | None = None, name: str = "") -> FilePolicy:
    """Load a policy's file, as ``load_policy``.

    Args:
        content: gives what each file holds that the policy is made of; None: ``read_file``.
        name: of the file in errors; empty: its own.

    Raises:
        PolicyError: names the place and the problem.
    """
    from usher.core.policy_file import parse_policy  # noqa: PLC0415 - a callable needs none
    from usher.core.policy_lists import read_file  # noqa: PLC0415

    path, content = Path(source), content or read_file
    try:
        text = text_of(content(path))
    except FileNotFoundError:
        if path.is_symlink():
            raise PolicyError(source, f"links to {path.readlink()}, which is not there") from None
        if source == "policy.toml":
            return FilePolicy()
        raise PolicyError(source, "there is no such file") from None
    except (OSError, ValueError) as error:
        raise PolicyError(source, f"cannot be read: {error}") from None
    return parse_policy(text, name or path.name, path.parent, content)


def text_of(content: Content) -> str:
    """The text of a policy's file, whatever ends its lines.

    Raises:
        ValueError: it is too large, or not UTF-8.
    """
    if len(content.data) > MAX_LIST_BYTES:
        raise ValueError(f"has over {MAX_LIST_BYTES} bytes")
    return content.data.decode().replace("\r\n", "\n").replace("\r", "\n")


def load_callable(name: str) -> CallablePolicy:
    """Import a callable policy, ``package.module:function``, or the name of its ``Rules``.

    Raises:
        PolicyError: the module cannot be imported, or has no such callable.
    """
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # an import runs the module, which may raise anything
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise PolicyError(name, f"cannot be loaded: {kind}{error}") from error
    if isinstance(function, Rules):
        return CallablePolicy(name, function.decide, function.screen)
    if not callable(function):
        raise PolicyError(name, "is not callable")
    return CallablePolicy(name, function)
