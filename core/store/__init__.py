"""All SQL: tables, statements and transactions."""
