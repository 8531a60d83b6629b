"""For tests: captured events replayed and compared with what was approved."""
