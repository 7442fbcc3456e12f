"""Push-T with arms: the twin of a station, driven for one episode by a policy that is no better than a straight line.

python examples/robot.py                            # simulated parts, half a minute
python examples/robot.py --station my_station.yaml --confirm-motion
"""

from __future__ import annotations

import argparse

import cv2
import gymnasium as gym
import numpy as np

import autoenvbench  # noqa: F401  (registers the environments)


def push(observation: np.ndarray) -> np.ndarray:
    """Behind the T as seen from the target, then through it. While the arm hides the T, step aside."""
    tip, block, valid = observation[:2], observation[2:4], observation[7]
    if not valid:
        return np.array([np.sign(tip[0] - block[0]) or 1.0, 0.0])
    away = block / (np.linalg.norm(block) + 1e-6)
    side = np.array([-away[1], away[0]])
    along, across = np.dot(tip - block, away), np.dot(tip - block, side)
    if along < 0.09 and abs(across) > 0.02:  # not behind it yet: around it, at a distance
        goal = block + (0.14 if along > -0.02 else -0.2) * away + 0.15 * np.sign(across) * side
        goal = block + 0.14 * away if along > 0.05 else goal
    else:
        goal = block if along > 0 else block + 0.15 * side
    return np.clip((goal - tip) / 0.03, -0.5, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--station", metavar="FILE", help="station file; default: the twin that ships")
    parser.add_argument("--confirm-motion", action="store_true", help="physical arms may move")
    args = parser.parse_args()
    env = gym.make(
        "ENPIRE/PushT-real-v0", render_mode="rgb_array", station=args.station, confirm_motion=args.confirm_motion
    )
    try:
        observation, info = env.reset(seed=0)
        print(f"{info['cell']}: the T was pushed to its start in {info['reset_attempts']} attempt(s)")
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(push(observation))
            ended = terminated or truncated
        cv2.imwrite("robot.png", env.render()[..., ::-1])
        print(f"score {info['score']}, {info.get('reason', 'solved')} after {info['time']:.0f} s; picture: robot.png")
    finally:
        env.close()  # folds the arms down


if __name__ == "__main__":
    main()
