"""What an agent is given: a Git repository and `aeb`, the command that is its whole interface."""
