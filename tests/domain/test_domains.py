"""One domain has one spelling: its A-labels."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import event, outcome
from usher.core.bounds import MAX_EMAIL_CHARACTERS
from usher.core.captures.redact import Redactor
from usher.core.domain.domains import to_a_labels
from usher.core.domain.events import address_key, email_key, split_address
from usher.core.policy_file import parse_policy

MAPPED = {
    "example.com": "example.com",
    "EXAMPLE.com": "example.com",
    "foo_bar.com": "foo_bar.com",
    "r3---sn.example": "r3---sn.example",
    "-x-.example": "-x-.example",
    "XN--MNCHEN-3YA.example": "xn--mnchen-3ya.example",
    "xn--mnchen-3ya.example": "xn--mnchen-3ya.example",
    "xn--not-punycode-": "xn--not-punycode-",
    "münchen.example": "xn--mnchen-3ya.example",
    "MÜNCHEN.example": "xn--mnchen-3ya.example",
    "mu\u0308nchen.example": "xn--mnchen-3ya.example",
    "\uff4dünchen\uff0eexample": "xn--mnchen-3ya.example",
    "münchen。example": "xn--mnchen-3ya.example",
    "foo_bar.r3---sn.münchen.example": "foo_bar.r3---sn.xn--mnchen-3ya.example",
    "straße.de": "xn--strae-oqa.de",
    "STRAẞE.de": "xn--strae-oqa.de",
    "strasse.de": "strasse.de",
    "ΕΛΛΆΣ.gr": "xn--hxarsa5b.gr",
    "हिन्दी.example": "xn--j2bd4cyah0f.example",
    "ไทย.example": "xn--o3cw4h.example",
    "\uff47\uff4f\uff4f\uff47\uff4c\uff45.com": "google.com",
    "ex\u00adample.com": "example.com",
    "\u212aelvin.example": "kelvin.example",
    "münchen.example\uff0e": "xn--mnchen-3ya.example",
}


@pytest.mark.parametrize(("domain", "mapped"), MAPPED.items(), ids=map(ascii, MAPPED))
def test_b1_a_domain_is_mapped_to_its_a_labels(domain: str, mapped: str) -> None:
    """ASCII is only lower-cased; all else follows UTS #46, and straße and strasse stay two."""
    assert to_a_labels(domain) == mapped
    assert to_a_labels(mapped) == mapped


UNMAPPED = [
    "☃.example",
    "\u2488com",
    "a.é..b",
    ".é",
    "xn--é.example",
    "-é.example",
    "foo_bär.example",
    "ab\u200dc.example",
    "\u0301a.example",
    "x\u0661.example",
    "evil.com\uff20example.com",
    "\u2100.com",
    "é" * 64 + ".example",
]


@pytest.mark.parametrize("domain", UNMAPPED, ids=ascii)
def test_b1_what_cannot_be_mapped_is_unreadable(domain: str) -> None:
    """By no rule; and a deny list refuses it, as any address that has no one reading."""
    assert to_a_labels(domain) == ""
    assert split_address(email_key(f"a@{domain}")) == ("", "")
    rules = parse_policy('[admission]\ndeny_email_domains = ["bad.example"]')
    refused = outcome(event("signup", email=f"a@{domain}"), policy=rules)
    assert refused.reply.status == 403
    assert outcome(event("signup", email=f"a@{domain}"), policy=parse_policy("")).user


KEYS = {
    "Ada@MÜNCHEN.example": "ada@xn--mnchen-3ya.example",
    "Ada Müller <Ada@münchen.example>": "ada müller <ada@xn--mnchen-3ya.example>",
    "ada@münchen.example. (zu Hause, Ü)": "ada@xn--mnchen-3ya.example. (zu hause, ü)",
    "amélie@EXAMPLE.com": "amélie@example.com",
    "ada@हिन्दी.example": "ada@xn--j2bd4cyah0f.example",
    "münchen": "münchen",
    "a@b@münchen.example": "a@b@münchen.example",
    "ü <a@MÜNCHEN.example> <b@x.example>": "ü <a@münchen.example> <b@x.example>",
}


@pytest.mark.parametrize(("email", "key"), KEYS.items(), ids=map(ascii, KEYS))
def test_b1_the_key_of_an_address_has_its_domain_as_a_labels(email: str, key: str) -> None:
    """Wherever the domain stands; an address without one reading keeps its spelling."""
    assert email_key(email) == key
    assert email_key(email_key(email)) == email_key(email)


SPELLINGS = ["münchen.example", "xn--mnchen-3ya.example", "MU\u0308NCHEN.example"]


@pytest.mark.parametrize("written", SPELLINGS, ids=ascii)
@pytest.mark.parametrize("sent", SPELLINGS, ids=ascii)
@pytest.mark.parametrize(
    ("rules", "status", "roles"),
    [
        ('[[role]]\ngrant = "staff"\nemail_domains = ["{}"]', 200, ["staff"]),
        ('[[role]]\ngrant = "staff"\nemails = ["a@{}"]', 200, ["staff"]),
        ('[admission]\ndeny_email_domains = ["{}"]', 403, []),
        ('[admission]\ndeny_emails = ["A@{}"]', 403, []),
        ('[admission]\ndefault = "deny"\nallow_email_domains = ["{}"]', 204, []),
        ('[admission]\ndefault = "deny"\nallow_emails = ["a@{}"]', 204, []),
    ],
    ids=["role by domain", "role by address", "deny domain", "deny address", "allow domain",
         "allow address"],
)  # fmt: skip
def test_b1_a_rule_meets_every_spelling_of_its_domain(
    written: str, sent: str, rules: str, status: int, roles: list[str]
) -> None:
    """Both ways: whichever of them the policy and the event use."""
    policy = parse_policy(rules.format(written))
    found = outcome(event("signup", email=f"a@{sent}", roles=None), policy=policy)
    assert found.reply.status == status
    assert (found.reply.app_metadata or {}).get("roles", []) == roles


