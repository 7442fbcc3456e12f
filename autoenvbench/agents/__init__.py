"""The agents under test: one short file each."""
