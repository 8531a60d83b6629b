"""Only what Netlify signed for our site passes ``require_site``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.forge import HEADER, STRANGER, encode, seal, token, unused_bit
from tests.support import OLD_SECRET, SECRET
from usher.core.errors import NotThroughSiteError
from usher.core.jws import require_site

NOW = 1_795_000_000
NONE = b'{"alg":"none","typ":"JWT"}'


def netlify(secret: bytes = SECRET, header: bytes | None = None, **changed: Any) -> str:
    """The header's value as Netlify makes it; a claim that is ... is left out."""
    usual = {
        "deploy_context": "production",
        "netlify_id": "5a6c2a0e",
        "site_url": "https://site.example",
        "iat": NOW,
        "exp": NOW + 300,
        "iss": "netlify",
    }
    claims = {name: value for name, value in (usual | changed).items() if value is not ...}
    return token(json.dumps(claims).encode(), header or HEADER, secret)


GOOD = netlify()


def reason(*values: str, now: float = NOW) -> str:
    """Why these headers are refused."""
    with pytest.raises(NotThroughSiteError) as caught:
        require_site(values, (SECRET, OLD_SECRET), now)
    assert caught.value.__cause__ is None
    return caught.value.reason


def test_what_netlify_signed_passes() -> None:
    """With the newest secret or an older one, until the second before it ends."""
    require_site([GOOD], (SECRET,), NOW)
    require_site([netlify(OLD_SECRET)], (SECRET, OLD_SECRET), NOW)
    require_site([GOOD], (SECRET,), NOW + 299.9)
    require_site([netlify(iat=..., nbf=NOW)], (SECRET,), NOW)


def test_without_a_secret_anybody_may_come_directly() -> None:
    """Nothing is looked at."""
    for values in ([], ["nonsense"], [GOOD, GOOD]):
        require_site(values, (), NOW)


FORGED = {
    "none": ((), "signature_missing"),
    "empty": (("",), "signature_missing"),
    "two": ((GOOD, GOOD), "signature_repeated"),
    "a good one behind an empty one": (("", GOOD), "signature_repeated"),
    "two joined": ((f"{GOOD}, {GOOD}",), "signature_repeated"),
    "another secret": ((netlify(STRANGER),), "signature_mismatch"),
    "alg none": ((netlify(header=NONE),), "algorithm"),
    "alg none, unsigned": ((f"{encode(NONE)}.{GOOD.split('.')[1]}.",), "token_shape"),
    "alg of another size": ((netlify(header=b'{"alg":"HS512"}'),), "algorithm"),
    "alg in other letters": ((netlify(header=b'{"alg":"hs256"}'),), "algorithm"),
    "no alg": ((netlify(header=b"{}"),), "algorithm"),
    "crit": ((netlify(header=b'{"alg":"HS256","crit":["exp"]}'),), "critical_header"),
    "other claims under the signature": (
        (".".join([GOOD.split(".")[0], encode(b'{"iss":"netlify"}'), GOOD.split(".")[2]]),),
        "signature_mismatch",
    ),
    "padding": ((GOOD + "=",), "token_encoding"),
    "another spelling": ((unused_bit(GOOD),), "token_encoding"),
    "spaces around": ((f" {GOOD}",), "token_encoding"),
    "a claim twice": (
        (seal(encode(b'{"alg":"HS256"}'), encode(b'{"iss":"x","iss":"netlify","exp":9e9}')),),
        "token_json",
    ),
    "too long": ((netlify(x="x" * 4096),), "token_too_large"),
    "an event's": ((netlify(iss="gotrue", sha256="0" * 64),), "claim_iss"),
    "an access token": ((netlify(iss=..., sub="5a6c2a0e"),), "claim_iss"),
    "another issuer": ((netlify(iss="Netlify"),), "claim_iss"),
    "a list of issuers": ((netlify(iss=["netlify"]),), "claim_iss"),
    "expired": ((netlify(exp=NOW),), "claim_exp"),
    "for ever": ((netlify(exp=...),), "claim_exp"),
    "exp of another type": ((netlify(exp=str(NOW + 300)),), "claim_exp"),
    "exp null": ((netlify(exp=None),), "claim_exp"),
    "exp true": ((netlify(exp=True),), "claim_exp"),
    "not yet": ((netlify(nbf=NOW + 1),), "claim_nbf"),
    "nbf true": ((netlify(nbf=True),), "claim_nbf"),
    "nbf null": ((netlify(nbf=None),), "claim_nbf"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_anything_else_is_refused(name: str) -> None:
    """Each check has its own reason, for the log."""
    values, why = FORGED[name]
    assert reason(*values) == why


def test_it_ends_to_the_second() -> None:
    """Netlify's clock and ours must agree within its five minutes."""
    assert reason(GOOD, now=NOW + 300) == "claim_exp"


@given(st.lists(st.text(max_size=80), max_size=3), st.floats(allow_nan=False))
def test_no_text_raises_anything_else(values: list[str], now: float) -> None:
    """Whatever comes ends as one error."""
    assert reason(*values, now=now)


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_no_changed_character_passes(place: int, other: str) -> None:
    """Every octet of it is under the signature, or is it."""
    changed = GOOD[:place] + other + GOOD[place + 1 :]
    if changed != GOOD:
        assert reason(changed)
