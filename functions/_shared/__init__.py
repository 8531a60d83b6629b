"""Shared by the functions: HTTP, headers, CORS, failures, and operations of the API."""
