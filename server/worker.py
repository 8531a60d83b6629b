"""The module that each Granian worker imports: the application, built from the environment."""

import gc

from usher.core import app
from usher.server.app import Application

application = Application()
_ = app.current().store  # loaded now, not while the first person waits
# Loaded objects live as long as the process. Frozen, they are no longer walked by the garbage
# collector, which took 60 ms of somebody's login each time.
gc.collect()
gc.freeze()
