"""Many runs or policies: scores, comparisons and ablations on matched starts."""
