"""The text of a policy.toml becomes a policy, or an error that names the place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from usher.core.bounds import MAX_EMAIL_CHARACTERS, MAX_MESSAGE_CHARACTERS
from usher.core.domain.admission import Admission, AdmissionRule, Answer, DenyList
from usher.core.domain.conditions import AS_WRITTEN, Conditions, Spelling
from usher.core.domain.events import EventName
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import DEFAULT_MESSAGE, Outage, check_app_metadata, check_roles
from usher.core.domain.policy_tests import PolicyTest
from usher.core.domain.rules import FilePolicy, RoleRule
from usher.core.errors import PolicyError
from usher.core.policy_counting import COUNTED_KEYS, read_counting, read_test_code
from usher.core.policy_lists import BOM, ListFiles, ListReader, Read, known, read_file, strings

T = TypeVar("T")
_LISTS = ("allow_email_domains", "allow_emails", "deny_email_domains", "deny_emails")
_ASKED = ("validate", "signup", "login", "usermodified")
"""The events at which a policy is asked."""
_CONDITIONS = {"emails", "email_domains", "providers", "invited", "from", "until"}


def parse_policy(
    text: str,
    where: str = "policy.toml",
    folder: Path | None = Path(),
    content: Read = read_file,
) -> FilePolicy:
    """Read the text of a policy.toml.

    Args:
        where: name of the file, for errors.
        folder: of the file; names of lists count from here. None: the text is a stranger's, so it
            may name no file.
        content: gives what a list holds; raises as ``read_file``.

    Raises:
        PolicyError: names the table and key, or for a syntax error the line.
    """
    import tomllib  # noqa: PLC0415 - forged events need none

    try:
        document = tomllib.loads(text.removeprefix(BOM))
    except (ValueError, RecursionError) as error:  # syntax, numbers of 5,000 digits, 1,000 levels
        raise PolicyError(where, str(error)[:200]) from None
    known(document, {"admission", "rule", "role", "app_metadata", "outage", "test"}, where)
    constants = _table(document.get("app_metadata", {}), f"{where}: [app_metadata]")
    check_app_metadata(constants, f"{where}: [app_metadata]")
    place = f"{where}: [admission]"
    admission = _table(document.get("admission", {}), place)
    message = _message(admission, place)
    spelling = _spelling(admission, place)
    files = ListFiles(folder, content)
    lists = ListReader(files, spelling)
    roles = _array(document, "role", where, partial(_role_rule, lists))
    check_roles({rule.grant for rule in roles}, where)
    rules = _array(document, "rule", where, partial(_admission_rule, lists, message))
    return FilePolicy(
        admission=_admission(admission, place, lists, rules, spelling, message),
        roles=roles,
        app_metadata=constants,
        outage=_outage(document.get("outage", {}), f"{where}: [outage]"),
        fingerprint=_fingerprint(text, files),
        files=tuple(files.read.values()),
        counting=read_counting(admission, f"{where}: [admission]"),
        tests=_array(document, "test", where, _test),
    )


def _fingerprint(text: str, files: ListFiles) -> str:
    """Twelve hex digits; those of the text alone where it names no file."""
    digest = hashlib.sha256(text.encode())
    for file in files.read.values():  # in the order in which the text names them
        digest.update(f"\n{file.digest}".encode())
    return digest.hexdigest()[:12]


def _array(
    document: Mapping[str, Any],
    key: str,
    where: str,
    read: Callable[[dict[str, Any], int, str], T],
) -> tuple[T, ...]:
    """Read each table of an array; ``read`` is given its number and its place as well."""
    found = document.get(key, [])
    if not isinstance(found, list):
        raise PolicyError(f"{where}: {key}", f"write each one as [[{key}]], with two brackets")
    places = [f"{where}: [[{key}]] number {number}" for number in range(1, len(found) + 1)]
    return tuple(
        read(_table(value, place), number, place)
        for number, (value, place) in enumerate(zip(found, places, strict=True), 1)
    )


def _admission(
    table: dict[str, Any],
    where: str,
    lists: ListReader,
    rules: tuple[AdmissionRule, ...],
    spelling: Spelling,
    message: str,
) -> Admission:
    known(
        table,
        {"default", "message", *_LISTS, *COUNTED_KEYS, "ignore_subaddress", "ignore_dots"},
        where,
    )
    default = table.get("default", "allow")
    if default not in list(Answer):
        raise PolicyError(f"{where} default", 'must be "allow", "deny" or "ask"')
    allow_domains = lists.domains(
        table.get("allow_email_domains", []), f"{where} allow_email_domains"
    )
    allow_emails = lists.emails(table.get("allow_emails", []), f"{where} allow_emails")
    if default == Answer.ALLOW and (allow_domains or allow_emails):
        raise PolicyError(where, 'an allow list does nothing without default = "deny" or "ask"')
    denied = {}
    for key, read in (("deny_email_domains", lists.domains), ("deny_emails", lists.emails)):
        value, place = table.get(key, []), f"{where} {key}"
        entries = read(value, place, "message")
        own = value if isinstance(value, dict) else {}
        denied[key] = DenyList(entries, _message(own, place, message))
    return Admission(
        default=Answer(default),
        message=message,
        allow_email_domains=allow_domains,
        allow_emails=allow_emails,
        rules=rules,
        spelling=spelling,
        **denied,
    )


def _spelling(table: Mapping[str, Any], where: str) -> Spelling:
    subaddress = _choice(table, "ignore_subaddress", where)
    dots = table.get("ignore_dots", False)
    if isinstance(dots, list):
        lists = ListReader(ListFiles(Path()), AS_WRITTEN)
        found = Spelling(subaddress, dotless=lists.domains(dots, f"{where} ignore_dots"))
    else:
        found = Spelling(subaddress, _choice(table, "ignore_dots", where))
    return AS_WRITTEN if found == AS_WRITTEN else found


def _admission_rule(
    lists: ListReader, message: str, table: dict[str, Any], number: int, where: str
) -> AdmissionRule:
    known(table, {*Answer, "message", *_CONDITIONS}, where)
    given = [answer for answer in Answer if answer.value in table]
    if len(given) != 1 or table[given[0].value] is not True:
        raise PolicyError(where, "needs exactly one of allow = true, deny = true and ask = true")
    if "message" in table and given != [Answer.DENY]:
        raise PolicyError(f"{where} message", "is for those who are refused, with deny = true")
    return AdmissionRule(
        number, given[0], _conditions(table, where, lists), _message(table, where, message)
    )


def _role_rule(lists: ListReader, table: dict[str, Any], number: int, where: str) -> RoleRule:
    known(table, {"grant", *_CONDITIONS}, where)
    grant = table.get("grant")
    if not isinstance(grant, str) or not is_role(grant):
        raise PolicyError(f"{where} grant", "must be the name of a role")
    return RoleRule(number, grant, _conditions(table, where, lists))


def _conditions(table: Mapping[str, Any], where: str, lists: ListReader) -> Conditions:
    emails = lists.emails(table.get("emails", []), f"{where} emails")
    domains = lists.domains(table.get("email_domains", []), f"{where} email_domains")
    providers = frozenset(
        provider.lower() for provider in strings(table.get("providers", []), f"{where} providers")
    )
    for key, found in (("emails", emails), ("email_domains", domains), ("providers", providers)):
        if key in table and not found:
            raise PolicyError(f"{where} {key}", "is empty, so the rule could never hold")
    since, until = _moment(table, "from", where), _moment(table, "until", where)
    if since is not None and until is not None and until <= since:
        raise PolicyError(f"{where} until", "is not after from, so the rule could never hold")
    invited = _choice(table, "invited", where) if "invited" in table else None
    return Conditions(emails, domains, providers, invited, since, until)


def _test(table: Mapping[str, Any], number: int, where: str) -> PolicyTest:
    known(table, {"who", "expect", "event", "proven", "provider", "invited", "at", "code"}, where)
    event = table.get("event", EventName.SIGNUP.value)
    if event not in _ASKED:
        raise PolicyError(f"{where} event", f"must be one of {', '.join(_ASKED)}")
    return PolicyTest(
        number,
        _text(table, "who", where),
        _expectation(table.get("expect"), f"{where} expect"),
        EventName(event),
        _choice(table, "proven", where, default=True),
        _text({"provider": "email", **table}, "provider", where),
        _choice(table, "invited", where),
        _moment(table, "at", where),
        read_test_code(table, where),
    )


def _expectation(value: Any, where: str) -> str | frozenset[str]:
    roles = value if isinstance(value, list) else [value]
    if not all(isinstance(role, str) and is_role(role) for role in roles):
        raise PolicyError(
            where, 'must be "refused", "waiting", "admitted", a role, or a list of roles'
        )
    return frozenset(value) if isinstance(value, list) else str(value)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value or len(value) > MAX_EMAIL_CHARACTERS:
        raise PolicyError(
            f"{where} {key}", f"must be a text of 1 to {MAX_EMAIL_CHARACTERS} characters"
        )
    return value


def _moment(table: Mapping[str, Any], key: str, where: str) -> datetime | None:
    """A time, UTC unless it names its offset; a day is its beginning."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, date):
        raise PolicyError(
            f"{where} {key}", "must be a day, 2026-12-24, or a time, 2026-12-24T18:00:00Z; no text"
        )
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PolicyError(f"{where} {key}", "is out of range") from None


def _choice(table: Mapping[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise PolicyError(f"{where} {key}", "must be true or false")
    return value


def _outage(value: Any, where: str) -> Outage:
    table = _table(value, where)
    known(table, {name.value for name in EventName}, where)
    for name, handling in table.items():
        if handling not in ("answer", "refuse"):
            raise PolicyError(f"{where} {name}", 'must be "answer" or "refuse"')
    return Outage(frozenset(name for name in EventName if table.get(name) == "refuse"))


def _message(table: Mapping[str, Any], where: str, default: str = DEFAULT_MESSAGE) -> str:
    message = table.get("message", default)
    if not isinstance(message, str) or not 0 < len(message) <= MAX_MESSAGE_CHARACTERS:
        raise PolicyError(
            f"{where} message", f"must be a text of 1 to {MAX_MESSAGE_CHARACTERS} characters"
        )
    return message


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(where, "must be a table")
    return value
