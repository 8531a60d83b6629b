"""Identity's HTTP API: the client, and what is pushed to it or compared with it."""
