"""Coverage-guided fuzzing of everything that reads what strangers write: docs/fuzzing.md."""
