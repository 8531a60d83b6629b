"""The log: one line for each delivery, and nothing personal or secret in any."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from tests.support import OLD_SECRET, SECRET, Server, account, signed
from usher.core.log import configure, get_logger

CANARIES = {
    "email": "canary.address@example.com",
    "name": "Canary Name",
    "value": "canary-metadata-value",
    "key": "canary-metadata-key",
}


def test_no_line_holds_an_address_a_name_a_token_or_a_secret(
    start_server: Callable[..., Server], sqlite_url: str
) -> None:
    """Applied, repeated, denied, invalid, forged: a line each, with ids and rules only."""
    server = start_server(sqlite_url)
    at = datetime.now(UTC)
    who = account(
        email=CANARIES["email"],
        user_metadata={"full_name": CANARIES["name"], CANARIES["key"]: CANARIES["value"]},
        app_metadata={"provider": "email", CANARIES["key"]: [CANARIES["value"]]},
    )
    good = signed("signup", who, at=at)
    denied = signed("signup", replace(who, email="canary@mailinator.com"), at=at)
    forged = signed("login", who, at=at, secret=b"canary-secret-canary-secret-canary")
    broken = signed("signup", replace(who, app_metadata=["canary"]), at=at)
    statuses = [
        server.post(delivery, "identity").status
        for delivery in (good, good, denied, forged, broken)
    ]
    assert statuses == [200, 200, 403, 401, 400]
    server.stop()
    text = server.log.read_text()
    for canary in (
        *CANARIES.values(),
        "canary",
        "mailinator",
        SECRET.decode(),
        OLD_SECRET.decode(),
        good.headers["X-Webhook-Signature"],
        forged.headers["X-Webhook-Signature"],
        good.headers["X-Webhook-Signature"].rpartition(".")[2],
    ):
        assert canary not in text, canary
    adopted, *lines = [json.loads(line) for line in text.splitlines()]
    assert adopted["event"] == "instance.adopted"
    names = [line["event"] for line in lines]
    assert names == [
        "event.applied",
        "event.repeated",
        "event.denied",
        "signature.rejected",
        "event.invalid",
    ]
    for line in lines:
        assert {"level", "timestamp", "duration_ms"} <= line.keys()
        if line["event"] == "signature.rejected":
            assert line["reason"] == "signature_mismatch"
        else:
            assert len(line["delivery_id"]) == 72
            assert line["key_index"] == 0
    assert lines[0]["rules"] == ["admission.default", "role.1", "role.2"]


def test_a_log_that_cannot_be_written_fails_nothing() -> None:
    """A full disk under the log is no reason to refuse an event; the lines are lost."""
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - its end fails, too
    configure(full)
    for _ in range(1_000):  # more than any buffer takes
        get_logger().error("event.held", detail="x" * 100)
    with suppress(OSError):
        full.close()
