"""GPU insertion: seat a card's edge in a sprung slot until the latch holds it."""
