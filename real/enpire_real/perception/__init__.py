"""What cameras tell, for any task: the calibration board, and mats with printed markers."""
