"""Push-T: push a T-shaped block onto its target with a single fingertip."""
