"""What the twin simulates of pin insertion; cages hide it."""
