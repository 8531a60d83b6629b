"""The redirects that Usher needs, and what of a site stands in their way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

API: Final = "/api/*"
HOOK: Final = "/hooks/identity"
PROXY_SECRET: Final = "USHER_PROXY_SECRET"  # noqa: S105 - a variable's name


class Rule(NamedTuple):
    """A redirect, and where it was found."""

    place: str
    source: str
    target: str


def inside() -> list[dict[str, Any]]:
    """Return the redirect of a site whose functions are Usher."""
    return [_rule(API, "/.netlify/functions/api")]


def to_host(host: str) -> list[dict[str, Any]]:
    """Return the signed redirects of a site that keeps Usher on a host of its own."""
    signed = {"signed": PROXY_SECRET}
    return [
        _rule(API, f"{host}/api/:splat") | signed,
        _rule(HOOK, f"{host}/.netlify/functions/identity") | signed,
    ]


def _rule(source: str, target: str) -> dict[str, Any]:
    """A rewrite. It is forced, so no file of the site stands in the way."""
    return {"from": source, "to": target, "status": 200, "force": True}


def of_configuration(document: Mapping[str, Any]) -> list[Rule]:
    """Read the redirects of netlify.toml, in their order."""
    rules = document.get("redirects")
    return [
        Rule("netlify.toml", str(rule.get("from", rule.get("origin", ""))), _target(rule))
        for rule in (rules if isinstance(rules, list) else ())
        if isinstance(rule, dict)
    ]


def _target(rule: Mapping[str, Any]) -> str:
    return str(rule.get("to", rule.get("destination", "")))


def of_file(place: str, text: str) -> list[Rule]:
    """Read a ``_redirects`` file, which Netlify asks before netlify.toml."""
    words = (line.split("#", 1)[0].split() for line in text.splitlines())
    return [Rule(place, each[0], _second(each[1:])) for each in words if len(each) > 1]


def _second(words: Sequence[str]) -> str:
    """The target is the first word that is no condition on the query (``id=:id``)."""
    return next((word for word in words if word[0] == "/" or "://" in word), "")


def line_of(rule: Mapping[str, Any]) -> str:
    """Write a redirect as a line of a ``_redirects`` file."""
    signed = f" signed={rule['signed']}" if "signed" in rule else ""
    return f"{rule['from']} {rule['to']} 200!{signed}"


def missing(
    wanted: Sequence[Mapping[str, Any]], files: Sequence[Rule], configured: Sequence[Rule]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the redirects that netlify.toml lacks, and a sentence for each conflict.

    Args:
        wanted: what Usher needs.
        files: the rules of ``_redirects`` files, which come first.
        configured: the rules of netlify.toml.
    """
    lacking: list[dict[str, Any]] = []
    problems: list[str] = []
    for rule in wanted:
        before: list[Rule] = []
        there = False
        for found in (*files, *configured):
            if (found.source, found.target) == (rule["from"], rule["to"]):
                there = True
                break
            if takes(found.source, rule["from"]):
                before.append(found)
        # Ours would become the first of netlify.toml, so only what is put for /api itself, or
        # stands in a file that comes first, is in the way.
        in_the_way = [
            each
            for each in before
            if there or each.place != "netlify.toml" or not _catches_all(each.source)
        ]
        problems += (_sentence(each, rule) for each in in_the_way)
        if not there:
            lacking.append(dict(rule))
    return lacking, list(dict.fromkeys(problems))


def _sentence(found: Rule, rule: Mapping[str, Any]) -> str:
    says = f"{found.place} sends {found.source} to {found.target or 'another place'}"
    if not _catches_all(found.source):
        return (
            f"{says}, and Usher needs {rule['from']} for itself. Move yours to another path; or, "
            "where an earlier setup wrote it, run: usher netlify setup --undo"
        )
    if found.place == "netlify.toml":
        return f"{says} before {rule['from']}. Move the redirect of {rule['from']} above it."
    return (
        f"{says}, and Netlify asks this file before netlify.toml. Put this line above it, then "
        f"run this again: {line_of(rule)}"
    )


def takes(source: str, wanted: str) -> bool:
    """Whether a rule for ``source`` answers requests that a rule for ``wanted`` is for.

    A rule that names a host is for another domain of the site, as those that lead to the main one.
    """
    if "://" in source:
        return False
    for ours, theirs in _pairs(_parts(wanted), _parts(source)):
        if "*" in (ours, theirs):
            return True
        if ours is None or theirs is None:
            return ours == theirs
        if not theirs.startswith(":") and ours != theirs:
            return False
    return True


def _pairs(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    for at in range(max(len(ours), len(theirs))):
        yield ours[at] if at < len(ours) else None, theirs[at] if at < len(theirs) else None


def _parts(source: str) -> list[str]:
    return [part for part in source.split("/") if part]


def _catches_all(source: str) -> bool:
    """Whether the rule is for more than Usher's paths, as ``/*`` and ``/:language/*`` are."""
    return bool(re.match(r"[*:]", "".join(_parts(source))))
