"""What an agent is given: a Git workspace and `aeb`, its whole interface to the world."""
