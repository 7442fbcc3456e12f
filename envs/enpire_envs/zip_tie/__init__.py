"""Zip ties: thread a strap through its head until the ratchet holds it."""
