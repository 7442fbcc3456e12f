"""Policy improvement by learning: data, one readable file an algorithm, and bundles that a station scores."""
