"""Finding printed things in camera images, for any task: the calibration board, and mats with printed markers."""
