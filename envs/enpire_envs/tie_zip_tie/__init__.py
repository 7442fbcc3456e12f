"""Tying a zip tie: thread a strap through its head until the ratchet holds it."""
