"""A few hundred believable accounts, and some whose names try to be code, through the pipeline."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from tests.support import Signed, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.codes import NewCodes
from usher.core.domain.keys import NewKey, Scope
from usher.core.domain.records import User
from usher.emulator.payload import Account
from usher.emulator.people import DOMAINS, FIRST, LAST, OWNER, OWNER_NAME, PROVIDERS

HOME = UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")
PLAIN = "bob.plain@example.org"
NEWCOMER = "wanda@newcomers.example"
ASKED = "I am the new treasurer of the club; Selma Lindqvist knows me."
CANARY = "window.__canary=(window.__canary||0)+1"
NEWCOMERS = [
    ("Wanda Newcomer", NEWCOMER, ASKED),
    ("Nils Ekholm", "nils@newcomers.example", ""),
    ("Farah Aziz", "farah.aziz@newcomers.example", "Met you at the spring meeting in Turku."),
    ("Theodora Papadopoulou-Lindgren", "theodora@newcomers.example", ""),
]
"""Those whom the policy lets wait, and their words to the administrators."""
NAUGHTY = [
    f"<script>{CANARY}</script>",
    f"<img src=x onerror={CANARY}>",
    f"javascript:{CANARY}",
    f'"><svg onload={CANARY}>',
    f"'-{CANARY}-'",
    "{{constructor.constructor('alert(1)')()}}",
    f"</title><script>{CANARY}</script>",
    "\u202eevil\u202c right to left",
    "Ünïcödé 漢字 العربية 🎟️",
    "A" * 180,
]


def seed(app: App, now: datetime, count: int = 320, days: int = 30) -> None:
    """Fill the store with what might have happened in the last ``days`` days."""
    rng = random.Random(1812)
    events: list[tuple[datetime, Signed]] = []
    begin = now - timedelta(days=days)
    events += _life(rng, _person(OWNER_NAME, OWNER, "email"), begin, now, visits=24)
    bob = _person("Bob Plain", PLAIN, "email")
    events += _life(rng, bob, begin + timedelta(days=1), now, visits=3)
    names = [f"{rng.choice(FIRST)} {rng.choice(LAST)}" for _ in range(count - len(NAUGHTY))]
    for number, name in enumerate([*names, *NAUGHTY]):
        local = name.lower().replace(" ", ".") if name in names else f"naughty{number}"
        email = f"{local}{number % 7 or ''}@{rng.choice(DOMAINS)}"
        who = _person(name, email, rng.choice(PROVIDERS))
        # More people come towards the end. By days of the week, it would be others every day.
        joined = begin + timedelta(days=days * rng.random() ** 0.7)
        if name in NAUGHTY:
            joined = now - timedelta(minutes=100 - number % 50)
        events += _life(rng, who, max(joined, begin), now, visits=rng.choice([0, 1, 1, 2, 4, 9]))
    for number in range(26):
        email = f"promo{number}@mailinator.com"
        who = _person("Promo", email, "email")
        at = begin + timedelta(days=days * rng.random() ** 0.5)
        events.append((at, signed("validate", who, at=at)))
    newcomers = [_person(name, email, "email") for name, email, _ in NEWCOMERS]
    for number, who in enumerate(newcomers):
        events += _life(rng, who, now - timedelta(hours=70 - 11 * number), now, visits=0)
    events = sorted((each for each in events if each[0] <= now), key=lambda each: each[0])
    app.webhooks.process([verified(app.webhooks, event, at) for at, event in events])
    _administer(app, rng, now)
    _ask(app)
    _hand_out_codes(app)
    _connect(app)


def grown_up(app: App, email: str) -> UUID:
    """The id of whoever has this address."""
    return app.store.users.find(email).id


def _person(name: str, email: str, provider: str) -> Account:
    return account(
        user_id=uuid5(HOME, email),
        email=email,
        provider=provider,
        user_metadata={"full_name": name},
    )


def _life(
    rng: random.Random, who: Account, joined: datetime, now: datetime, visits: int
) -> Iterator[tuple[datetime, Signed]]:
    moment = joined.replace(microsecond=0)
    born = _at(who, moment)
    yield moment, signed("validate", born, at=moment)
    if rng.random() < 0.06 and visits < 2:
        return  # never confirmed
    moment += timedelta(minutes=rng.randint(1, 90))
    yield moment, signed("signup", born, at=moment)
    for _ in range(visits):
        moment += timedelta(hours=rng.randint(5, 150))
        if moment > now:
            return
        yield moment, signed("login", _at(born, joined, confirmed_at=joined), at=moment)


def _at(who: Account, moment: datetime, **fields: object) -> Account:
    proof = moment if who.app_metadata and who.app_metadata.get("provider") == "email" else None
    values = {name: getattr(who, name) for name in ("email", "app_metadata", "user_metadata")}
    times = {"created_at": moment, "updated_at": moment, "confirmation_sent_at": proof}
    return Account(id=who.id, **{**values, **times, **fields})


def _hand_out_codes(app: App) -> None:
    """Codes of three kinds, one of them revoked."""
    boss = f"user:{uuid5(HOME, OWNER)}"
    ends = app.clock() + timedelta(days=20)
    for wanted in (
        NewCodes(count=2, roles=("member",), label="Autumn course", ends_at=ends),
        NewCodes(allowed=30, roles=("beta", "volunteer"), roles_until=ends, label="Festival week"),
    ):
        app.codes.make(wanted, boss)
    ((_, old),) = app.codes.make(NewCodes(label="The board's guests"), boss)
    app.codes.revoke(old.id, boss, "Was printed in the newsletter")


def _connect(app: App) -> None:
    """Sinks and keys, of which one is paused and one revoked.

    No webhook is ever sent to them: of the kinds of the sink that is not paused nothing comes.
    """
    boss = f"user:{uuid5(HOME, OWNER)}"
    crm, _ = app.sinks.add("https://crm.example.com/hooks/usher", ["*"], boss, full=True)
    app.sinks.pause(crm.id, boss, "Moves to another host")
    app.sinks.add("http://127.0.0.1:1024/refused", ["event.*"], boss)
    ends = app.clock() + timedelta(days=90)
    for name, scopes, until in (
        ("newsletter", (Scope.USERS_READ, Scope.CHANGES_READ), ends),
        ("guard-of-the-forum", (Scope.CLIENTS_NAME,), None),
        ("intern", tuple(Scope), ends),
    ):
        app.keys.create(NewKey(name, frozenset(scopes), until), boss)
    app.keys.revoke("intern", boss, "Was in a public repository")


def _ask(app: App) -> None:
    """Words of people who wait, and roles that two of those who are in ask for."""
    find = app.store.users.find
    wishes: list[tuple[User, str | None, str]]
    wishes = [(find(email), None, words) for _, email, words in NEWCOMERS]
    wishes.append((find(PLAIN), "editor", "I write the newsletter from January on."))
    wishes.append((find(PLAIN), "moderator", ""))
    for user, role, words in wishes:
        if user.status != "pending":
            app.requests.ask(user, role, words, f"user:{user.id}")


def _administer(app: App, rng: random.Random, now: datetime) -> None:
    users = app.store.users
    boss = f"user:{uuid5(HOME, OWNER)}"
    everybody = [user for user in users.page(limit=200).items if user.email not in (OWNER, PLAIN)]
    active = [user for user in everybody if user.status == "active"]
    grants = [
        ("editor", "Writes the newsletter", None),
        ("editor", "Covers for Selma in spring", timedelta(days=40)),
        ("moderator", "Looks after the forum", None),
        ("beta", "Asked to try the new player", timedelta(days=9)),
        ("volunteer", "Festival week", timedelta(days=3)),
    ]
    for user in rng.sample(active, 46):
        role, reason, until = rng.choice(grants)
        ends = now + until if until else None
        users.change(
            users.get(user.id), administration.grant(role, expires_at=ends), Change(boss, reason)
        )
    for user in rng.sample(active, 9):
        users.change(
            users.get(user.id),
            administration.suspend(),
            Change(boss, "Chargeback; wrote to them on Monday"),
        )
    for user in rng.sample(active, 6):
        users.change(
            users.get(user.id), administration.delete(), Change(boss, "Asked to be forgotten")
        )
    for user in rng.sample(active, 4):
        current = users.get(user.id)
        if current.status == "active":
            users.change(
                current, administration.revoke("member"), Change(boss, "Shared the account")
            )
