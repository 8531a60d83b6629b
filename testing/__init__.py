"""Tools for tests: captured events replayed and compared with golden files."""
