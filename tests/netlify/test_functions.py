"""The two functions answer as Usher does anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.netlify.functions import Functions, functions
from tests.support import account, signed


def test_a_forged_event_is_refused(running: Functions) -> None:
    """The signature is checked by Usher's own code, within Netlify's function."""
    told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert (told.status, told.document["code"]) == (401, "signature_invalid")


def test_the_api_answers(running: Functions) -> None:
    """By either of its addresses."""
    for base in ("/api", "/.netlify/functions/api"):
        told = running.ask(f"{base}/health", "GET")
        assert (told.status, told.document) == (200, {"status": "ok"})


def test_an_answer_to_identity_has_a_length_and_is_not_transformed(running: Functions) -> None:
    """Identity's older senders ignore an answer without a length, and with it the roles."""
    told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert told.headers["content-length"] == str(len(told.body))
    assert told.headers["cache-control"] == "no-store, no-transform"


def test_without_a_database_every_answer_says_so(site: Path) -> None:
    """A database of SQLite would be lost with the function, so it counts for none."""
    event = signed("signup", account(), at=datetime.now(UTC))
    with functions(site, USHER_DATABASE_URL="") as without:
        for env in ({}, {"USHER_DATABASE_URL": "sqlite:///usher.db"}):
            told = without.deliver(event, env=env)
            assert (told.status, told.document["code"]) == (503, "no_database")
            assert "USHER_DATABASE_URL" in told.document["title"]
