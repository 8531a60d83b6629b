"""Usher's client of the admin API against the emulator over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest

from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World
from usher.core.errors import (
    IdentityCredentialsError,
    IdentityNotConfiguredError,
    IdentityRefusedError,
)
from usher.core.identity.client import IdentityClient
from usher.core.identity.http import HttpTransport, system_token
from usher.emulator.server import serving

Tokens = {
    "operator": lambda world: OPERATOR,
    "system": lambda world: system_token(JWT_SECRET, None, world.clock().timestamp()),
}


@pytest.fixture
def address(quiet: World) -> Iterator[str]:
    """The emulator's base address."""
    with serving(quiet.emulator.handle) as url:
        yield url + MOUNT


@pytest.fixture(params=Tokens)
def client(request: pytest.FixtureRequest, quiet: World, address: str) -> IdentityClient:
    """With each kind of credentials."""
    make: Callable[[World], str] = Tokens[request.param]
    return IdentityClient(address, HttpTransport(address, lambda: make(quiet)))


def test_every_account_is_on_exactly_one_page(quiet: World, client: IdentityClient) -> None:
    """The oldest first; the last page says so, and every page how many there are."""
    ids = []
    for number in range(5):
        ids.append(UUID(quiet.member(f"p{number}@example.com")))
        quiet.clock.advance(seconds=1)
    pages = [client.users(page, 2) for page in (1, 2, 3)]
    assert [user.id for page in pages for user in page.users] == ids
    assert [(page.more, page.total) for page in pages] == [(True, 5), (True, 5), (False, 5)]
    assert client.users(4, 2).users == ()
    assert client.users(1, 5).more is False


def test_one_account_is_read_as_an_event_is(quiet: World, client: IdentityClient) -> None:
    """And one that is not there is None."""
    user_id = UUID(quiet.member(full_name="Ada"))
    user = client.user(user_id)
    assert user is not None
    assert (user.id, user.email) == (user_id, "ada@example.com")
    assert user.user_metadata == {"full_name": "Ada"}
    assert user.confirmed_at is not None
    assert client.user(uuid4()) is None


def test_metadata_is_merged_and_null_takes_a_key_away(quiet: World, client: IdentityClient) -> None:
    """What is not named stays."""
    user_id = UUID(quiet.member(full_name="Ada"))
    client.update(user_id, app_metadata={"plan": "gold", "seats": 3})
    changed = client.update(user_id, app_metadata={"roles": ["editor"], "seats": None})
    assert changed is not None
    wanted = {"provider": "email", "plan": "gold", "roles": ["editor"]}
    assert changed.app_metadata == wanted
    again = client.user(user_id)
    assert again is not None
    assert again.app_metadata == wanted
    client.update(user_id, {"plan": "silver"}, {"crm": 7, "seat": 1})
    client.update(user_id, {}, {"seat": None})
    both = client.user(user_id)
    assert both is not None
    assert both.app_metadata == wanted | {"plan": "silver"}
    assert both.user_metadata == {"full_name": "Ada", "crm": 7}
    assert client.update(uuid4(), app_metadata={"plan": "gold"}) is None


def test_an_account_is_made_and_deleted(quiet: World, client: IdentityClient) -> None:
    """A second deletion finds nothing, which is no error."""
    user = client.create("bob@example.com", "a password", confirm=True, data={"full_name": "Bob"})
    assert user.confirmed_at is not None
    assert quiet.log_in("bob@example.com", "a password").status == 200
    with pytest.raises(IdentityRefusedError, match="already"):
        client.create("bob@example.com", "a password")
    assert client.delete(user.id) is True
    assert client.delete(user.id) is False
    assert client.user(user.id) is None


def test_somebody_is_invited_by_mail(quiet: World, client: IdentityClient) -> None:
    """Identity's own sentence says why it would not."""
    guest = client.invite("guest@example.com", {"full_name": "Guest"})
    assert (guest.email, guest.confirmed_at) == ("guest@example.com", None)
    assert quiet.mails[-1].to == "guest@example.com"
    with pytest.raises(IdentityRefusedError, match="already registered"):
        client.invite("guest@example.com", {})


@pytest.mark.parametrize("token", ["", "wrong", system_token(b"w" * 32, None, 2e9)])
def test_credentials_that_are_not_good_are_an_error_of_their_own(address: str, token: str) -> None:
    """It names no token, and says where to look."""
    client = IdentityClient(address, HttpTransport(address, lambda: token))
    for ask in (client.users, client.probe, lambda: client.delete(uuid4())):
        with pytest.raises(IdentityCredentialsError, match="usher doctor") as caught:
            ask()
        assert not token or token not in str(caught.value)


def test_a_system_token_lasts_a_minute(quiet: World, address: str) -> None:
    """Whoever catches one cannot keep it."""
    token = system_token(JWT_SECRET, None, quiet.clock().timestamp())
    client = IdentityClient(address, HttpTransport(address, lambda: token))
    quiet.clock.advance(seconds=59)
    assert client.users().total == 0
    quiet.clock.advance(seconds=1)
    with pytest.raises(IdentityCredentialsError):
        client.users()


def test_without_credentials_only_tokens_can_be_asked_about(quiet: World, address: str) -> None:
    """And the other way round, where the admin API is reached in another way."""
    client = IdentityClient(address)
    quiet.member()
    assert client.user_of(quiet.token()) is not None
    assert not client.is_admin
    with pytest.raises(IdentityNotConfiguredError, match="USHER_IDENTITY_ADMIN_TOKEN"):
        client.users()
    elsewhere = IdentityClient(None, HttpTransport(address, lambda: OPERATOR))
    assert elsewhere.users().total == 1


def test_the_answer_says_what_time_it_is_there(client: IdentityClient) -> None:
    """``Date``, by which doctor compares the clocks."""
    assert client.probe()["date"].endswith("GMT")
