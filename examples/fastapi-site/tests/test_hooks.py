"""Customers of people who sign up, and of people who leave."""

from __future__ import annotations

import pytest
from fake_billing import FakeBilling
from mysite.billing import BillingError

from usher.testing.changes import Changes
from usher.testing.client import Client, RefusedError


def test_whoever_signs_up_becomes_a_customer(
    usher_client: Client, usher_changes: Changes, billing: FakeBilling
) -> None:
    ada = usher_client.sign_up("ada@example.org")
    usher_changes.hand_over()
    assert billing.customers == {"cus_1": "ada@example.org"}
    usher_client.log_in(ada)
    assert ada.app_metadata["customer"] == "cus_1"  # the next token has it
    assert "customer" in ada.app_metadata["roles"]


def test_a_customer_is_made_once_the_billing_system_is_back(
    usher_client: Client, usher_changes: Changes, billing: FakeBilling
) -> None:
    billing.away = True
    usher_client.sign_up("ada@example.org")
    with pytest.raises(BillingError):
        usher_changes.hand_over()
    billing.away = False
    usher_changes.hand_over()
    first, second = usher_changes
    assert first.change.id == second.change.id
    assert billing.customers == {"cus_1": "ada@example.org"}


def test_whoever_leaves_is_no_customer_any_more(
    usher_client: Client, usher_changes: Changes, billing: FakeBilling
) -> None:
    ada = usher_client.sign_up("ada@example.org")
    usher_changes.hand_over()
    usher_client.delete(ada)
    usher_changes.hand_over()
    assert billing.closed == ["cus_1"]


def test_whoever_is_refused_is_no_customer(
    usher_client: Client, usher_changes: Changes, billing: FakeBilling
) -> None:
    with pytest.raises(RefusedError):
        usher_client.sign_up("ada@mailinator.com")
    assert usher_changes.hand_over() == []
    assert billing.customers == {}
