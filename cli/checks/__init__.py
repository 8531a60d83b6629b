"""``usher doctor``: its checks and findings."""
