"""Verification of leaderboard rows: submission archives, what a ledger bears out, and re-runs of the answer in a fresh cage."""
