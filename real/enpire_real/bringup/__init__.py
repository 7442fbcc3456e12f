"""Bring-up: from a box of parts to a verified station. Each command of `autoenvbench station` is one file here."""
