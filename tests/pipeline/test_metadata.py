"""What a person writes about themselves never decides whether an event counts."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.test_opaque import ANYTHING, CONTENTS, as_go
from tests.profiles import examples
from tests.store.store_support import raw
from tests.support import NOON, Clock, account, call, signed
from usher.core.app import App
from usher.core.bounds import MAX_EMAIL_CHARACTERS, MAX_MAP_BYTES
from usher.core.captures.format import from_delivery, read_line, write_line
from usher.core.captures.replay import Replayer
from usher.core.domain.events import EventName
from usher.core.domain.records import Delivery, Status, User
from usher.core.domain.reply import NO_CONTENT
from usher.core.domain.roles import effective
from usher.core.spool.forward import from_record, to_record
from usher.core.webhooks import Received
from usher.emulator.payload import event_body
from usher.functions import identity
from usher.functions._shared.http import Request, Response

UNREADABLE = "metadata.unreadable"
EDITOR = {"provider": "email", "roles": ["editor", "member", "staff"]}
WITHOUT = {"provider": "email", "roles": ["member", "staff"]}


def body_of(
    event: str,
    user_id: UUID,
    user_metadata: bytes = b"{}",
    app_metadata: bytes | dict[str, Any] = b'{"provider":"email"}',
    **fields: Any,
) -> bytes:
    """An event's body with these JSON texts as its maps."""
    if isinstance(app_metadata, dict):
        app_metadata = json.dumps(app_metadata).encode()
    fields = {"confirmed_at": NOON} | fields
    who = account(user_id=user_id, app_metadata={}, user_metadata={}, **fields)
    body = event_body(event, who)
    body = body.replace(b'"user_metadata":{}', b'"user_metadata":' + user_metadata)
    return body.replace(b'"app_metadata":{}', b'"app_metadata":' + app_metadata)


def send(body: bytes) -> Response:
    """Hand a body with a good signature to the function for any event."""
    headers = {name.lower(): (value,) for name, value in raw(body).headers.items()}
    return identity.hook.answer(Request("POST", "/.netlify/functions/identity", headers, body))


def newest(usher: App) -> Delivery:
    """The delivery that came last."""
    return usher.store.ledger.page().items[0]


def reasons(usher: App) -> dict[str, str]:
    """Rule and text of each reason of the delivery that came last."""
    return {reason.rule: reason.text for reason in newest(usher).reasons}


def roles(user: User) -> frozenset[str]:
    """Those that the record gives."""
    return effective(user.grants, NOON)


def editor(usher: App, clock: Clock) -> UUID:
    """Somebody who was made an editor at Identity."""
    user_id = uuid4()
    assert send(body_of("login", user_id, app_metadata=EDITOR)).status in (200, 204)
    assert "editor" in roles(usher.store.users.get(user_id))
    clock.advance(seconds=1)
    return user_id


def levels(count: int) -> bytes:
    """An object of so many levels."""
    return b'{"a":' * count + b"1" + b"}" * count


CONTENT = {
    "U+0000": b'{"x":"a\\u0000b"}',
    "U+0000 in a key": b'{"\\u0000":1}',
    "U+0000, deeper": b'{"a":[[{"b":"\\u0000"}]]}',
    "half a pair": b'{"x":"\\ud800"}',
    "the other half": b'{"x":"\\udc00"}',
    "40 levels": levels(40),
    "1,000 levels": levels(1_000),
    "20,000 levels": levels(20_000),
    "401 digits": b'{"x":%s}' % (b"9" * 401),
    "5,000 digits": b'{"x":%s}' % (b"9" * 5_000),
    "1e400": b'{"x":1e400}',
    "a key twice": b'{"x":1,"x":2}',
    "100,000 keys": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
    "300,000 bytes": b'{"x":"%s"}' % (b"x" * 300_000),
    "5 MB, one half a pair": b'{"x":"%s\\udc00"}' % (b"<" * 5_000_000),
}


