"""People of a test: accounts at Identity, with access tokens, and records of theirs at Usher."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

from usher.core.app import App
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.events import email_key
from usher.core.domain.records import Grant, Source, User
from usher.emulator.accounts import Record
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.tokens import access_token

JWT_SECRET: Final = b"signs the access tokens of a test alone"
TOKEN_SECONDS: Final = 3_600


class Someone:
    """A person with an account at Identity.

    Attributes:
        account: as Identity has it; events show it, and their answers change it.
    """

    def __init__(self, app: App, account: Record) -> None:
        self._app = app
        self.account = account

    @property
    def id(self) -> UUID:
        """The id of the account, and of the record."""
        return self.account.id

    @property
    def email(self) -> str:
        """The address of the account."""
        return self.account.email

    @property
    def app_metadata(self) -> Mapping[str, Any]:
        """As in the next access token."""
        return self.account.app_metadata or {}

    @property
    def user_metadata(self) -> Mapping[str, Any]:
        """As in the next access token."""
        return self.account.user_metadata or {}

    @property
    def token(self) -> str:
        """A new access token, which is good for an hour."""
        secret = self._app.settings.jwt_secret or JWT_SECRET
        expires_at = int(self._app.clock().timestamp()) + TOKEN_SECONDS
        return access_token(self.account, expires_at, secret)

    @property
    def headers(self) -> dict[str, str]:
        """The headers with which this person's page sends a request."""
        return {"Authorization": f"Bearer {self.token}"}


class People:
    """Makes people; call it for one who has been on record for long.

    That is no event, so no policy decides and no handler is called.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._made = 0

    def __call__(
        self,
        *,
        roles: Collection[str] = (),
        email: str = "",
        user_metadata: Mapping[str, Any] | None = None,
    ) -> Someone:
        """Make a person with a record.

        Args:
            roles: exactly those that the person has, as given by an administrator.
            email: empty: one that nobody else has.
        """
        if isinstance(roles, str):
            raise TypeError(f"roles are a set: roles={{{roles!r}}}")
        someone = self.stranger(email, user_metadata=user_metadata)
        account, now = someone.account, someone.account.created_at
        account.confirm(now)
        held = sorted(roles)
        account.app_metadata = {**someone.app_metadata, "roles": held}
        record = User(
            instance_of(self._app),
            account.id,
            now,
            now,
            account.email,
            email_key(account.email),
            "email",
            user_metadata=dict(someone.user_metadata),
            app_metadata={"provider": "email"},
            confirmed_at=now,
            identity_created_at=now,
            proven=frozenset((email_key(account.email),)),
            grants=tuple(Grant(role, Source.ADMINISTRATOR, now, actor="test") for role in held),
            at_identity=AtIdentity(seen=frozenset(held)),
        )
        store = self._app.store
        with store.write() as transaction:
            store.users.store(transaction, {}, {(record.instance_id, record.id): record}, [])
        return someone

    def stranger(
        self, email: str = "", *, provider: str = "email", user_metadata: Any = None
    ) -> Someone:
        """A person with an account at Identity, of whom Usher has not heard."""
        self._made += 1
        now = self._app.clock()
        account = Record(
            id=uuid4(),
            email=email or f"person-{self._made}@example.org",
            aud="",
            created_at=now,
            updated_at=now,
            app_metadata={"provider": provider},
            user_metadata=dict(user_metadata or {}),
            confirmation_sent_at=now if provider == "email" else None,
        )
        return Someone(self._app, account)


def instance_of(app: App) -> UUID:
    """The Identity instance of all people and events."""
    return app.settings.instance_id or ZERO_INSTANCE
