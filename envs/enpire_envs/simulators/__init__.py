"""What runs in the other interpreters: robosuite, RoboCasa and gym-pusht under the suite's contract. See `enpire_envs.remote`."""