@pytest.mark.parametrize("content", CONTENT.values(), ids=CONTENT.keys())
def test_a1_a_role_is_taken_away_whatever_the_person_wrote(
    usher: App, clock: Clock, content: bytes
) -> None:
    """Applied, with the reason in the ledger."""
    user_id = editor(usher, clock)
    answer = send(body_of("usermodified", user_id, content, WITHOUT))
    assert answer.status in (200, 204), answer.body
    assert "editor" not in roles(usher.store.users.get(user_id))
    assert "user_metadata" in reasons(usher)[UNREADABLE]
    assert newest(usher).outcome == "applied"


LARGE = {"20,000 levels", "100,000 keys", "5 MB, one half a pair"}
"""These take long to read, so that only two events carry them."""


@pytest.mark.parametrize("name", CONTENT)
def test_a3_no_content_of_either_map_is_refused(usher: App, name: str) -> None:
    """At any depth, in every event; a retry is answered alike."""
    content = CONTENT[name]
    for event in (EventName.LOGIN, EventName.USERDELETED) if name in LARGE else EventName:
        for body in (
            body_of(event, uuid4(), content),
            body_of(event, uuid4(), b'{"a":{"b":[%s]}}' % content),
            body_of(event, uuid4(), app_metadata=b'{"provider":"email","a":[%s]}' % content),
        ):
            answer = send(body)
            assert answer.status in (200, 204), answer.body
            assert UNREADABLE in reasons(usher)
            assert send(body) == answer


def test_logins_in_a_loop_do_not_fill_the_ledger_with_large_bodies(
    usher: App, clock: Clock
) -> None:
    """A login costs a few bytes, its event as many as the person once wrote."""
    user_id, other = uuid4(), uuid4()
    large = b'{"x":"%s"}' % (b"x" * 60_000)

    def log_in(content: bytes, who: UUID = user_id, event: str = "login") -> bool:
        clock.advance(seconds=1)
        body = body_of(event, who, content, updated_at=clock())
        assert send(body).status in (200, 204)
        kept = newest(usher).body is not None
        assert kept is ("body.not_kept" not in reasons(usher))
        return kept

    assert [log_in(large) for _ in range(9)] == [True] * 6 + [False] * 3
    assert usher.store.users.get(user_id).user_metadata == {"x": "x" * 60_000}
    assert log_in(b'{"x":1}')
    assert log_in(large, event="usermodified")
    assert log_in(large, other)


@pytest.mark.parametrize("content", CONTENT.values(), ids=CONTENT.keys())
def test_a1_no_answer_carries_an_app_metadata_that_was_altered(usher: App, content: bytes) -> None:
    """Identity would store what is left of it; the roles go by a push, which merges."""
    user_id = uuid4()
    altered = b'{"provider":"email","roles":["other"],"x":%s}' % content
    assert send(body_of("login", user_id, app_metadata=altered)).status == 204
    user = usher.store.users.get(user_id)
    assert roles(user) == {"member", "other", "staff"}
    assert user.provider == "email"
    assert user.at_identity.pending
    assert reasons(usher)[UNREADABLE].startswith("app_metadata: ")
    told = altered.replace(b'["other"]', b'["member","other","staff"]')
    assert send(body_of("usermodified", user_id, app_metadata=told)).status == 204
    assert roles(usher.store.users.get(user_id)) == {"member", "other", "staff"}


def test_a1_a_small_map_is_sanitised_and_kept(usher: App) -> None:
    """With U+FFFD, and null for a number that nobody can hold."""
    user_id = uuid4()
    send(body_of("login", user_id, b'{"x":"a\\u0000b","n":1e400,"y":{"z":[1,"\\ud800"]}}'))
    kept = usher.store.users.get(user_id).user_metadata
    assert kept == {"x": "a\ufffdb", "n": None, "y": {"z": [1, "\ufffd"]}}


