"""Usher: the Python back end for sites whose accounts live in Netlify Identity."""

__version__ = "0.1.0"
