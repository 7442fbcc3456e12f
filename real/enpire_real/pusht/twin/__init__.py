"""Push-T's things on the twin's table; hidden, like the twin, where the simulator is no part of a run."""
