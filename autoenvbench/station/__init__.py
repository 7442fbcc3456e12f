"""R, the rollout: one process owns one cell, resets it, runs policies on it, judges them, writes it all down."""
