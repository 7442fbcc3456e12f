"""Cutting a zip tie: take the tail off close to its head, and leave the loop alone."""
