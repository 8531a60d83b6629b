"""Captured events: their format, files, redaction and replay."""
