"""Pyodide's script without what a start from a snapshot does in vain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from usher.netlify.lean import ASSIGN, CHANGES, COPIED, LEAN, lean


def read(site: Path, name: str) -> str:
    """A script of the bundle."""
    return (site / "netlify" / "usher" / name).read_text()


@pytest.mark.parametrize("known", [ASSIGN, COPIED, *CHANGES])
def test_a_script_that_is_not_as_known_is_not_changed(known: str, site: Path) -> None:
    """Another version of Pyodide may have other words: its own script then serves."""
    script = read(site, "pyodide.asm.mjs")
    assert lean(script.replace(known, known[1:]), "") is None
    assert lean("", "") is None


def test_whatever_is_named_anywhere_stays(site: Path) -> None:
    """In the script itself, and in those beside it."""
    script, made = read(site, "pyodide.asm.mjs"), read(site, LEAN)
    assigned = re.compile(r'(_[\w$]+)=Module\["\1"\]=')
    left_out = set(assigned.findall(script)) - set(assigned.findall(made))
    assert len(left_out) > 4_000
    named = made + read(site, "pyodide.mjs") + read(site, "python.mjs")
    named = re.sub(r'wasmExports\["\w+"\]|fromEntries\(\[.*?\]', "", named)  # names of exports
    assert left_out & set(re.findall(r"[\w$]+", named)) == set()
    kept = lean(script, "_PyObject_Repr")
    assert kept is not None
    assert 'Module["_PyObject_Repr"]=' in kept
    assert 'Module["_PyObject_Repr"]=' not in made
