"""The one door to a language model: it holds the keys, counts the tokens, and can replay a script instead."""
