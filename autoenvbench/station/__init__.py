"""Owns a robot cell: resets it, runs policies on it, judges them and writes down what happened."""
