"""The ledger of a run, its event schemas, and what follows from them: metrics and results."""
