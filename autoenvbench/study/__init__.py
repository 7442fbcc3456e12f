"""Many runs or policies: scores, comparisons and studies on matched starts."""
