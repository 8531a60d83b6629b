"""The server process: application, group commit, periodic tasks, metrics, traces, site."""
