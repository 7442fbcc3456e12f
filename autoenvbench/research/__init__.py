"""One run, start to result: the agent at work, watched, paused, sent back to work, stopped."""
