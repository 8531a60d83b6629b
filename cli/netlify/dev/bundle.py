"""The functions and their bundle, built where something that they are made of has changed."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from usher.cli.dev.folder import make_folder
from usher.cli.environment import DEV_FOLDER
from usher.core.settings import Settings
from usher.netlify import configuration
from usher.netlify.build import BUNDLE, MARK, SNAPSHOTS, build
from usher.netlify.configuration import FUNCTIONS_FOLDER
from usher.netlify.contents import gather
from usher.netlify.packages import RUNTIME, fetch_wheels

RECORD: Final = DEV_FOLDER / "netlify-bundle"
"""Digests of what the bundle was made of, and of the bundle: another build may have followed."""


def brought_up(site: Path, settings: Mapping[str, str], why: str = "") -> bool:
    """Build the functions if they are not of today's inputs. Return whether that was so.

    Args:
        site: its folder.
        settings: the variables of the build.
        why: begins the sentence about it.

    Raises:
        BuildError, PolicyError
    """
    if RECORD.exists() and RECORD.read_text(encoding="utf-8") == _record(site, settings):
        return False
    click.echo(why or "The functions are built, for what they are made of is new or has changed.")
    began = time.monotonic()
    build(site, settings, lambda step: click.echo(f"  {step} …"))
    note(site, settings)
    click.echo(f"Built in {time.monotonic() - began:.0f} s.")
    return True


def note(site: Path, settings: Mapping[str, str]) -> None:
    """Note that what is built is of today's inputs."""
    make_folder()
    RECORD.write_text(_record(site, settings), encoding="utf-8")


def _inputs(site: Path, settings: Mapping[str, str]) -> Iterator[bytes]:
    contents = gather(site, Settings.from_env(settings, verifies=False), fetch_wheels())
    for files in (contents.archive, contents.native, contents.site):
        for name, data in sorted(files.items()):
            yield name.encode()
            yield data
    for path in sorted(path for path in RUNTIME.iterdir() if path.is_file()):
        yield path.read_bytes()
    yield str(_functions(site)).encode()


def _record(site: Path, settings: Mapping[str, str]) -> str:
    """Return digests of inputs and outputs; a file that is missing fits no record."""
    made = [site / BUNDLE / MARK, *(_functions(site) / f"{name}.mjs" for name in SNAPSHOTS)]
    found = [path.read_bytes() if path.is_file() else secrets.token_bytes() for path in made]
    return f"{_digest(_inputs(site, settings))} {_digest(found)}"


def _functions(site: Path) -> Path:
    return site / (configuration.functions_folder(configuration.read(site)) or FUNCTIONS_FOLDER)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()
