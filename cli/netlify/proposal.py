"""The changes that make a site one with Usher, or the reasons why it cannot be one yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final, NamedTuple

from usher import __version__
from usher.cli.init import IGNORED, not_ignored, starter
from usher.cli.netlify import obstacles, plan, record, redirects, toml_text
from usher.cli.netlify.record import Change
from usher.cli.netlify.site import SetupError, Site, relative

BRIDGE: Final = "usher-bridge.mjs"


class Wishes(NamedTuple):
    """The options that say how the site is to be."""

    host: str | None
    bridge: bool
    publish: str | None
    command: str | None


class Proposal(NamedTuple):
    """The changes of files, and remarks for people."""

    changes: list[Change]
    remarks: list[str]


def propose(site: Site, wishes: Wishes) -> Proposal:
    """Return the changes that the site needs.

    Raises:
        SetupError: something is in the way; all of it is named.
    """
    remarks: list[str] = []
    publish, command = _publish(site, wishes, remarks), _command(site, wishes, remarks)
    wanted = redirects.to_host(wishes.host) if wishes.host else redirects.inside()
    lacking, problems = redirects.missing(
        wanted,
        site.rules_of_files(publish or site.publish),
        redirects.of_configuration(site.document),
    )
    problems += _obstacles(site, publish or site.publish, wishes)
    if problems:
        raise SetupError("\n".join([*problems, "Nothing was changed."]))
    try:
        if wishes.host:
            text = plan.redirected(site.text, lacking)
        else:
            text = plan.inside(
                site.text,
                functions=site.functions,
                own_command=command,
                publish=publish,
                redirects=lacking,
            )
    except toml_text.NoPlaceError as error:
        raise SetupError(
            f"{site.configuration} is written in a way that leaves no place for this. Add it by "
            f"hand, then run this again:\n\n{error.lines}"
        ) from None
    texts = {relative(site.configuration, site.base): text, **_beside(site, wishes)}
    changes = [Change(name, record.read(site.base / name), after) for name, after in texts.items()]
    return Proposal([each for each in changes if each.before != each.after], remarks)


def _obstacles(site: Site, publish: str | None, wishes: Wishes) -> Iterator[str]:
    inside = wishes.host is None
    found = [obstacles.private_files(site, publish, python=inside)]
    found += obstacles.hidden_pages(site, publish)
    if inside:
        found += [obstacles.old_python(site), *obstacles.taken_functions(site)]
    yield from (each for each in found if each)


def _publish(site: Site, wishes: Wishes, remarks: list[str]) -> str | None:
    """Return the folder that netlify.toml shall name, None where it names one."""
    if site.publish is not None:
        if wishes.publish not in (None, site.publish):
            raise SetupError(
                f'{site.configuration} has publish = "{site.publish}", and --publish says another '
                "folder. Change it there, or leave the option out."
            )
        return None
    if wishes.publish:
        return wishes.publish
    usual = site.usual_publish()
    if usual and not wishes.host:  # there it is only looked into
        remarks.append(
            f'publish = "{usual}" is what package.json suggests. Where Netlify\'s own settings '
            "have another folder: --publish FOLDER."
        )
    return usual


def _command(site: Site, wishes: Wishes, remarks: list[str]) -> str:
    """Return the site's own build command, where netlify.toml has none."""
    has_one = any(keys[0].lower() == "build" for keys, _ in plan.commands_of(site.document))
    if has_one or wishes.host:
        if wishes.command:
            raise SetupError(
                f"--command is not for this site: {site.configuration} has a build command."
                if has_one
                else "--command is not for a site with Usher on a host of its own."
            )
        return ""
    if wishes.command is not None:
        return wishes.command
    usual = site.usual_command()
    remarks.append(
        f"netlify.toml had no build command; {f'`{usual}`' if usual else 'none'} is taken for the "
        "site's own. Where Netlify's own settings have another one: --command COMMAND."
    )
    return usual


def _beside(site: Site, wishes: Wishes) -> dict[str, str]:
    """Return the files beside netlify.toml, as they shall be."""
    if wishes.host is not None:
        found = {".gitignore": _gitignore(site, [".netlify/"])}
        if wishes.bridge:
            source = files("usher") / "netlify" / "functions" / BRIDGE
            found[f"{site.functions}/{BRIDGE}"] = source.read_text(encoding="utf-8")
        return found
    text = record.read(site.base / plan.REQUIREMENTS) or ""
    policy = record.read(site.base / "policy.toml")
    return {
        ".gitignore": _gitignore(site, [*IGNORED, *plan.ignored(site.functions)]),
        plan.REQUIREMENTS: plan.requirements(text, __version__),
        "policy.toml": starter("policy.toml") if policy is None else policy,
    }


def _gitignore(site: Site, wanted: Sequence[str]) -> str:
    text = record.read(site.base / ".gitignore") or ""
    end = toml_text.newline(text)
    missing = not_ignored(text.splitlines(), wanted)
    if missing and text and not text.endswith("\n"):
        text += end
    return text + "".join(f"{line}{end}" for line in missing)
