"""``usher dev``: everything for a laptop in one command."""