def test_b1_strasse_with_an_eszett_is_another_domain() -> None:
    """Different people may have registered the two."""
    policy = parse_policy('[[role]]\ngrant = "staff"\nemail_domains = ["straße.example"]')
    other = outcome(event("signup", email="a@strasse.example", roles=None), policy=policy)
    assert other.reply.status == 204


def test_b1_a_proof_holds_for_the_domains_other_spelling() -> None:
    """An address proven as an A-label is proven when a later event writes it out."""
    policy = parse_policy('[[role]]\ngrant = "staff"\nemail_domains = ["münchen.example"]')
    first = outcome(event("signup", 1, email="a@xn--mnchen-3ya.example"), policy=policy).user
    unproven: dict[str, Any] = {"proven": False, "email": "a@münchen.example"}
    found = outcome(event("login", 2, **unproven), first, policy)
    assert found.user is not None
    assert [grant.role for grant in found.user.grants] == ["staff"]
    alone = outcome(event("login", 2, **unproven), None, policy)
    assert alone.user is not None
    assert alone.user.grants == ()


def test_b1_a_redacted_capture_keeps_both_spellings_together() -> None:
    """One person has one pseudonym, and one domain one stand-in."""
    redactor = Redactor(b"key", map_domains=True)
    one, other = redactor.email("a@münchen.example"), redactor.email("a@xn--mnchen-3ya.example")
    assert one == other
    assert redactor.email("a@munchen.example") != one


@given(st.text(max_size=40), st.sampled_from(["{}", "a@{}", "A <a@{}>", "a@{}.example"]))
@example("\uff20", "a@b{}")
@example("İ", "a@{}")
def test_b1_any_text_has_a_stable_key(text: str, form: str) -> None:
    """No text raises; a key is its own key, and a domain that is read is in ASCII."""
    key = email_key(form.format(text))
    assert email_key(key) == key
    address, domain = split_address(key)
    assert domain.isascii()
    assert address.endswith(domain)


def _calls(email: str) -> int:
    """How many functions are called, and returned from, for the key of an address."""
    count, before = 0, sys.getprofile()

    def called(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(called)
    try:
        email_key(email)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "email",
    ["a@" + "ü" * 100_000, "ü@" * 100_000, "a@ü" + "." * 100_000, "ü <" * 100_000],
    ids=["a long label", "many at signs", "many dots", "many brackets"],
)
def test_b1_a_long_address_is_not_mapped(email: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 320 characters reach neither the pattern nor idna."""
    import idna

    def never(*_: object) -> str:
        raise AssertionError(_)

    monkeypatch.setattr(idna, "uts46_remap", never)
    assert split_address(email_key(email)) == ("", "")
    assert _calls(email) < 100


@pytest.mark.parametrize("filling", ["ü", "ü.", "a@", "ü<", "(ü)", "\u0301", "\uff0e"], ids=ascii)
def test_b1_the_longest_address_that_is_mapped_takes_no_time(filling: str) -> None:
    """Whatever it is filled with: work by the character, not by its square."""
    text = f"a@{filling * MAX_EMAIL_CHARACTERS}"[:MAX_EMAIL_CHARACTERS]
    email_key(text)  # loads the tables
    assert _calls(text) < 100 * MAX_EMAIL_CHARACTERS


def test_b1_idna_is_loaded_only_for_what_is_no_ascii() -> None:
    """A cold start, and every address in ASCII, does without."""
    code = (
        "import sys; from usher.core.domain.events import email_key\n"
        "email_key('Ada <ada@EXAMPLE.com>'); email_key('amélie@example.com')\n"
        "print('idna' in sys.modules)\n"
        "email_key('a@münchen.example'); print('idna' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_b1_an_answer_after_the_move_to_another_spelling_stays() -> None:
    """The same person in the other spelling is no new question to the policy."""
    policy = parse_policy('[[role]]\ngrant = "staff"\nemails = ["a@münchen.example"]')
    first = outcome(event("login", 1, email="a@münchen.example"), policy=policy).user
    assert first is not None
    second = outcome(event("login", 2, email="a@xn--mnchen-3ya.example"), first, policy).user
    assert second is not None
    assert replace(second, grants=()).email_key == first.email_key
    assert second.grants == first.grants


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Ada@B.example", "ada@b.example"),
        (" Ada <ADA@münchen.example> ", "ada@xn--mnchen-3ya.example"),
        ("ada@b.example. (note)", "ada@b.example"),
        ("A@B@c.example", "a@b@c.example"),
        ("Nobody", "nobody"),
        ("", ""),
    ],
)
def test_door_finds_a_refused_person_by_the_plain_address(email: str, key: str) -> None:
    """Text that has no one reading is found as a whole."""
    assert address_key(email) == key
