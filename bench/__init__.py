"""Measurements of Usher against plain receivers; see README.md."""

import os

# Where it is set, every process that is measured would compile its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
