"""The people whom ``usher dev --seed`` signs up."""

from __future__ import annotations

from itertools import islice

from usher.emulator.people import DENIED_DOMAIN, OWNER, Way, people


def test_they_are_the_same_each_time_and_no_address_comes_twice() -> None:
    """So that a second start finds them; more of them begin with the same."""
    everybody = list(islice(people(), 5000))
    assert list(islice(people(), 300)) == everybody[:300]
    assert len({who.email for who in everybody}) == 5000
    assert everybody[0].email == OWNER


def test_every_twenty_have_one_of_each_other_way() -> None:
    """Only who is denied is from the denied domain; invitations and forms are by e-mail."""
    for start in range(0, 200, 20):
        some = list(islice(people(), start, start + 20))
        assert {who.way for who in some} == set(Way)
        assert sum(who.way is not Way.SIGNS_UP for who in some) == 4
        for who in some:
            assert who.email.endswith(f"@{DENIED_DOMAIN}") == (who.way is Way.DENIED)
            assert who.way is Way.SIGNS_UP or who.provider == "email"
