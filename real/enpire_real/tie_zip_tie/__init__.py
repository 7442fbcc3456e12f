"""Tying a zip tie on arms, physical or simulated down to their wires."""
