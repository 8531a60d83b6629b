"""A role taken away while the answer to a login is on its way back to Identity.

Identity locks nothing during a login, so that the answer, which holds the role still, overwrites
what an administrator has just changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from tests.api.api_support import bearer
from tests.emulator.world import JWT_SECRET, World
from tests.support import SECRET, Clock
from usher.core.app import App, use
from usher.core.jws import read_unverified
from usher.core.settings import Settings
from usher.emulator.options import Webhook
from usher.emulator.server import serving
from usher.functions import api, identity
from usher.functions._shared.http import Request, Response

GIVEN = [f"role{number}" for number in range(5)]
EMAIL = "bob@example.com"


@dataclass
class Site:
    """Usher behind an Identity; ``meanwhile`` is done while a login's answer is on its way."""

    clock: Clock
    world: World = field(init=False)
    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    user_id: str = ""
    boss: str = ""

    def hook(self, request: Request) -> Response:
        """Usher's answer, held back while somebody else does something."""
        answer = identity.hook.answer(request)
        if json.loads(request.body)["event"] == "login":
            while self.meanwhile:
                self.meanwhile.pop()()
        return answer

    def log_in(self) -> list[str]:
        """The roles in the token of a login."""
        self.clock.advance(seconds=1)
        claims = read_unverified(self.world.token(EMAIL), 20_000)
        roles: list[str] = claims["app_metadata"].get("roles", [])
        return sorted(set(roles) & set(GIVEN))

    def grant(self, role: str) -> None:
        """An administrator grants a role here, which the next answer tells Identity."""
        self.clock.advance(seconds=1)
        event = {
            "httpMethod": "PUT",
            "path": f"/api/users/{self.user_id}/roles/{role}",
            "headers": {
                "authorization": "Bearer " + bearer(UUID(self.boss), self.clock(), JWT_SECRET)
            },
        }
        answer = api.handler(event, None)
        assert answer["statusCode"] == 200, answer["body"]

    def hold(self, roles: list[str]) -> None:
        """An administrator leaves these roles, at Identity."""
        self.put({"roles": ["member", *roles]})

    def put(self, app_metadata: dict[str, list[str]]) -> None:
        """A change at Identity."""
        self.clock.advance(seconds=1)
        body = {"app_metadata": app_metadata}
        assert self.world.admin("PUT", f"/admin/users/{self.user_id}", body).status == 200


@pytest.fixture
def site(
    make: Callable[..., World],
    database_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
) -> Iterator[Site]:
    """Somebody with five roles from Identity."""
    settings = make_settings(database_url=database_url, jwt_secret=JWT_SECRET)
    made = Site(clock)
    with use(App(settings, clock)), serving(made.hook) as url:
        webhook = Webhook(url=f"{url}/.netlify/functions/identity", secret=SECRET)
        made.world = make(webhook=webhook, clock=clock)
        made.boss = made.world.member("owner@example.com")
        made.user_id = made.world.member(EMAIL)
        made.hold(GIVEN)
        assert made.log_in() == GIVEN
        yield made


def test_e1_a_role_taken_away_while_an_answer_is_on_its_way_stays_away(site: Site) -> None:
    """The answer holds it still, and reaches Identity after the change."""
    site.grant("extra")
    site.meanwhile.append(lambda: site.hold(GIVEN[:-1]))
    site.log_in()
    assert site.log_in() == GIVEN[:-1]


def test_e1_five_roles_taken_away_one_after_another_stay_away(site: Site) -> None:
    """Each time an answer is on its way that still has the role."""
    for left in range(4, -1, -1):
        site.grant(f"extra{left}")
        site.meanwhile.append(lambda roles=GIVEN[:left]: site.hold(roles))  # type: ignore[misc]
        site.log_in()
    assert site.log_in() == []


def test_e1_a_role_given_while_an_answer_is_on_its_way_is_kept(site: Site) -> None:
    """The other way round: an administrator's grant is lost."""
    site.hold([])
    site.log_in()
    site.grant("extra")
    site.meanwhile.append(lambda: site.hold(GIVEN))
    site.log_in()
    assert site.log_in() == GIVEN


def test_roles_taken_away_between_two_logins_stay_away(site: Site) -> None:
    """Nothing is on its way then."""
    for left in range(4, -1, -1):
        site.hold(GIVEN[:left])
        assert site.log_in() == GIVEN[:left]
