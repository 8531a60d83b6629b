"""The billing system, asked over HTTP at BILLING_URL."""

from __future__ import annotations

import json
import os
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class BillingError(Exception):
    """The billing system did not do as it was asked."""


def create_customer(email: str, *, idempotency_key: str) -> str:
    """Make a customer and return its id; with the same key it is the same customer."""
    answer = _send("POST", "/customers", {"email": email}, idempotency_key)
    return str(answer["id"])


def close_customer(customer: str) -> None:
    """Close a customer; closing one twice does no harm."""
    _send("DELETE", f"/customers/{customer}")


def _send(
    method: str, path: str, body: dict[str, str] | None = None, key: str = ""
) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    data = json.dumps(body or {}).encode()
    request = Request(os.environ["BILLING_URL"] + path, data, headers, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            found: dict[str, str] = json.load(answer)
            return found
    except HTTPError as error:
        with error:
            raise BillingError(f"{method} {path} was answered {error.code}") from None
