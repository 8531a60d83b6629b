"""``usher dev``: Usher and a local Identity in one command, for development."""
