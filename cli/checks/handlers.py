"""The check of the handlers: that their modules can be imported, and every mark is right."""

from __future__ import annotations

from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.output import counted
from usher.core.errors import HandlersError
from usher.core.settings import Settings

INVALID: Final = Kind(
    "handlers.invalid",
    "{problem}",
    (
        Advice(
            "A module or an @after in it has a mistake, or a package that it imports is not "
            "installed here.",
            "Correct it as docs/your-code.md says; a running server tries again by itself.",
        ),
        Advice(
            "USHER_HANDLERS names no module, or this is not the folder that the server starts in.",
            "Set USHER_HANDLERS to modules as they are imported from there, such as mysite.hooks.",
            settings=("USHER_HANDLERS",),
        ),
    ),
)


def handlers_findings(settings: Settings) -> list[Finding]:
    """Return the finding on the handlers, which a process of its own imports; else nothing."""
    if not settings.handlers:
        return []
    from usher.server.handler_child import list_handlers  # noqa: PLC0415 - most sites have none

    try:
        found = list_handlers(settings.handlers)
    except HandlersError as error:
        return [INVALID.found(problem=" ".join(error.problems))]
    names = [each.name for each in found]
    text = f"{counted(len(names), 'handler')}: {', '.join(names)}"
    return [fine("handlers", text, names=names)]
