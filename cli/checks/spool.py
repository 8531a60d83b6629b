"""The check of the spool: that events could be kept while the database is away, and what waits."""

from __future__ import annotations

from pathlib import Path

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.output import counted
from usher.core.app import App
from usher.core.errors import SpoolError
from usher.core.spool.files import DEAD_LETTERS, SUFFIX, Spool, waiting

AGAIN = f"again{SUFFIX}"

UNWRITABLE = Kind(
    "spool.unwritable",
    "no event can be kept while the database is away: {error}",
    (
        Advice(
            "The user that runs Usher may not write there, or a part of the path is a file.",
            "Set USHER_SPOOL to a folder that this user can write to.",
            settings=("USHER_SPOOL",),
        ),
        Advice("The disk is full, or can only be read.", "Make room, or use another disk."),
    ),
)
UNREADABLE = Kind(
    "spool.unreadable",
    "{folder} cannot be read: {error}",
    (
        Advice(
            "Something in it is not Usher's, or belongs to another user.",
            "Move that out, or give it to the user that runs Usher.",
        ),
    ),
)
SPOOL_DEAD_LETTERS = Kind(
    "spool.dead_letters",
    "{count:event} kept there could not be applied afterwards",
    (
        Advice(
            "The policy, or the database, refused them; the log line event.dead_letter says why.",
            "Mend that. Then rename the file: a running server tries it again within a second.",
            commands=(f"mv {{file}} {{folder}}/{AGAIN}",),
        ),
    ),
)


def spool_findings(app: App) -> list[Finding]:
    """Return whether the spool works and is empty; nothing where it has no place to be.

    The folder is made where it is missing, but not beside a database that is not there.
    """
    folder = app.settings.spool_folder
    if not app.settings.spool and not folder.parent.exists():
        return []
    return [_spool(folder)]


def _spool(folder: Path) -> Finding:
    try:
        Spool(folder).check()
        found = waiting(folder)
    except SpoolError as error:
        return UNWRITABLE.found(error=error.detail, folder=str(folder))
    except OSError as error:
        return UNREADABLE.found(error=error.strerror, folder=str(folder))
    if count := found["dead_letters"]:
        return SPOOL_DEAD_LETTERS.found(
            count=count,
            folder=str(folder),
            file=str(folder / DEAD_LETTERS),
        )
    facts = {"folder": str(folder), "waiting": found["waiting"]}
    if count := found["waiting"]:
        text = f"{counted(count, 'event')} in {folder} still to be applied by a running server"
        return fine("spool", text, **facts)
    text = f"{folder} can keep events while the database is away; none is waiting"
    return fine("spool", text, **facts)
