"""Skills that resets of real cells and reference policies share. Each would solve its task, so every cage hides this folder."""
