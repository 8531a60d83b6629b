"""A real server whose callable policy raises: what is seen, and the same event once mended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.api.api_support import JWT_SECRET, bearer
from tests.dev_process import GUIDED, Dev, Site
from tests.support import SECRET, Server, Signed, account, signed

BROKEN = '''"""The rules of a site, as code."""

import json

from usher.core.domain.policy import Verdict


def decide(applicant):
    """Everybody has a plan, but for most."""
    if applicant.address == "owner@example.com":
        return Verdict(roles=frozenset({"admin"}))
    return Verdict(roles=frozenset(json.loads("{")[applicant.address]))  # line 12
'''
MENDED = BROKEN.replace('frozenset(json.loads("{")[applicant.address])', 'frozenset({"member"})')
METRICS = "a-token-for-the-reader-of-metrics"


class Hosted:
    """A site behind ``usher serve``, whose policy can be written anew."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.variables = {
            "USHER_DATABASE_URL": database_url,
            "USHER_WEBHOOK_SECRETS": SECRET.decode(),
            "USHER_JWT_SECRET": JWT_SECRET.decode(),
            "USHER_METRICS_TOKEN": METRICS,
            "USHER_POLICY": "rules:decide",
        }
        self.now = datetime.now(UTC)
        self.owner = account(email="owner@example.com", at=self.now)
        self.server: Server | None = None

    def serve(self, rules: str) -> Server:
        """Start the server with this policy; the one before was killed or stopped."""
        (self.folder / "rules.py").write_text(rules)
        self.server = Server(self.folder, self.variables)
        return self.server

    def signed(self, event: str, email: str) -> Signed:
        """An event of now."""
        return signed(event, account(email=email, at=self.now), at=self.now)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What the API answers the administrator."""
        assert self.server is not None
        answer = self.server.pool.request(
            method,
            f"{self.server.url}/api{path}",
            body=None if body is None else json.dumps(body),
            headers={
                "Authorization": f"Bearer {bearer(self.owner.id, datetime.now(UTC))}",
                "Content-Type": "application/json",
            },
        )
        assert answer.status == 200, answer.data
        return answer.json()

    def counted(self, event: str) -> dict[str, int]:
        """Deliveries of an event by outcome, as the Overview has them."""
        days = self.ask("/stats")["events"]
        return {each["outcome"]: each["count"] for each in days if each["event"] == event}

    def metric(self, event: str, outcome: str) -> float:
        """``usher_deliveries_total`` with these labels."""
        assert self.server is not None
        page = self.server.pool.request(
            "GET", f"{self.server.url}/metrics", headers={"Authorization": f"Bearer {METRICS}"}
        ).data.decode()
        found = re.search(
            rf'usher_deliveries_total{{event="{event}",outcome="{outcome}"}} (\S+)', page
        )
        return float(found[1]) if found else 0.0

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of its log of this name."""
        text = (self.folder / "server.log").read_text().splitlines()
        read = [json.loads(line) for line in text if line.startswith("{")]
        return [line for line in read if line["event"] == name]


@pytest.fixture
def hosted(tmp_path: Path, database_url: str) -> Iterator[Hosted]:
    """A site whose server ends with the test."""
    made = Hosted(tmp_path, database_url)
    yield made
    if made.server is not None:
        made.server.stop()


def test_c2_a_policy_that_raises_is_seen_everywhere_and_its_event_is_applied_once_mended(
    hosted: Hosted,
) -> None:
    """Three attempts of Identity's fail and are one event; the same bytes are applied later."""
    server = hosted.serve(BROKEN)
    owner = signed("signup", hosted.owner, at=hosted.now)
    assert server.post(owner).status == 200
    bad = hosted.signed("signup", "ada@example.com")
    for _ in range(3):
        answer = server.post(bad)
        assert answer.status == 500
        assert answer.json()["code"] == "policy_invalid"
        assert "detail" not in answer.json()
    (event,) = hosted.ask("/events?outcome=failed")["events"]
    error, at = event["reasons"]
    assert error["rule"] == "error"
    assert error["text"].startswith("JSONDecodeError: Expecting property name")
    assert at == {"rule": "error.at", "text": "rules.py:12"}
    assert (event["outcome"], event["reply"]["status"]) == ("failed", 500)
    assert hosted.counted("signup") == {"applied": 1, "failed": 1}
    assert hosted.metric("signup", "failed") == 3
    told = hosted.lines("event.failed")
    assert [(line["error"], line["file"], line["line"]) for line in told] == [
        ("JSONDecodeError", "rules.py", 12)
    ] * 3
    assert "ada@example.com" not in (hosted.folder / "server.log").read_text()
    rehearsed = hosted.ask(f"/events/{event['id']}/replay", "POST", {"dry_run": True})
    assert rehearsed["now"]["outcome"] == "failed"
    assert [each["text"] for each in rehearsed["now"]["reasons"]][1] == "rules.py:12"

    server.kill()
    server = hosted.serve(MENDED)
    assert hosted.counted("signup") == {"applied": 1, "failed": 1}
    assert [server.post(bad).status for _ in range(2)] == [200, 200]
    (kept,) = hosted.ask("/events?limit=1")["events"]
    assert (kept["id"], kept["outcome"], kept["reply"]["status"]) == (event["id"], "applied", 200)
    assert hosted.ask("/events?outcome=failed")["events"] == []
    assert hosted.counted("signup") == {"applied": 2}
    assert hosted.ask("/users?email=ada")["users"][0]["roles"] == ["member"]


def test_c2_what_identity_does_not_send_again_is_decided_again_by_an_administrator(
    hosted: Hosted,
) -> None:
    """A change at Identity that failed is applied over the API; the event has its outcome."""
    server = hosted.serve(BROKEN)
    assert server.post(signed("signup", hosted.owner, at=hosted.now)).status == 200
    confirmed = account(email="ada@example.com", at=hosted.now, confirmed_at=hosted.now)
    changed = signed("usermodified", confirmed, at=hosted.now)
    assert server.post(changed).status == 500
    (event,) = hosted.ask("/events?outcome=failed")["events"]
    server.kill()
    hosted.serve(MENDED)
    done = hosted.ask(f"/events/{event['id']}/replay", "POST", {"dry_run": False})
    assert (done["recorded"]["outcome"], done["now"]["outcome"]) == ("failed", "applied")
    assert done["user"]["roles"] == ["member"]
    assert hosted.ask(f"/events/{event['id']}")["outcome"] == "applied"
    assert hosted.counted("usermodified") == {"applied": 1}


def test_c2_usher_dev_shows_the_whole_traceback(tmp_path: Path) -> None:
    """Below the line of the log, for whoever writes the rules."""
    (tmp_path / "rules.py").write_text(BROKEN)
    running = Dev(tmp_path, USHER_POLICY="rules:decide")
    try:
        running.says(GUIDED)
        form = {"email": "ada@example.com", "password": "a password"}
        status, _ = Site(running.url).identity("POST", "/signup", form)
        assert status == 422
        running.says("json.decoder.JSONDecodeError: ")
        text = running.log.read_text()
        assert '"event":"event.failed"' in text
        assert "Traceback (most recent call last):" in text
        assert f'File "{tmp_path / "rules.py"}", line 12, in decide' in text
    finally:
        running.stop()
