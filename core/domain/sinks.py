"""Sinks: receivers of changes by webhook, their addresses, and what they are sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from usher.core.bounds import MAX_SINK_SECRETS, MAX_SINK_URL_CHARACTERS
from usher.core.domain.outbox import Change, Kind, unknown_patterns
from usher.core.domain.public_addresses import Address, Network, may_be_reached
from usher.core.domain.standard_webhooks import secret_octets
from usher.core.errors import SinkInvalidError
from usher.core.strict_json import dumps
from usher.core.texts import read_uuid

CONSUMER: Final = "sink:"
"""Begins the name of a sink among the consumers of the outbox."""
ROTATION_HOURS: Final = 24
"""For so long the secret before signs beside a new one."""
TEST_TYPE: Final = "sink.test"
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[/?][!$-;=?-Z_a-z~]*)?", re.ASCII
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:.*)?")
_PORT: Final = re.compile(r":[1-9][0-9]{0,4}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_CHARACTERS: Final = 253
_USUAL_PORTS: Final = {"https": 443, "http": 80}
_PRIVILEGED: Final = 1024
_MOST_PORT: Final = 65_535


class Target(Struct, frozen=True):
    """The parts of a receiver's URL, in the one spelling that every reader of it agrees on.

    Attributes:
        host: a name in lower case, or an address without brackets.
        path: with its query.
    """

    secure: bool
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The address that stands in the URL; None: it has a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port, as the header ``Host`` has them."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        usual = self.port == _USUAL_PORTS["https" if self.secure else "http"]
        return host if usual else f"{host}:{self.port}"


class Secret(Struct, frozen=True):
    """One secret of a sink; from ``ends_at`` on it signs no more."""

    text: str
    ends_at: datetime | None = None

    def __repr__(self) -> str:
        """A form without the secret, for tracebacks."""
        return f"Secret(ends_at={self.ends_at})"


class Sink(Struct, frozen=True, kw_only=True):
    """One receiver.

    Attributes:
        kinds: the patterns of the changes that it gets.
        full: whether it gets the person and the parts that differ, or ids alone.
        secrets: the newest first.
        paused_by: an actor; empty while it is not paused.
    """

    id: UUID
    url: str
    kinds: tuple[str, ...]
    full: bool
    secrets: tuple[Secret, ...]
    created_at: datetime
    created_by: str
    paused_at: datetime | None = None
    paused_by: str = ""

    @property
    def consumer(self) -> str:
        """Its name among the consumers of the outbox."""
        return f"{CONSUMER}{self.id}"

    def signing(self, now: datetime) -> tuple[str, ...]:
        """The secrets that sign now, the newest first."""
        return tuple(each.text for each in _not_ended(self.secrets, now))

    def old_secret_until(self, now: datetime) -> datetime | None:
        """The time until which a secret from before signs beside the newest; None: none does."""
        ends = [each.ends_at for each in _not_ended(self.secrets, now) if each.ends_at]
        return max(ends, default=None)

    def rotated(self, secret: str, now: datetime, *, at_once: bool) -> tuple[Secret, ...]:
        """The secrets after a rotation.

        Args:
            at_once: no secret from before signs any more.

        Raises:
            SinkInvalidError: it has as many secrets as can be already, or this very one.
        """
        kept = () if at_once else _not_ended(self.secrets, now)
        if len(kept) >= MAX_SINK_SECRETS:
            raise SinkInvalidError(
                f"{MAX_SINK_SECRETS} secrets sign already. A secret ends {ROTATION_HOURS} hours "
                "after it was replaced. Wait for that, or end them all now (--now)."
            )
        if any(each.text == secret for each in self.secrets):
            raise SinkInvalidError("This secret is in use already.")
        ends_at = now + timedelta(hours=ROTATION_HOURS)
        before = (Secret(each.text, each.ends_at or ends_at) for each in kept)
        return (Secret(secret), *before)


class Trial(Struct, frozen=True):
    """The outcome of a webhook that was sent for trial.

    Attributes:
        status: of the answer; None: there was none.
        problem: in words; empty: the receiver takes webhooks.
    """

    status: int | None
    problem: str
    elapsed_ms: int


def _not_ended(secrets: tuple[Secret, ...], now: datetime) -> tuple[Secret, ...]:
    return tuple(each for each in secrets if each.ends_at is None or each.ends_at > now)


def sink_id(consumer: str) -> UUID | None:
    """The id of the sink that is a consumer of this name; None: it is none."""
    return read_uuid(consumer.removeprefix(CONSUMER)) if consumer.startswith(CONSUMER) else None


def check_sink(url: str, kinds: Collection[str], networks: Collection[Network]) -> None:
    """Require what can be handed over to.

    A name is looked up at each attempt, so here an address alone is asked whether it is public.

    Raises:
        SinkInvalidError: with the problem.
    """
    target = target_of(url)
    if not target.secure and not networks:
        raise SinkInvalidError(
            "The URL begins with https://; http:// is taken in the networks of USHER_SINK_NETWORKS "
            "alone."
        )
    address = target.address
    if address is not None and not may_be_reached(address, networks, public=target.secure):
        raise SinkInvalidError(
            "The URL has an address that is not public, and is not in USHER_SINK_NETWORKS either."
        )
    if not kinds:
        raise SinkInvalidError("A sink needs a kind of change; * is all of them.")
    if unknown := unknown_patterns(frozenset(kinds)):
        known = ", ".join([*Kind, "user.*", "role.*", "event.*", "*"])
        raise SinkInvalidError(f"There is no kind of change {unknown[0][:40]!r}, but: {known}.")


def check_secret(text: str) -> None:
    """Require a secret that receivers take.

    Raises:
        SinkInvalidError
    """
    try:
        secret_octets(text)
    except ValueError as error:
        raise SinkInvalidError(f"A secret {error}") from None


def target_of(url: str) -> Target:
    """Take a URL apart.

    The grammar is narrow: anything that two readers of URLs might read differently is refused.

    Raises:
        SinkInvalidError: with the problem.
    """
    if len(url) > MAX_SINK_URL_CHARACTERS:
        raise SinkInvalidError(f"A URL has at most {MAX_SINK_URL_CHARACTERS} characters.")
    found = _URL.fullmatch(url)
    if found is None:
        raise SinkInvalidError(
            "A URL is https://host/path, in ASCII, without spaces, backslashes and #fragment. "
            "Write the name of an international domain as its A-label: xn--…"
        )
    authority = found["authority"]
    if "@" in authority:
        raise SinkInvalidError("A URL has no user name and no password; the signature is enough.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise SinkInvalidError(
            "The URL names no host in ASCII. Write the name of an international domain as its "
            "A-label: xn--…"
        )
    rest = found["rest"] or "/"
    return Target(
        secure=found["scheme"] == "https",
        host=_host(parts["host"].lower()),
        port=_port(parts["port"], found["scheme"]),
        path=rest if rest.startswith("/") else f"/{rest}",
    )


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            raise SinkInvalidError("The URL has no IPv6 address in its brackets.") from None
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # inet_aton would take 127.1, 0x7f000001 and 2130706433 for an address, too.
        try:
            return str(ip_address(text))
        except ValueError:
            raise SinkInvalidError(
                "The URL has a host that ends in a number, and is no IPv4 address as 192.0.2.1."
            ) from None
    if len(text) > _HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise SinkInvalidError(
            "The host of the URL is no domain name: letters, digits and hyphens between dots, "
            "without a dot at its end."
        )
    return text


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _USUAL_PORTS[scheme]
    port = int(text[1:]) if _PORT.fullmatch(text) else 0
    if port not in _USUAL_PORTS.values() and not _PRIVILEGED <= port <= _MOST_PORT:
        raise SinkInvalidError(f"A port is 80, 443, or {_PRIVILEGED} to {_MOST_PORT}.")
    return port


def webhook(change: Change, *, full: bool) -> bytes:
    """The body of a change's webhook."""
    data: dict[str, Any] = {
        "id": change.id,
        "instance_id": change.instance_id,
        "user_id": change.user.id,
        "sequence": change.sequence,
        "delivery_id": change.delivery_id,
    }
    if change.role:
        data["role"] = change.role
    if full:
        user = change.user
        data |= {
            "user": {
                "id": user.id,
                "email": user.email,
                "status": user.status,
                "roles": list(user.roles),
                "user_metadata": user.user_metadata,
                "app_metadata": user.app_metadata,
                "profile": user.profile,
                "written": user.written,
            },
            "before": change.before,
            "after": change.after,
            "actor": change.actor,
            "reason": change.reason,
        }
    return _message(change.kind.value, change.at, data)


def trial_webhook(sink: Sink, now: datetime) -> bytes:
    """The body by which an administrator tries a receiver."""
    return _message(TEST_TYPE, now, {"sink_id": sink.id})


def _message(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    return dumps({"type": kind, "timestamp": at, "data": data}).encode()


def sink_document(sink: Sink, now: datetime) -> dict[str, Any]:
    """A sink without its secrets, which leave in the answer that sets them alone."""
    return {
        "id": sink.id,
        "url": sink.url,
        "changes": list(sink.kinds),
        "full": sink.full,
        "state": "paused" if sink.paused_at else "active",
        "old_secret_until": sink.old_secret_until(now),
        "created_at": sink.created_at,
        "created_by": sink.created_by,
        "paused_at": sink.paused_at,
        "paused_by": sink.paused_by,
    }


def trial_document(trial: Trial) -> dict[str, Any]:
    """The outcome of a webhook that was sent for trial."""
    return {
        "delivered": not trial.problem,
        "status": trial.status,
        "problem": trial.problem or None,
        "elapsed_ms": trial.elapsed_ms,
    }
