"""The public endpoints: one file is one URL, ``handler(event, context) -> dict``."""
