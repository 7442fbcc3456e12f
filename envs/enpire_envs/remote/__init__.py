"""Environments whose simulators need an interpreter of their own: RoboCasa, robosuite, gym-pusht.

`env` is the proxy that `gym.make` returns, `host` the program in the other interpreter, `venvs` where that is found. Nothing
here imports a simulator.
"""
