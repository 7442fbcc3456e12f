"""What an agent is given: a Git workspace, a cage around it, and `aeb`, its whole interface to the world."""
