"""Our environments for LeRobot: `lerobot-eval --env.type=enpire --env.task=ID`, and its training loop's evaluations.

Install `real/lerobot_robot_enpire` beside LeRobot and its commands find it, or say `--env.discover_packages_path=autoenvbench.study.lerobot_env`.
"""

from autoenvbench.study.lerobot_env.config import EnpireEnvConfig

__all__ = ["EnpireEnvConfig"]
