"""PPO trains on Push-T from nothing: python examples/sb3/ppo.py [STEPS], then autoenvbench score --policy runs/sb3_ppo"""

import shutil
import sys
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

arguments = {"reward_type": "dense", "gamma": 0.99}
envs = make_vec_env("autoenvbench:ENPIRE/PushT-v0", n_envs=8, env_kwargs=arguments)
model = PPO("MlpPolicy", envs, gamma=0.99, n_steps=256, batch_size=256, verbose=1)
model.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000)
model.save("runs/sb3_ppo/checkpoints/PPO")
shutil.copy(Path(__file__).with_name("policy.py"), "runs/sb3_ppo")