def test_a1_a_role_name_is_never_made_by_replacing_a_character(usher: App) -> None:
    """It would be another role."""
    user_id = uuid4()
    send(body_of("login", user_id, app_metadata=b'{"roles":["a\\u0000","\\ud800","ok"]}'))
    assert "ok" in roles(usher.store.users.get(user_id))
    assert not any("\ufffd" in role for role in roles(usher.store.users.get(user_id)))


def test_a1_the_envelope_is_as_strict_as_ever(usher: App) -> None:
    """A field beside the maps that cannot be read is 400, whatever stands in them."""
    good = body_of("login", uuid4(), CONTENT["U+0000"])
    for wrong in (
        good.replace(b'"event":', b'"event":"login","event":', 1),
        good.replace(b'"aud":""', b'"aud":"\\u0000"'),
        good.replace(b'"role":""', b'"role":[]'),
        good.replace(b'"id":"', b'"id":"x'),
        good[:-1],
    ):
        assert wrong != good
        assert send(wrong).status == 400


@pytest.mark.parametrize("size", [300_000, 15_000_000])
def test_a2_a_deletion_is_a_tombstone_however_large_its_body(
    usher: App, clock: Clock, size: int
) -> None:
    """The ledger keeps the digest without the body."""
    user_id = editor(usher, clock)
    body = body_of("userdeleted", user_id, b'{"x":"%s"}' % (b"x" * size))
    assert send(body).status == 204
    assert usher.store.users.get(user_id).status is Status.DELETED
    kept = newest(usher)
    assert (kept.body, kept.outcome) == (None, "applied")
    assert "body.not_kept" in reasons(usher)
    assert send(body).status == 204
    assert len(usher.store.ledger.page().items) == 2


def test_a2_of_a_deletion_the_id_alone_counts(usher: App, clock: Clock) -> None:
    """Whatever else is wrong with it."""
    user_id = editor(usher, clock)
    body = body_of("userdeleted", user_id).replace(b'"email":"ada@example.com"', b'"email":[]')
    assert send(body).status == 204
    assert usher.store.users.get(user_id).status is Status.DELETED
    assert send(body.replace(str(user_id).encode(), b"x")).status == 400


def test_a2_a_body_over_the_limit_is_refused_even_with_a_good_signature(usher: App) -> None:
    """16 MiB; without a good signature USHER_MAX_BODY_BYTES."""
    large = body_of("login", uuid4(), b'{"x":"%s"}' % (b"x" * 17_000_000))
    assert send(large).status == 413
    middle = body_of("login", uuid4(), CONTENT["300,000 bytes"])
    headers = {"content-type": ("application/json",), "x-webhook-signature": ("x.y.z",)}
    forged = Request("POST", "/.netlify/functions/identity", headers, middle)
    assert identity.hook.answer(forged).status == 413
    assert usher.store.ledger.page().items == ()


def test_a2_a_large_event_survives_the_spool(usher: App) -> None:
    """Without its maps, but with what was taken out of it, and as the same delivery."""
    body = body_of("usermodified", uuid4(), CONTENT["300,000 bytes"], WITHOUT)
    received = Received((raw(body).headers["X-Webhook-Signature"],), body, "/", None, NOON)
    verified = usher.webhooks.verify(received)
    assert len(verified.received.body) < 1_000
    record = to_record(verified, NO_CONTENT)
    again = from_record(record)
    assert replace(again, given=None, received=replace(again.received, signatures=())) == replace(
        verified, received=replace(verified.received, signatures=())
    )


