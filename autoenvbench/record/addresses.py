"""Addresses of servers: a run's ledger holds them, and whoever hands in the run publishes its ledger."""

from __future__ import annotations

from autoenvbench.errors import UserError


def tells_more(address: str) -> bool:
    """Whether an address says more than where to ask: a user or a key before its host, a query or a fragment."""
    return not {"@", "?", "#"}.isdisjoint(address)


def check_public(address: str | None) -> None:
    """Raises UserError for an address that a ledger must not hold; the text does not repeat it."""
    if address is not None and tells_more(address):
        raise UserError(
            "the address of the model's server holds a user, a query or a fragment, where keys stand, and a run's ledger is published; "
            "leave them out, as in http://127.0.0.1:8000/v1: a key goes into its environment variable, such as OPENAI_API_KEY"
        )
