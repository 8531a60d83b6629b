"""Sources of a policy, policy.toml or a Python callable, and the check of each."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from usher.core.bounds import MAX_MESSAGE_CHARACTERS
from usher.core.domain.events import EventName, email_key, split_address
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import (
    DEFAULT_MESSAGE,
    Admission,
    CallablePolicy,
    DenyList,
    FilePolicy,
    Outage,
    RoleRule,
    check_app_metadata,
    check_roles,
    listed,
)
from usher.core.errors import PolicyError


class PolicyInForce:
    """The holder of the current policy, shared by all services.

    Args:
        source: the value of ``USHER_POLICY``.
        before_code: called before somebody's own code is imported.
    """

    def __init__(self, source: str, before_code: Callable[[], None] = lambda: None) -> None:
        self._source = source
        self._before_code = before_code

    @cached_property
    def current(self) -> FilePolicy | CallablePolicy:
        """The policy, loaded once, at first use; a change needs a new process.

        Raises:
            PolicyError: the policy cannot be loaded.
        """
        if is_callable(self._source):
            self._before_code()
        return load_policy(self._source)


def is_callable(source: str) -> bool:
    """Whether a source names a callable, ``package.module:function``, and not a file."""
    return ":" in source and not source.endswith(".toml")


def load_policy(source: str) -> FilePolicy | CallablePolicy:
    """Load the policy of ``USHER_POLICY``.

    Args:
        source: path of a file, or ``package.module:function``. Where ``policy.toml``, the default,
            is absent, the policy is empty; any other absent file is an error.

    Raises:
        PolicyError: names the place and the problem.
    """
    if is_callable(source):
        return load_callable(source)
    path = Path(source)
    try:
        return parse_policy(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        if source == "policy.toml":
            return FilePolicy()
        raise PolicyError(source, "there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(source, f"cannot be read: {error}") from None


def load_callable(name: str) -> CallablePolicy:
    """Import a callable policy, ``package.module:function``.

    Raises:
        PolicyError: the module cannot be imported, or has no such callable.
    """
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # an import runs the module, which may raise anything
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise PolicyError(name, f"cannot be loaded: {kind}{error}") from error
    if not callable(function):
        raise PolicyError(name, "is not callable")
    return CallablePolicy(name, function)


def parse_policy(text: str, where: str = "policy.toml") -> FilePolicy:
    """Read the text of a policy.toml.

    Args:
        where: name of the file, for errors.

    Raises:
        PolicyError: names the table and key, or for a syntax error the line.
    """
    import tomllib  # noqa: PLC0415 - forged events need none

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # syntax, numbers of 5,000 digits, 1,000 levels
        raise PolicyError(where, str(error)[:200]) from None
    _known(document, {"admission", "role", "app_metadata", "outage"}, where)
    constants = _table(document.get("app_metadata", {}), f"{where}: [app_metadata]")
    check_app_metadata(constants, f"{where}: [app_metadata]")
    rules = document.get("role", [])
    if not isinstance(rules, list):
        raise PolicyError(f"{where}: role", "write each rule as [[role]], with two brackets")
    roles = tuple(
        _role_rule(rule, number, f"{where}: [[role]] number {number}")
        for number, rule in enumerate(rules, 1)
    )
    check_roles({rule.grant for rule in roles}, where)
    return FilePolicy(
        admission=_admission(document.get("admission", {}), f"{where}: [admission]"),
        roles=roles,
        app_metadata=constants,
        outage=_outage(document.get("outage", {}), f"{where}: [outage]"),
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:12],
    )


def _admission(value: Any, where: str) -> Admission:
    table = _table(value, where)
    _known(
        table,
        {
            "default",
            "message",
            "allow_email_domains",
            "allow_emails",
            "deny_email_domains",
            "deny_emails",
        },
        where,
    )
    default = table.get("default", "allow")
    if default not in ("allow", "deny"):
        raise PolicyError(f"{where} default", 'must be "allow" or "deny"')
    allow_domains = _domains(table.get("allow_email_domains", []), f"{where} allow_email_domains")
    allow_emails = _emails(table.get("allow_emails", []), f"{where} allow_emails")
    if default == "allow" and (allow_domains or allow_emails):
        raise PolicyError(where, 'an allow list does nothing without default = "deny"')
    return Admission(
        default_allow=default == "allow",
        message=_message(table, where),
        allow_email_domains=allow_domains,
        allow_emails=allow_emails,
        deny_email_domains=_deny_list(table, "deny_email_domains", _domains, where),
        deny_emails=_deny_list(table, "deny_emails", _emails, where),
    )


def _outage(value: Any, where: str) -> Outage:
    table = _table(value, where)
    _known(table, {name.value for name in EventName}, where)
    for name, handling in table.items():
        if handling not in ("answer", "refuse"):
            raise PolicyError(f"{where} {name}", 'must be "answer" or "refuse"')
    return Outage(frozenset(name for name in EventName if table.get(name) == "refuse"))


def _deny_list(
    table: Mapping[str, Any],
    key: str,
    read: Callable[[Any, str], frozenset[str]],
    where: str,
) -> DenyList:
    value = table.get(key, [])
    place = f"{where} {key}"
    if isinstance(value, dict):
        _known(value, {"values", "message"}, place)
        message = _message(value if "message" in value else table, place)
        return DenyList(read(value.get("values", []), place), message)
    return DenyList(read(value, place), _message(table, where))


def _role_rule(value: Any, number: int, where: str) -> RoleRule:
    table = _table(value, where)
    _known(table, {"grant", "emails", "email_domains", "providers"}, where)
    grant = table.get("grant")
    if not isinstance(grant, str) or not is_role(grant):
        raise PolicyError(f"{where} grant", "must be the name of a role")
    for key in ("emails", "email_domains", "providers"):
        if key in table and not table[key]:
            raise PolicyError(f"{where} {key}", "is empty, so the rule could never hold")
    return RoleRule(
        number=number,
        grant=grant,
        emails=_emails(table.get("emails", []), f"{where} emails"),
        email_domains=_domains(table.get("email_domains", []), f"{where} email_domains"),
        providers=frozenset(_strings(table.get("providers", []), f"{where} providers")),
    )


def _emails(value: Any, where: str) -> frozenset[str]:
    found = set()
    for text in _strings(value, where):
        address, _ = split_address(email_key(text))
        if not address:
            raise PolicyError(where, f"{text!r} is not an e-mail address")
        found.add(address)
    return frozenset(found)


def _domains(value: Any, where: str) -> frozenset[str]:
    found = set()
    for text in _strings(value, where):
        _, domain = split_address(email_key(f"a@{text}"))
        if not domain:
            raise PolicyError(where, f'{text!r} is not a domain; write "example.com", without @')
        found.add(domain)
    return frozenset(found)


def _strings(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PolicyError(where, "must be a list of strings")
    return value


def _message(table: Mapping[str, Any], where: str) -> str:
    message = table.get("message", DEFAULT_MESSAGE)
    if not isinstance(message, str) or not 0 < len(message) <= MAX_MESSAGE_CHARACTERS:
        raise PolicyError(
            f"{where} message", f"must be a text of 1 to {MAX_MESSAGE_CHARACTERS} characters"
        )
    return message


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(where, "must be a table")
    return value


def _known(table: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(table) - keys):
        raise PolicyError(where, f"unknown key {unknown[0]!r}; known are {listed(keys)}")
