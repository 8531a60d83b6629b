"""Usher's product: verification, decisions, the pipeline, the user service and the ledger."""
