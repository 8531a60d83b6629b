"""Identity's HTTP API: the client, the pushes of changes made here, and the sync."""
