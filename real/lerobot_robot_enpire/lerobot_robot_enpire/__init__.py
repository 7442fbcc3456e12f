"""AutoEnvBench stations for LeRobot: `--robot.type=enpire_station`."""

from enpire_real.lerobot_robot import EnpireStation, EnpireStationConfig

__all__ = ["EnpireStation", "EnpireStationConfig"]
