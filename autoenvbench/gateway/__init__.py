"""The one door to a language model: holds the keys, meters tokens, enforces budgets, replays scripts."""
