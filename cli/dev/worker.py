"""The module that the worker of ``usher dev`` imports: the application, with a local Identity.

Code and settings are being edited, so their errors are reported here, briefly.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from usher.cli.dev.server import ASKED_VARIABLE

if TYPE_CHECKING:
    from usher.server.app import Application

LOCAL_SETTLING_SECONDS: Final = 1.0
"""After an answer the local Identity takes no longer to commit an account, or to drop it."""


def _composed() -> Application:
    """Build the application. Imports stand here so that their errors are caught, too."""
    from usher.cli.dev.local_identity import Asked, local_identity  # noqa: PLC0415
    from usher.cli.environment import dev_environment, upgrade_if_local  # noqa: PLC0415
    from usher.core import app, log  # noqa: PLC0415
    from usher.core.policy_source import warn_of_tests  # noqa: PLC0415
    from usher.core.server_folder import own_folder  # noqa: PLC0415
    from usher.server.app import Application  # noqa: PLC0415

    asked = Asked.from_json(os.environ[ASKED_VARIABLE])
    os.environ.update(dev_environment())
    if asked.local:
        os.environ.update(asked.variables(os.environ))
    usher = app.current()
    log.configure(tracebacks=True)
    upgrade_if_local(usher)
    usher.store.check()
    warn_of_tests(usher.policy, usher.clock())
    handlers = usher.settings.handlers
    if handlers:
        from usher.server.handler_child import list_handlers  # noqa: PLC0415 - most have none

        list_handlers(handlers)  # so that a fault in them is told at once
    folder = None if handlers else own_folder()
    if handlers or folder is not None:
        from usher.server.outbox import OutboxKeeper, Start  # noqa: PLC0415 - not on Windows

        settling = LOCAL_SETTLING_SECONDS if asked.local else None
        start = Start(usher.newest_entry(), usher.clock(), settling)
        OutboxKeeper(folder, start).start()  # its process ends with this one
    guest = local_identity(usher.settings, asked) if asked.local else None
    return Application(guest, own_pages=True)


def _application() -> Application:
    try:
        return _composed()
    except Exception as error:  # noqa: BLE001 - any fault of code being written; ends the process
        _explain(error)
        raise SystemExit(1) from None


def _explain(error: Exception) -> None:
    """Print our errors as a sentence, syntax errors with their place, others as a traceback."""
    from usher.core.errors import UsherError  # noqa: PLC0415

    if isinstance(error, UsherError):
        lines = str(error)
    elif isinstance(error, SyntaxError):
        lines = "".join(traceback.format_exception_only(error)).rstrip()
    else:
        lines = "".join(traceback.format_exception(error)).rstrip()
    print(lines, file=sys.stderr)


application = _application()
gc.collect()
gc.freeze()
