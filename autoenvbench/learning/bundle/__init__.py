"""What the folder of a trained policy begins with, beside its weights: these files need NumPy and nothing of ours."""
