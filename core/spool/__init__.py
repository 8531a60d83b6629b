"""Store and forward: deliveries kept on disk while the database is away, and applied later."""
