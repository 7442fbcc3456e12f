"""AutoEnvBench for LeRobot: stations as robots (`--robot.type=enpire_station`), environments to evaluate in (`--env.type=enpire`)."""

from enpire_real.lerobot_robot import EnpireStation, EnpireStationConfig

from autoenvbench.study.lerobot_env import EnpireEnvConfig

__all__ = ["EnpireEnvConfig", "EnpireStation", "EnpireStationConfig"]
