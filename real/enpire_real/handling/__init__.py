"""What an arm with bare fingers can do at a fixture, for any task. Each skill is bounded in way, force and time, and says what happened."""
