"""Pin insertion on arms, physical or simulated down to their wires."""
