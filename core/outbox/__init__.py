"""The outbox: committed changes are handed over to a site's own handlers and sinks."""
