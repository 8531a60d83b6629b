"""Tests of ``usher netlify``."""
