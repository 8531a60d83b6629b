"""What each Granian worker process imports: the application, composed from the environment."""

import gc

from usher.core import app
from usher.server.app import Application

application = Application()
_ = app.current().store  # loaded now, not while the first person waits
# What is loaded lives as long as the process: the collector need not walk it again and again,
# which took 60 ms of somebody's login each time.
gc.collect()
gc.freeze()
