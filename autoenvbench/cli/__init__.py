"""The `autoenvbench` command: parses, calls one function, prints."""
