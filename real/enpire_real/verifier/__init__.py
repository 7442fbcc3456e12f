"""Audits of verifiers: scenes whose truth is known, perturbed, judged by looking. Nothing here is part of an environment."""
