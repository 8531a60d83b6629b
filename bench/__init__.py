"""Measurements of Usher against plain receivers; see README.md."""
