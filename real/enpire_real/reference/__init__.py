"""Reference policies of the real cells. Every cage hides this folder."""
