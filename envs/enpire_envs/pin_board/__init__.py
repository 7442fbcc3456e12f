"""Filling a board with pins from a tray: pin insertion nine times over, with everything that lies between."""
