"""One run, start to result: agents are launched, watched, paused, sent back to work, stopped, scored."""
