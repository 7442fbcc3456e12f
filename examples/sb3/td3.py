"""TD3 trains on Push-T from nothing: python examples/sb3/td3.py [STEPS], then autoenvbench score --policy runs/sb3_td3"""

import shutil
import sys
from pathlib import Path

import gymnasium as gym
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise

env = gym.make("autoenvbench:ENPIRE/PushT-v0", reward_type="dense", gamma=0.99)
noise = NormalActionNoise([0, 0], [0.2, 0.2])
model = TD3("MlpPolicy", env, gamma=0.99, learning_starts=500, action_noise=noise, verbose=1)
model.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
model.save("runs/sb3_td3/checkpoints/TD3")
shutil.copy(Path(__file__).with_name("policy.py"), "runs/sb3_td3")
