"""``/admin/users`` and ``/admin/audit``. Source: GoTrue ``api/admin.go``, ``api/audit.go``."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from usher.emulator.addresses import check_address
from usher.emulator.admins import require_admin
from usher.emulator.call import Call, answer
from usher.emulator.errors import ADDRESS_TAKEN, IdentityError
from usher.emulator.instance import Instance
from usher.emulator.passwords import hash_password
from usher.emulator.store import Work, audit_scope
from usher.functions._shared.http import Response

PER_PAGE: Final = 50
MAX_PER_PAGE: Final = 10_000
_WHAT: Final = "admin user"


def list_users(identity: Instance, call: Call) -> Response:
    """A page of accounts: ``page``, ``per_page``, ``filter``, ``sort``."""
    admin = require_admin(identity, call)
    aud = identity.audience(call, admin.claims)
    page, per_page = _page(call)
    records, count = identity.store.users(
        aud, call.first("filter"), _order(call.query("sort")), page, per_page
    )
    documents = [record.document() for record in records]
    return answer({"aud": aud, "users": documents}, _links(call, page, per_page, count))


def create_user(identity: Instance, call: Call) -> Response:
    """An account as an administrator wants it. No event, and ``app_metadata`` is ignored."""
    admin = require_admin(identity, call)
    body = call.body(_WHAT)
    email = body.text("email")
    check_address(email)
    aud = body.text("aud") or identity.audience(call, admin.claims)
    body.map("app_metadata")  # has to be an object, even so
    work = Work()
    with identity.locks.address(aud, email):
        if identity.store.by_email(aud, email) is not None:
            raise IdentityError(422, ADDRESS_TAKEN)
        data, role = body.map("user_metadata"), body.text("role")
        record = identity.new_record(call, email, aud, data, role)
        record.app_metadata = {"provider": "email"}
        record.password = hash_password(body.text("password"), "Error creating user")
        identity.audit(work, admin.record, "user_signedup", call.now, record)
        work.create(record)
        if body.flag("confirm"):
            record.confirm(call.now)
        identity.commit(work)
    return answer(record.document())


def show_user(identity: Instance, call: Call) -> Response:
    """One account."""
    require_admin(identity, call)
    return answer(identity.existing(call.user_id()).document())


def change_user(identity: Instance, call: Call) -> Response:
    """Change an account; metadata is merged. Fires ``usermodified`` once it is committed.

    The map is merged into the one read at the start, and written whole.
    """
    admin = require_admin(identity, call)
    user_id = call.user_id()
    record = identity.existing(user_id)
    body = call.body(_WHAT)
    role, email, password = body.text("role"), body.text("email"), body.text("password")
    confirm = body.flag("confirm")
    app_metadata, user_metadata = body.map("app_metadata"), body.map("user_metadata")
    work = Work()
    if role:
        record.role = role.strip()
    if confirm:
        record.confirm(call.now)
    if password:
        record.set_password(password, call.now, "Error updating user")
    if email:
        record.email = email
    if app_metadata is not None:
        record.merge_app_metadata(app_metadata, call.now)
    if user_metadata is not None:
        record.merge_user_metadata(user_metadata, call.now)
    if role or email:
        record.updated_at = call.now
    identity.audit(work, admin.record, "user_modified", call.now, record)
    work.save(record)
    identity.commit(work)
    if identity.hooks.fire_after_commit("usermodified", record):
        answered = Work()
        answered.save(record)
        identity.commit(answered)
    return answer(record.document())


def delete_user(identity: Instance, call: Call) -> Response:
    """Delete an account. Fires ``userdeleted`` once it is committed."""
    admin = require_admin(identity, call)
    user_id = call.user_id()
    work = Work()
    record = identity.existing(user_id)
    identity.audit(work, admin.record, "user_deleted", call.now, record)
    work.delete(user_id)
    identity.commit(work)
    identity.hooks.fire_after_commit("userdeleted", record)
    return answer({})


def list_audit(identity: Instance, call: Call) -> Response:
    """A page of the audit log, newest first: ``query=author:…``, ``action:…`` or ``type:…``."""
    require_admin(identity, call)
    page, per_page = _page(call)
    query = call.first("query")
    scope = audit_scope(query) if query else ("", "")
    if scope is None:
        raise IdentityError(400, f"Invalid query scope: {query}")
    entries, count = identity.store.audits(*scope, page, per_page)
    return answer(entries, _links(call, page, per_page, count))


def _page(call: Call) -> tuple[int, int]:
    numbers = []
    for name, usual in (("page", 1), ("per_page", PER_PAGE)):
        text = call.first(name) or str(usual)
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise IdentityError(400, f"Bad Pagination Parameters: {name} is no number")
        numbers.append(int(text))
    page, per_page = numbers
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise IdentityError(400, f"Bad Pagination Parameters: per_page is 1 to {MAX_PER_PAGE}")
    return page, per_page


def _order(wanted: list[str]) -> list[str]:
    directions = []
    for value in wanted:
        field, _, direction = value.partition(" ")
        direction = direction.lower() or "desc"
        if field != "created_at":
            raise IdentityError(400, f"Bad Sort Parameters: bad field for sort '{field}'")
        if direction not in ("asc", "desc"):
            raise IdentityError(
                400,
                f"Bad Sort Parameters: bad direction for sort '{direction}',"
                " only 'asc' and 'desc' allowed",
            )
        directions.append(direction)
    return directions or ["desc"]


def _links(call: Call, page: int, per_page: int, count: int) -> dict[str, str]:
    """As GoTrue writes them: paths of its own, without the site or the mount."""
    pages = -(-count // per_page)
    parameters = dict(parse_qsl(call.request.query))

    def link(number: int, relation: str) -> str:
        query = urlencode(sorted((parameters | {"page": str(number)}).items()))
        return f'<{call.path}?{query}>; rel="{relation}"'

    following = [link(page + 1, "next")] if pages > page else []
    previous = [link(page - 1, "prev")] if page > 1 else []
    return {
        "Link": ", ".join([*following, link(pages, "last"), *previous]),
        "X-Total-Count": str(count),
    }
