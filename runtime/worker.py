"""What each Granian worker process imports: the application, composed from the environment."""

from core import app
from runtime.server import Application

application = Application(app.current().settings.max_body_bytes)
