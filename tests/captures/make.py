"""Writes the captures beside it: deliveries in exactly the form in which Identity sends them.

``python -m tests.captures.make`` writes them again; a test says when they differ from this. Each
file is one situation of docs/identity.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from msgspec.structs import replace

from usher.core.captures.format import (
    EVENT_HEADER,
    SIGNATURE,
    Capture,
    write_act,
    write_line,
)
from usher.core.domain.records import AuditEntry
from usher.core.jws import PUBLIC_SECRET, sign_event
from usher.emulator.payload import ZERO_INSTANCE, Account, event_body

HERE = Path(__file__).parent
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Story:
    """One file: people, and what Identity sent of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.now = START

    def person(self, email: str, provider: str = "email", **fields: Any) -> Account:
        """Somebody who has just asked for an account, with a confirmation mail under way."""
        if provider == "email":
            fields = {"confirmation_sent_at": self.now} | fields
        return Account(
            id=uuid5(NAMESPACE_DNS, f"{self.name}/{email}"),
            email=email,
            created_at=self.now,
            updated_at=self.now,
            **{"app_metadata": {"provider": provider}} | fields,
        )

    def send(
        self,
        event: str,
        who: Account,
        *,
        function: str = "identity",
        times: int = 1,
        issued: datetime | None = None,
        change: Callable[[bytes], bytes] = bytes,
        instance_id: UUID = ZERO_INSTANCE,
        secret: bytes = PUBLIC_SECRET,
    ) -> None:
        """An event, so many attempts of it, half a minute after what was before."""
        self.now += timedelta(seconds=30)
        body = change(event_body(event, who, instance_id))
        at = int((issued or self.now).timestamp())
        for attempt in range(times):
            capture = Capture(
                received_at=self.now + timedelta(milliseconds=120 + 5_000 * attempt),
                method="POST",
                path=f"/.netlify/functions/{function}",
                headers={
                    "Content-Type": "application/json",
                    EVENT_HEADER: f"identity_{event}",
                    SIGNATURE: sign_event(body, instance_id, at, secret),
                },
                body=body,
            )
            self.lines.append(write_line(capture))

    def act(self, who: Account, action: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """What an administrator did."""
        self.now += timedelta(seconds=30)
        entry = AuditEntry(
            action, "cli:ada", ZERO_INSTANCE, who.id, self.now, before, after, "asked for it"
        )
        self.lines.append(write_act(entry))


def email_signup(story: Story) -> None:
    """Mail and password: validate, the link is clicked (signup), logins; then a denied one."""
    ada = story.person("Ada.Lovelace@example.com", user_metadata={"full_name": "Ada Lovelace"})
    story.send("validate", ada, function="identity-validate")
    story.send("signup", ada, function="identity-signup")
    held = {"provider": "email", "roles": ["member", "staff"]}
    ada = replace(ada, confirmed_at=story.now, app_metadata=held)
    for _ in range(2):
        ada = replace(ada, last_sign_in_at=story.now, updated_at=story.now)
        story.send("login", ada, function="identity-login")
    mallory = story.person("mallory@mailinator.com")
    story.send("validate", mallory, times=3)
    story.send("signup", mallory, times=3)


def providers(story: Story) -> None:
    """The first external login: validate and signup at once, then logins."""
    for provider in ("google", "github", "gitlab", "bitbucket", "facebook", "saml"):
        who = story.person(
            f"dev@{provider}.example",
            provider,
            user_metadata={"avatar_url": f"https://{provider}.example/a.png", "full_name": "Dev"},
        )
        story.send("validate", who)
        story.send("signup", who)
        who = replace(who, confirmed_at=story.now, last_sign_in_at=story.now)
        story.send("login", who)


def invite(story: Story) -> None:
    """Invited by an administrator, accepted a day later."""
    eve = story.person("eve@example.com", confirmation_sent_at=None, invited_at=story.now)
    story.send("validate", eve)
    story.now += timedelta(days=1)
    story.send("signup", eve)
    never = story.person("never@b.example", confirmation_sent_at=None, invited_at=story.now)
    story.send("validate", never)


def recovery(story: Story) -> None:
    """Somebody never confirmed recovers the password, which confirms; and somebody confirmed."""
    late = story.person("late@example.com")
    story.send("validate", late)
    late = replace(late, recovery_sent_at=story.now)
    story.send("signup", late)
    late = replace(late, confirmed_at=story.now, recovery_sent_at=story.now)
    story.send("login", late)


def autoconfirm(story: Story) -> None:
    """No mail was sent: nothing is proven, so rules that name an address give nothing."""
    for email in ("owner@example.com", "plain@b.example"):
        who = story.person(email, confirmation_sent_at=None)
        story.send("validate", who)
        story.send("signup", who)
        who = replace(who, confirmed_at=story.now, last_sign_in_at=story.now)
        story.send("login", who)


def null_metadata(story: Story) -> None:
    """Either map can be null, and app_metadata can be empty."""
    nulls: tuple[dict[str, Any], ...] = (
        {"app_metadata": None}, {"user_metadata": None}, {"app_metadata": {}},
        {"app_metadata": None, "user_metadata": {}}, {"app_metadata": {"roles": []}},
    )  # fmt: skip
    for number, fields in enumerate(nulls):
        who = story.person(f"null{number}@example.com", **fields)
        story.send("signup", who)
        story.send("login", replace(who, confirmed_at=story.now))


def retries(story: Story) -> None:
    """Three attempts of one event are one delivery; the same words a minute later are another."""
    ada = story.person("ada@example.com")
    story.send("signup", ada, times=3)
    ada = replace(ada, confirmed_at=story.now)
    story.send("login", ada, times=2)
    story.send("login", ada)


def disorder(story: Story) -> None:
    """What was issued first arrives last, and overwrites nothing."""
    ada = story.person("ada@example.com", user_metadata={"full_name": "Ada"})
    first = story.now
    renamed = replace(ada, user_metadata={"full_name": "Ada King"}, confirmed_at=first,
                      updated_at=first + timedelta(seconds=90))  # fmt: skip
    story.send("usermodified", renamed, issued=first + timedelta(seconds=90))
    story.send("login", replace(ada, confirmed_at=first), issued=first + timedelta(seconds=60))
    story.send("signup", ada, issued=first + timedelta(seconds=30))
    story.send("validate", ada, issued=first)
    story.send("login", renamed)


def roles_at_identity(story: Story) -> None:
    """An administrator of Identity gives a role and takes one away; the echo is no grant."""
    ada = story.person("ada@example.com")
    story.send("signup", ada)
    for roles in (["member", "staff"], ["editor", "member", "staff"], ["editor", "member"], []):
        held = {"provider": "email", "roles": roles, "plan": "gold"}
        ada = replace(ada, app_metadata=held, confirmed_at=START, updated_at=story.now)
        story.send("usermodified", ada)
        story.send("login", ada)


def administrators(story: Story) -> None:
    """Grants, a suspension and its end, between events."""
    ada = story.person("ada@example.com")
    story.send("signup", ada)
    ada = replace(ada, confirmed_at=story.now)
    policy = {"is": "grant", "until": None, "reason": ""}
    roles = {"member": {"policy": policy}, "staff": {"policy": policy}}
    given = {"administrator": {"is": "grant", "until": None, "reason": "asked for it"}}
    story.act(ada, "role.granted", {"roles": roles}, {"roles": roles | {"editor": given}})
    story.send("login", ada)
    story.act(ada, "user.suspended", {"status": "active"}, {"status": "suspended"})
    story.send("login", ada, times=3)
    story.act(ada, "user.reactivated", {"status": "suspended"}, {"status": "active"})
    story.send("login", ada)


def deletion(story: Story) -> None:
    """A tombstone stays: what comes late or again changes nothing."""
    ada = story.person("ada@example.com", user_metadata={"full_name": "Ada"})
    story.send("signup", ada)
    ada = replace(ada, confirmed_at=story.now)
    story.send("userdeleted", ada, function="identity-userdeleted", times=2)
    story.send("login", ada)
    story.send("usermodified", ada)
    never_seen = story.person("ghost@b.example")
    story.send("userdeleted", never_seen)


def changes(story: Story) -> None:
    """An address under change, then changed; letters, names and times of all kinds."""
    ada = story.person("Ada <ada@example.com>", user_metadata={"full_name": "<Ada> & Zoë 🎟"})
    story.send("signup", ada)
    moving = replace(ada, confirmed_at=story.now, new_email="ada@b.example",
                     email_change_sent_at=story.now)  # fmt: skip
    story.send("login", moving)
    moved = replace(moving, email="ada@b.example", new_email="")
    story.send("login", moved)
    fine = replace(moved, updated_at=moved.updated_at + timedelta(microseconds=120_500))
    story.send("usermodified", replace(fine, role="admin", aud="somebody"))
    offset = story.person("offset@example.com")
    story.send(
        "signup",
        offset,
        change=lambda body: body.replace(b'"2026-03-02T09:', b'"2026-03-02T11:').replace(
            b':00Z"', b':00.123456789+02:00"'
        ),
    )


def odd(story: Story) -> None:
    """Good signatures over what cannot be used, and one that is forged."""
    ada = story.person("ada@example.com")
    story.send("signup", ada, change=lambda body: body.replace(b'"signup"', b'"welcomed"'))
    story.send("signup", ada, function="identity-login")
    story.send("signup", ada, change=lambda body: body[:-2])
    story.send("signup", ada, change=lambda body: body.replace(b'"email":', b'"email":1,"e":'))
    story.send(
        "signup", ada, change=lambda body: body.replace(b'{"event"', b'{"event":"x","event"')
    )
    story.send("signup", ada, secret=b"somebody else's secret, who is not us")
    story.send("signup", ada, issued=story.now - timedelta(hours=1))
    story.send(
        "signup", ada, change=lambda body: body.replace(b'"id":"', b'"new":{"a":[1]},"id":"')
    )


def odd_roles(story: Story) -> None:
    """Scripts at Identity wrote as roles what is no list of names, and mended it in the end."""
    ada = story.person("ada@example.com")
    story.send("signup", ada)
    ada = replace(ada, confirmed_at=story.now)
    odd: list[Any] = ["editor", 7, "", {"x": 1}, "  ", "x" * 300]
    answered = ["editor", "member", "staff", *odd[1:]]
    for held in (" editor ", odd, answered, ["editor ", "member", "staff"], 7, {"editor": True}):
        ada = replace(ada, app_metadata={"provider": "email", "roles": held})
        story.send("usermodified", ada)
        story.send("login", ada)
    ada = replace(ada, app_metadata={"provider": "email", "roles": ["editor", "member", "staff"]})
    story.send("usermodified", ada)


STORIES = (
    email_signup,
    providers,
    invite,
    recovery,
    autoconfirm,
    null_metadata,
    retries,
    disorder,
    roles_at_identity,
    administrators,
    deletion,
    changes,
    odd,
    odd_roles,
)


def written() -> dict[str, str]:
    """Every file by its name."""
    files = {}
    for tell in STORIES:
        story = Story(tell.__name__)
        tell(story)
        files[f"{tell.__name__.replace('_', '-')}.jsonl"] = "".join(
            f"{line}\n" for line in story.lines
        )
    return files


if __name__ == "__main__":
    for name, text in written().items():
        (HERE / name).write_text(text, encoding="utf-8")