def test_a2_playing_back_a_large_event_deletes_nobody(usher: App, clock: Clock) -> None:
    """Its body is missing because it was large, not because somebody was erased."""
    user_id = editor(usher, clock)
    send(body_of("usermodified", user_id, CONTENT["300,000 bytes"], WITHOUT))
    capture = read_line(write_line(from_delivery(newest(usher))).encode())
    assert capture.body is None
    fresh = replace(
        capture, decided=replace(capture.decided, id="0" * 72) if capture.decided else None
    )
    Replayer(usher.settings, usher.policy_in_force, usher.store).play([fresh])
    assert usher.store.users.get(user_id).status is Status.ACTIVE


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=st.sampled_from(list(EventName)),
    theirs=CONTENTS,
    ours=st.dictionaries(st.sampled_from(["a", "b", "roles", "provider"]), ANYTHING, max_size=3),
    pad=st.sampled_from([0, 100, 12_000, 70_000, 300_000, 2_500_000]),
)
def test_a1_no_signed_event_is_ever_4xx_because_of_its_metadata(
    usher: App, event: EventName, theirs: dict[str, Any], ours: dict[str, Any], pad: int
) -> None:
    """Of any content that a JSON encoder can produce, up to 16 MB."""
    padded = as_go({**theirs, "pad": "<" * pad})
    answer = send(body_of(event, uuid4(), padded, as_go(ours)))
    assert answer.status in (200, 204), answer.body


COMBINING = "a" + "\u0301\u0316" * 64_000
LONG = {
    "128 KB of combining marks": COMBINING + "@example.com",
    "3,000 characters": "x" * 3_000 + "@example.com",
    "321 characters": "x" * 309 + "@example.com",
    "320 that NFC makes long": "\U0001d160" * 308 + "@example.com",
    "a megabyte": "x" * 1_000_000 + "@example.com",
}


@pytest.mark.parametrize("email", LONG.values(), ids=LONG.keys())
def test_a6_a_long_address_is_set_aside_before_anything_is_computed_on_it(
    usher: App, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alike on both databases: composing many marks takes time by the square of their number."""
    user_id, composed, compose = uuid4(), [], unicodedata.normalize

    def watched(form: str, text: str) -> str:
        composed.append(len(text))
        return compose(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", watched)
    assert send(body_of("login", user_id, email=email)).status in (200, 204)
    assert max(composed, default=0) <= 3 * MAX_EMAIL_CHARACTERS  # NFC makes three of one at most
    user = usher.store.users.get(user_id)
    assert (user.email, user.email_key) == ("", "")
    assert "staff" not in roles(user)
    assert reasons(usher)[UNREADABLE].startswith("email: ")


def test_a6_an_address_of_320_characters_is_one(usher: App) -> None:
    """The bound is exact, and its index row fits; of any script."""
    for letter in ("x", "\u00e9", "\U0001f600"):
        user_id, email = uuid4(), letter * 308 + "@example.com"
        assert send(body_of("login", user_id, email=email)).status in (200, 204)
        assert usher.store.users.get(user_id).email == email


def test_a6_a_long_provider_is_none(usher: App) -> None:
    """And proves nothing."""
    user_id = uuid4()
    send(body_of("login", user_id, app_metadata={"provider": "g" * 101}, proven=False))
    user = usher.store.users.get(user_id)
    assert (user.provider, user.proven) == ("", frozenset())
    assert reasons(usher)[UNREADABLE] == "provider: over 100 characters, set aside"
    user_id = uuid4()
    send(body_of("login", user_id, app_metadata={"provider": "g" * 100}))
    assert usher.store.users.get(user_id).provider == "g" * 100


def test_an_answer_too_large_to_come_back_is_not_given(usher: App) -> None:
    """The map is left as it is at Identity; roles go by a push."""
    large = as_go({"provider": "email", "x": "<" * ((MAX_MAP_BYTES - 60) // 6)})
    assert len(large) <= MAX_MAP_BYTES
    user_id = uuid4()
    assert send(body_of("login", user_id, app_metadata=large)).status == 204
    assert usher.store.users.get(user_id).at_identity.pending
    assert "answer.too_large" in reasons(usher)


def test_an_ordinary_event_has_no_such_reason(usher: App) -> None:
    """Nothing is set aside without need."""
    assert call(signed("signup", account()))["statusCode"] == 200
    assert UNREADABLE not in reasons(usher)
    assert newest(usher).body is not None
