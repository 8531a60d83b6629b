"""What the fuzzer found worth keeping is tried at every run of the tests, without the fuzzer."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import targets
from fuzz.__main__ import NAMES, command
from fuzz.mutate import mutate_json
from fuzz.targets import TARGETS
from tests.support import ROOT

CORPUS = ROOT / "fuzz" / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name[:40]}")
def test_the_corpus_holds(path: Path) -> None:
    """Each file is read or refused as its reader promises."""
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    """A clone stays light, and no target begins from nothing."""
    assert {path.parent.name for path in FILES} == set(TARGETS) == set(NAMES)
    assert sum(path.stat().st_size for path in FILES) < 500_000


def test_a_target_can_be_started_by_its_command_alone() -> None:
    """A merge starts itself again through a shell, and without that keeps nothing."""
    text = f"{shlex.join(command('body'))} --help"
    subprocess.run(text, shell=True, cwd=ROOT, check=True, capture_output=True)


def test_a_find_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target does not swallow what its reader never promised to raise."""

    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(targets, "parse_event", broken)
    with pytest.raises(KeyError):
        TARGETS["body"](b"{}")
    monkeypatch.setattr(targets, "verify_event", lambda *_: None)
    with pytest.raises(AssertionError, match="a forged token was accepted"):
        TARGETS["verifier"](b"tx.y.z")


@given(st.binary(max_size=200))
def test_any_octets_hold(data: bytes) -> None:
    """A little of what the fuzzer does, at every run."""
    for target in TARGETS.values():
        target(data)


@given(st.integers(0, 2**32))
def test_changed_documents_hold(seed: int) -> None:
    """Documents that are almost right reach further than octets do."""
    random = Random(seed)
    for path in (CORPUS / "body" / "email-signup-0", CORPUS / "captures" / "document-har"):
        changed = mutate_json(path.read_bytes(), random)
        assert changed is not None
        json.loads(changed)
        TARGETS[path.parent.name](changed)
    assert mutate_json(b"no JSON", random) is None
