"""How long texts may be that agents write and read. It imports nothing: `aeb` needs it, and has to start at once."""

MAX_TITLE = 200  # of an idea [characters]
MAX_DIFF = 20_000  # of an idea's changes that are shown [characters]
