"""The site's own code after a signup and after a deletion."""

from __future__ import annotations

from mysite import billing
from usher import Change, Write, after


@after("user.confirmed")
def open_account(change: Change) -> Write:
    """Make a customer, and put its id and a role into the person's next token."""
    customer = billing.create_customer(change.user.email, idempotency_key=change.id)
    return Write(app_metadata={"customer": customer}, grant=["customer"])


@after("user.deleted")
def close_account(change: Change) -> None:
    """Close the customer of somebody who is gone."""
    customer = change.user.written.get("customer")
    if customer is not None:
        billing.close_customer(customer)
