"""What the worker process of ``usher dev`` imports: the application with a local Identity."""

import gc
import os

from cli.local_identity import OPTIONS_VARIABLE, local_identity
from core import app
from runtime.server import Application

application = Application(local_identity(app.current().settings, os.environ[OPTIONS_VARIABLE]))
_ = app.current().store  # loaded now, not while the first person waits
gc.collect()
gc.freeze()
