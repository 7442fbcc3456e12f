"""What the twin simulates of tying a zip tie; cages hide it."""
