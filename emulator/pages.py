"""The emulator's HTML: no script, one style sheet known by its digest, everything escaped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit

from usher.emulator.mail import Mail
from usher.functions._shared.http import Response

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b2430;background:#fff}"
    "aside{border-left:.3rem solid #c2410c;padding:.4rem .8rem;background:#fff4ec;color:#5b2006}"
    "article{border-top:1px solid #8a94a3;padding:.8rem 0}"
    "a{color:#0b4fb3;overflow-wrap:anywhere}"
    "label{display:block;margin:.8rem 0}"
    "input[type=text]{display:block;width:100%;box-sizing:border-box;padding:.5rem;font:inherit}"
    "button{font:inherit;padding:.5rem 1rem;margin:.4rem .4rem .4rem 0}"
    ":focus-visible{outline:3px solid #0b4fb3;outline-offset:2px}"
    "@media (prefers-color-scheme:dark){body{color:#e6e9ee;background:#14181f}a{color:#8ab8ff}"
    "aside{background:#33200f;color:#ffd9bd}:focus-visible{outline-color:#8ab8ff}}"
)
_STYLE_DIGEST: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
NOTICE: Final = "For development only: this is not Netlify, and nobody is really asked or written."


def inbox_page(mails: Sequence[Mail]) -> Response:
    """Every mail kept, newest first, each with its link."""
    shown = "".join(_mail(mail) for mail in mails) or "<p>No mail yet.</p>"
    empty = (
        '<form method="post" action="/_dev/mail"><button>Empty the inbox</button></form>'
        if mails
        else ""
    )
    return _page("Inbox", f"{empty}{shown}", "'self'")


def consent_page(provider: str, action: str, state: str, site_url: str) -> Response:
    """A form in place of a provider's consent page.

    Args:
        action: where the form goes.
        state: comes back with it.
        site_url: where the person is sent then; browsers hold redirects of forms to the policy.
    """
    site = urlsplit(site_url)
    form = (
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="state" value="{escape(state)}">'
        '<label>E-mail address <input type="text" name="email" autocomplete="email"'
        ' value="ada@example.com" required></label>'
        '<label>Name <input type="text" name="name" autocomplete="name" value="Ada Lovelace">'
        "</label>"
        '<label><input type="checkbox" name="verified" value="yes" checked>'
        f" {escape(provider)} has verified the address</label>"
        '<button name="decision" value="allow">Log in</button>'
        '<button name="decision" value="deny" formnovalidate>Refuse</button>'
        "</form>"
    )
    body = f"<p>Whom should {escape(provider)} say you are?</p>{form}"
    return _page(f"Log in with {provider}", body, f"'self' {site.scheme}://{site.netloc}")


def _mail(mail: Mail) -> str:
    return (
        f"<article><h2>{escape(mail.subject)}</h2>"
        f"<p>To {escape(mail.to)}, {mail.at:%Y-%m-%d %H:%M:%S} UTC</p>"
        f'<p><a href="{escape(mail.link)}">{escape(mail.link)}</a></p></article>'
    )


def _page(title: str, body: str, form_targets: str) -> Response:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action {form_targets};"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<main><h1>{escape(title)}</h1><aside>{NOTICE}</aside>{body}</main></body></html>"
    )
    return Response(200, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy})
