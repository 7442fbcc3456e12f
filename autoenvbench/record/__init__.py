"""The truth and its arithmetic: the ledger, its event schemas, metrics and results."""
