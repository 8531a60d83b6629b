"""docs/emulator.md has every option, address, fault and kind of mail."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import urllib3

from tests.support import ROOT
from usher.emulator.faults import KINDS
from usher.emulator.identity import API, DEV, NOT_EMULATED
from usher.emulator.mail import CONFIRMATION, EMAIL_CHANGE, INVITE, RECOVERY
from usher.emulator.options import EVENTS, PROVIDERS, Options

NAMES = [
    *[field.name for field in fields(Options)],
    *API,
    *DEV,
    *NOT_EMULATED,
    *KINDS,
    *PROVIDERS,
    *(CONFIRMATION, INVITE, RECOVERY, EMAIL_CHANGE),
    *[event for event in EVENTS if event.startswith("user")],
]


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_it_is_described(name: str) -> None:
    """By its own name."""
    text = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    assert re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands on the page, but on any port, and asked instead of waited for."""
    text = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    asked: list[int] = []

    def ask(prompt: str) -> None:
        address = prompt.partition(" - ")[0]
        asked.append(urllib3.request("GET", f"{address}/health", retries=False).status)

    monkeypatch.chdir(tmp_path)
    exec(example.replace("port=8889", "port=0"), {"input": ask})
    assert asked == [200]
