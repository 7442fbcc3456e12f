"""Our stations as a LeRobot `Robot`: the driver, the control loop and the safety monitor behind LeRobot's three verbs.

Install `real/lerobot_robot_enpire` beside LeRobot and its commands find it (`--robot.type=enpire_station`), or say
`--robot.discover_packages_path=enpire_real.lerobot_robot`.
"""

from enpire_real.lerobot_robot.config import EnpireStationConfig
from enpire_real.lerobot_robot.robot import EnpireStation

__all__ = ["EnpireStation", "EnpireStationConfig"]
