"""SAC trains on Push-T from nothing: python examples/sb3/sac.py [STEPS], then autoenvbench score --policy runs/sb3_sac"""

import shutil
import sys
from pathlib import Path

import gymnasium as gym
from stable_baselines3 import SAC

env = gym.make("autoenvbench:ENPIRE/PushT-v0", reward_type="dense", gamma=0.99)
model = SAC("MlpPolicy", env, gamma=0.99, learning_starts=500, verbose=1)
model.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
model.save("runs/sb3_sac/checkpoints/SAC")
shutil.copy(Path(__file__).with_name("policy.py"), "runs/sb3_sac")
