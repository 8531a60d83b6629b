"""Groups of commands that load only the one that is asked for, so that the others cost no time."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are functions of their own names, each in a module.

    Args:
        package: the modules' package.
        modules: the module of each command, below the package.
    """

    def __init__(self, *, package: str, modules: Mapping[str, str], **others: Any) -> None:
        super().__init__(**others)
        self._package = package
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in alphabetical order, as click lists them."""
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of this name, or None."""
        if cmd_name not in self._modules:
            return None
        module = import_module(f"{self._package}.{self._modules[cmd_name]}")
        found: click.Command = getattr(module, cmd_name)
        return found
