"""A small site: two guarded endpoints, and customers at a billing system."""
