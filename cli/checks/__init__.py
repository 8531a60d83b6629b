"""``usher doctor``: what is checked, and what it finds."""
