"""The emulator's own endpoints, below ``/_dev/``: mails, faults on request, and the clock.

Other sites' pages are kept out: there is no CORS here, forms from elsewhere are refused, and so is
a name that was made to point at this machine.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from usher.emulator.call import Call, answer
from usher.emulator.errors import IdentityError
from usher.emulator.instance import Instance
from usher.emulator.mail import Mail
from usher.emulator.pages import inbox_page
from usher.functions._shared.http import Response

_OWN_FETCHES: Final = ("", "same-origin", "none")


def check_visitor(identity: Instance, call: Call) -> None:
    """Insist on a local or the site's own name, and on a page of our own where one changes things.

    Raises:
        IdentityError: 403.
    """
    host = call.header("host")
    if host and not _is_ours(host, identity.options.site_url):
        raise IdentityError(403, "Open this page by the site's own address or by localhost")
    reads = call.request.method in ("GET", "HEAD")
    if not reads and call.header("sec-fetch-site") not in _OWN_FETCHES:
        raise IdentityError(403, "Another site's page may not do this")


def show_mails(identity: Instance, call: Call) -> Response:
    """The inbox: a page, or JSON where that is accepted."""
    mails = identity.store.mails()
    if "application/json" in call.header("accept"):
        return answer({"mails": [_document(mail) for mail in mails]})
    return inbox_page(mails)


def empty_mails(identity: Instance, call: Call) -> Response:
    """Forget every mail; a form comes back to the page."""
    identity.store.empty_mails()
    if call.request.method == "POST":
        return Response(303, headers={"Location": "/_dev/mail"})
    return Response(204)


def show_faults(identity: Instance, _call: Call) -> Response:
    """The faults in force."""
    return answer(identity.faults.document())


def set_faults(identity: Instance, call: Call) -> Response:
    """Put other faults in force."""
    identity.faults.replace(call.document())
    return answer(identity.faults.document())


def show_clock(identity: Instance, _call: Call) -> Response:
    """The time, and how far it is ahead of the real one."""
    return answer(identity.clock.document())


def set_clock(identity: Instance, call: Call) -> Response:
    """Set the time ahead: ``{"ahead_seconds": 90000}``."""
    document = call.document()
    if set(document) != {"ahead_seconds"}:
        raise IdentityError(400, 'Send {"ahead_seconds": …}.')
    identity.clock.set_ahead(document["ahead_seconds"])
    return answer(identity.clock.document())


def _document(mail: Mail) -> dict[str, object]:
    return {
        "to": mail.to,
        "kind": mail.kind,
        "subject": mail.subject,
        "token": mail.token,
        "link": mail.link,
        "at": mail.at,
    }


def _is_ours(host: str, site_url: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost") or name == urlsplit(site_url).hostname:
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
