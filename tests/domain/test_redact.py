"""Pseudonyms: stable, of the same form, and nothing of the original in them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import NOON
from usher.core.captures.format import Capture, from_delivery
from usher.core.captures.redact import Redactor
from usher.core.domain.differences import Differences, reply_in_words, user_differences
from usher.core.domain.held_roles import read_roles
from usher.core.domain.policy import Reason
from usher.core.domain.records import AuditEntry, Delivery, Grant, Outcome, Source, User
from usher.core.domain.reply import Reply

REDACTOR = Redactor(b"k" * 32)
MAPPED = Redactor(b"k" * 32, map_domains=True)


@pytest.mark.parametrize(
    ("email", "form"),
    [
        ("ada@x.org", r"p[0-9a-f]{12}@x\.org"),
        ("Ada@x.org", r"P[0-9a-f]{12}@x\.org"),
        ("Ada L <ada@x.org>", r"P[0-9a-f]{8} <p[0-9a-f]{12}@x\.org"),
        ("ada@x.org (home)", r"p[0-9a-f]{12}@x\.org \([0-9a-f]{8}\)"),
        ("nobody", r"p[0-9a-f]{10}"),
        ("", ""),
    ],
)
def test_an_address_keeps_its_form(email: str, form: str) -> None:
    """Letter case makes no other person; a name or a note stays one."""
    import re

    assert re.match(form + "$", REDACTOR.email(email).rstrip(">"))
    assert REDACTOR.email(email) == REDACTOR.email(email)


def test_domains_are_kept_unless_they_shall_go() -> None:
    """Rules name domains."""
    assert REDACTOR.email("a@x.org").endswith("@x.org")
    assert MAPPED.email("a@x.org").split("@")[1] == MAPPED.email("b@X.org").split("@")[1]
    assert "x.org" not in MAPPED.email("a@x.org")


def test_another_key_makes_other_pseudonyms() -> None:
    """Nobody can compute one from an address."""
    assert Redactor(b"o" * 32).email("a@x.org") != REDACTOR.email("a@x.org")
    assert Redactor(b"o" * 32).user_id(UUID(int=1)) != REDACTOR.user_id(UUID(int=1))


CANARY = "canary"
JSON = st.recursive(
    st.sampled_from([CANARY, f"{CANARY}@x.org", 1815, 18.5, True, None, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("key"), inner),
    max_leaves=8,
)


def delivery(body: bytes | None, outcome: str = "applied", reply: str = "") -> Delivery:
    """A delivery as the ledger holds it."""
    return Delivery(
        "0" * 72, UUID(int=0), "signup", UUID(int=9), 1, NOON, "/", body, "0", 0, Outcome(outcome),
        (Reason("r", "the domain x.org"),), "p", Reply(200 if reply else 204, "", reply),
    )  # fmt: skip


@given(JSON, JSON, JSON)
def test_no_value_of_an_event_is_left(first: Any, second: Any, third: Any) -> None:
    """Wherever it stands, whatever it is; the event stays readable."""
    user = {"id": str(UUID(int=9)), "email": f"{CANARY}@x.org", "aud": first, "role": "",
            "app_metadata": {"provider": "email", "roles": ["a"], "x": second},
            "user_metadata": third, "created_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    body = {"event": "signup", "instance_id": str(UUID(int=0)), "user": user, "extra": first}
    reply = json.dumps({"app_metadata": {"provider": "email", "x": second}})
    redacted = REDACTOR.capture(from_delivery(delivery(json.dumps(body).encode(), reply=reply)))
    assert redacted.body is not None
    assert redacted.answer is not None
    text = redacted.body.decode() + redacted.answer.body
    assert CANARY not in text
    assert str(UUID(int=9)) not in text
    found = json.loads(redacted.body)
    assert found["user"]["app_metadata"]["roles"] == ["a"]
    assert found["user"]["created_at"] == "2026-01-01T00:00:00Z"
    assert redacted == REDACTOR.capture(
        from_delivery(delivery(json.dumps(body).encode(), reply=reply))
    )


# roles in an event -> those in the capture; an ellipsis: something else that is no role either
REDACTED: list[tuple[Any, Any]] = [
    ("editor", "editor"),
    (["editor", " author ", "", "  "], ["editor", " author ", "", "  "]),
    (None, None),
    (CANARY * 30, ...),
    ({"x": CANARY}, ...),
    ([CANARY * 30, f"{CANARY}\tx", {"x": CANARY}, [CANARY], 7, None], ...),
]


@pytest.mark.parametrize(("held", "kept"), REDACTED)
def test_c1_roles_that_are_none_are_redacted_and_stay_none(held: Any, kept: Any) -> None:
    """They may name anybody; the decision is the same."""
    user = {"id": str(UUID(int=9)), "app_metadata": {"roles": held}}
    body = {"event": "signup", "instance_id": str(UUID(int=0)), "user": user}
    redacted = REDACTOR.capture(from_delivery(delivery(json.dumps(body).encode())))
    found = json.loads(redacted.body or b"")["user"]["app_metadata"]["roles"]
    assert found == kept if kept is not ... else CANARY not in json.dumps(found)
    before, after = read_roles(held), read_roles(found)
    assert (before.names, before.unreadable[:20]) == (after.names, after.unreadable[:20])
    assert len(before.kept) == len(after.kept)


@pytest.mark.parametrize(
    "body",
    [b"canary", b'"canary"', b'{"user":"canary"}', b'{"user":{"id":"canary","email":5}}',
     b'{"event":["canary"],"instance_id":{"canary":"canary"},"user":{"app_metadata":"canary"}}'],
)  # fmt: skip
def test_a_body_that_is_no_event_is_redacted_too(body: bytes) -> None:
    """Whole, where it cannot be read."""
    redacted = REDACTOR.capture(from_delivery(delivery(body, "invalid")))
    assert redacted.body is not None
    assert redacted.decided is not None
    assert CANARY.encode() not in redacted.body.replace(b'{"canary"', b"")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (Reason("error", "KeyError: 'ada@x.org'"), "KeyError"),
        (Reason("error.at", "line 3 of /srv/site/policy.py"), "policy.py"),
        (Reason("admission.deny_email_domains", "x.org"), "x.org"),
    ],
)
def test_of_a_failure_its_class_and_the_name_of_its_file_stay(reason: Reason, kept: str) -> None:
    """Its message may hold anything."""
    failed = replace(delivery(b"{}"), reasons=(reason,))
    decided = REDACTOR.capture(from_delivery(failed)).decided
    assert decided is not None
    assert decided.reasons == (Reason(reason.rule, kept),)


@pytest.mark.parametrize(
    "reply", ["nonsense canary", '{"app_metadata":"canary"}', '{"a":"canary"}']
)
def test_an_answer_that_is_none_of_ours_is_emptied(reply: str) -> None:
    """It may hold anything."""
    redacted = MAPPED.capture(from_delivery(delivery(b"{}", reply=reply)))
    assert redacted.answer is not None
    assert CANARY not in redacted.answer.body
    assert redacted.decided is not None
    assert redacted.decided.reasons == (Reason("r", ""),)


def test_what_was_erased_stays_erased() -> None:
    """And a capture without a decision is still one."""
    assert REDACTOR.capture(from_delivery(delivery(None))).body is None
    bare = from_delivery(delivery(b"{}"))
    found = REDACTOR.capture(Capture(NOON, "POST", "/", bare.headers, b"{}"))
    assert (found.decided, found.answer) == (None, None)


def test_an_act_says_who_did_what_and_nothing_personal() -> None:
    """Written reasons go."""
    boss = UUID(int=3)
    said = {"a": {"administrator": {"is": "grant", "until": None, "reason": CANARY}}}
    values = {"status": "active", "provider": "email", "email": "canary@x.org", "roles": said,
              "user_metadata": {"n": CANARY}, "app_metadata": {"provider": "x", "n": CANARY},
              "extra_app_metadata": {"n": CANARY}, "profile": {"n": CANARY}}  # fmt: skip
    for actor, kept in [(f"user:{boss}", "user:"), ("cli:canary", "cli:"), ("usher", "usher"),
                        ("user:canary", "user:")]:  # fmt: skip
        act = AuditEntry("roles.set", actor, UUID(int=0), UUID(int=9), NOON, None, values, CANARY)
        redacted = REDACTOR.act(act)
        assert CANARY not in repr(redacted)
        assert redacted.actor.startswith(kept)
        assert redacted.after["roles"].keys() == {"a"}
    changed = REDACTOR.act(AuditEntry("x", "usher", UUID(int=0), UUID(int=0), NOON, values, {}))
    assert changed.before is not None


# --- differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Reply(204, "", ""), "204"),
        (Reply(200, "", '{"app_metadata":{"roles":["b"],"plan":1}}'), "200 roles: b; plan: 1"),
        (Reply(200, "", "{}"), "200 roles: none"),
        (Reply(200, "", '{"app_metadata":{"roles":["b",7,{}]}}'), "200 roles: b, 7, {}"),
        (Reply(403, "", '{"detail":"No.","code":"denied"}'), "403 No."),
        (Reply(401, "", '{"code":"signature_invalid"}'), "401 signature_invalid"),
        (Reply(502, "", "<html>"), "502 <html>"),
    ],
)
def test_an_answer_is_told_in_a_few_words(answer: Reply, words: str) -> None:
    """What a person compares."""
    assert reply_in_words(answer) == words


def test_differences_are_grouped_with_a_few_examples() -> None:
    """The most frequent first; what is equal is none."""
    found = Differences()
    assert not found
    for number in range(5):
        found.note("x", "a", "b", str(number))
    found.note("y", "a", "a", "0")
    found.note("y", "a", "c", "0")
    assert [(g.what, g.count, g.examples) for g in found.groups()] == [
        ("x", 5, ["0", "1", "2"]), ("y", 1, ["0"]),
    ]  # fmt: skip


def test_two_records_are_compared_field_by_field() -> None:
    """Roles as they hold at a time; long values are cut."""
    ada = User(UUID(int=0), UUID(int=1), NOON, NOON, email="a@x.org")
    grants = (Grant("staff", Source.POLICY, NOON),)
    other = User(UUID(int=0), UUID(int=1), NOON, NOON, email="a@x.org", grants=grants,
                 confirmed_at=NOON, profile={"x": "y" * 100})  # fmt: skip
    found = {
        what: (was, now) for what, was, now in user_differences(ada, other, NOON) if was != now
    }
    assert found["status"] == ("pending", "active")
    assert found["roles"] == ("none", "staff")
    assert len(found["profile"][1]) == 58
    assert list(user_differences(ada, None, NOON)) == [("record", "there", "absent")]
    assert list(user_differences(None, ada, NOON)) == [("record", "absent", "there")]
