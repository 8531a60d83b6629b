"""``usher dev --seed``: sign people up at the local Identity, over HTTP as people do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import click
import urllib3

from usher.cli.dev.folder import SEED_PASSWORD, seed_password
from usher.cli.output import Work, working
from usher.emulator.options import MOUNT
from usher.emulator.people import OWNER, Person, Way, people

AT_ONCE: Final = 6
"""People at the same time. A signup mostly hashes a password, which takes all cores."""
CHUNK: Final = 100
"""People between two looks into the inbox, which shows the last 200 mails."""
STEPS: Final = 2
"""Steps per person, as the progress bar counts: the first, and all that follow."""
EVERYBODY: Final = "/admin/users?per_page=10000"


class End(StrEnum):
    """The result for one person, in the words of the summary."""

    ACTIVE = "active"
    UNCONFIRMED = "not confirmed yet"
    INVITED = "invited"
    REFUSED = "refused by the policy"


class _RefusedError(Exception):
    """Identity refused a person because Usher did."""


class Seeder:
    """Signs people up.

    Args:
        site: the address of ``usher dev``.
        operator_token: of its Identity; invitations need it.
        password: of everybody who comes by e-mail.
    """

    def __init__(self, site: str, operator_token: str, password: str) -> None:
        self._site = site
        self._operator_token = operator_token
        self._password = password
        self._pool = urllib3.PoolManager(retries=False, timeout=60, maxsize=AT_ONCE)
        self._steps = 0

    def run(self, count: int) -> Counter[End]:
        """Sign up the missing ones of the first ``count`` people, and count their results.

        Raises:
            click.ClickException: Identity gave an unexpected answer.
        """
        missing = self._missing(list(islice(people(), count)))
        ends: Counter[End] = Counter()
        with working("Signing up", STEPS * len(missing)) as work:
            for chunk in _chunks(missing):
                ends += self._sign_up(chunk, work)
        return ends

    def close(self) -> None:
        """Close connections; a stopping server would wait for them."""
        self._pool.clear()

    def owner_has_the_password(self) -> bool:
        """Whether the owner has our password; the account may be older than the seed."""
        form = {"grant_type": "password", "username": OWNER, "password": self._password}
        return self._send("POST", "/token", urlencode(form)).status == 200

    def _missing(self, wanted: Sequence[Person]) -> Sequence[Person]:
        """Return the people with steps left. Those refused before are not sent again."""
        answer = self._ask("GET", EVERYBODY, token=self._operator_token)
        confirmed = {user["email"]: "confirmed_at" in user for user in answer["users"]}
        last = max((n for n, who in enumerate(wanted) if who.email in confirmed), default=-1)

        def is_done(number: int, who: Person) -> bool:
            if who.way is Way.DENIED:
                return number < last
            leaves_open = who.way in (Way.NEVER_CONFIRMS, Way.INVITED)
            return who.email in confirmed and (leaves_open or confirmed[who.email])

        return [who for number, who in enumerate(wanted) if not is_done(number, who)]

    def _sign_up(self, chunk: Sequence[Person], work: Work) -> Counter[End]:
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="seed")
        try:
            entered = []
            for end in pool.map(self._enter, chunk):
                entered.append(end)
                self._step(work, people=0)
            tokens = self._tokens()
            ends: Counter[End] = Counter()
            for end in pool.map(lambda who, end: self._finish(who, end, tokens), chunk, entered):
                ends[end] += 1
                self._step(work, people=1)
            return ends
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C or an error, the rest need not begin

    def _step(self, work: Work, people: int) -> None:
        self._steps += 1
        work.add(people, reached=self._steps)

    def _enter(self, who: Person) -> End:
        """Take the first step: a form, a provider's page, or an administrator's invitation."""
        try:
            if who.way in (Way.INVITED, Way.ACCEPTS):
                return self._invite(who)
            if who.provider != "email":
                return self._consent(who)
            account = {
                "email": who.email,
                "password": self._password,
                "data": {"full_name": who.name},
            }
            answer = self._ask("POST", "/signup", account)
        except _RefusedError:
            return End.REFUSED
        return End.ACTIVE if "confirmed_at" in answer else End.UNCONFIRMED

    def _invite(self, who: Person) -> End:
        body = {"email": who.email, "data": {"full_name": who.name}}
        response = self._send("POST", "/invite", body, self._operator_token)
        if response.status != 422 or _message(response) == "Failed to handle signup webhook":
            _read(response, "/invite")
        return End.INVITED

    def _finish(self, who: Person, end: End, tokens: Mapping[str, str]) -> End:
        """Click the mail's link, and log in later, as far as this person goes."""
        try:
            if end is not End.ACTIVE and self._clicks(who, end):
                body = {"type": "signup", "token": tokens[who.email], "password": self._password}
                self._ask("POST", "/verify", body)
                end = End.ACTIVE
            if end is End.ACTIVE and who.returns:
                self._return(who)
        except _RefusedError:
            return End.REFUSED
        return end

    @staticmethod
    def _clicks(who: Person, end: End) -> bool:
        return end is not End.REFUSED and who.way not in (Way.NEVER_CONFIRMS, Way.INVITED)

    def _return(self, who: Person) -> None:
        if who.provider != "email":
            self._consent(who)
            return
        form = {"grant_type": "password", "username": who.email, "password": self._password}
        _read(self._send("POST", "/token", urlencode(form)), "/token")

    def _consent(self, who: Person) -> End:
        """Sign in by the provider's page, where a person gives address and name."""
        asked = self._send("GET", f"/authorize?{urlencode({'provider': who.provider})}")
        page = urlsplit(asked.headers.get("Location", ""))
        if asked.status != 302 or "state" not in parse_qs(page.query):
            _read(asked, "/authorize")
        form = {
            "state": parse_qs(page.query)["state"][0],
            "email": who.email,
            "name": who.name,
            "verified": "on",
            "decision": "allow",
        }
        back = self._send("POST", "/callback", urlencode(form))
        if back.status != 302:
            _read(back, "/callback")
        if "access_token" not in parse_qs(urlsplit(back.headers["Location"]).fragment):
            raise _RefusedError
        return End.ACTIVE

    def _tokens(self) -> dict[str, str]:
        """Return the token in the newest mail to each address."""
        mails = self._ask("GET", f"{self._site}/_dev/mail")["mails"]
        return {mail["to"]: mail["token"] for mail in reversed(mails)}

    def _ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        return _read(self._send(method, path, body, token), path)

    def _send(
        self, method: str, path: str, body: Any = None, token: str = ""
    ) -> urllib3.BaseHTTPResponse:
        url = self._site + MOUNT + path if path.startswith("/") else path
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, dict):
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        elif body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            return self._pool.request(method, url, body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise click.ClickException(f"{method} {path} failed: {error}.") from None


def _read(response: urllib3.BaseHTTPResponse, path: str) -> Any:
    """Return the JSON of a good answer.

    Raises:
        _RefusedError: Usher refused the person.
        click.ClickException: another error.
    """
    message = _message(response)
    if response.status == 200:
        return json.loads(response.data)
    if response.status in (401, 422) and message == "Failed to handle signup webhook":
        raise _RefusedError
    raise click.ClickException(f"{path} was answered {response.status}: {message}")


def _message(response: urllib3.BaseHTTPResponse) -> str:
    try:
        document = json.loads(response.data)
    except ValueError:
        return response.data.decode(errors="replace")[:200]
    return str(document.get("msg") or document.get("error_description") or "")


def _chunks(everybody: Sequence[Person]) -> Iterator[Sequence[Person]]:
    for start in range(0, len(everybody), CHUNK):
        yield everybody[start : start + CHUNK]


def seeded(site: str, operator_token: str, count: int) -> str:
    """Sign people up and print a summary. Return how to sign in to the console.

    The first seed of a folder makes the password at random, and only that one prints it.
    """
    password, new = seed_password()
    seeder = Seeder(site, operator_token, password)
    try:
        return _told(seeder, count, f": {password}" if new else f" is in {SEED_PASSWORD}")
    except KeyboardInterrupt:
        click.echo(f"Not everybody is signed up yet; --seed {count} goes on from here.")
        raise
    finally:
        seeder.close()


def _told(seeder: Seeder, count: int, password: str) -> str:
    began = time.perf_counter()
    ends = seeder.run(count)
    if ends:
        told = ", ".join(f"{ends[end]} {end}" for end in End if ends[end])
        click.echo(f"Signed up in {time.perf_counter() - began:.0f} s: {told}.")
    else:
        click.echo(f"All {count} people of the seed are already here; nobody was signed up.")
    click.echo(f"The password of all who came by e-mail{password}\n")
    if seeder.owner_has_the_password():
        return f"Sign in as {OWNER} with that password."
    return f"Sign in as {OWNER} with the password that you gave it."
