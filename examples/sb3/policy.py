"""What a station runs of any of them: the model in checkpoints/, by the class that its file is named after."""

from pathlib import Path

import stable_baselines3


class Policy:
    def __init__(self, observation_space, action_space):
        (file,) = (Path(__file__).parent / "checkpoints").glob("*.zip")
        self.model = getattr(stable_baselines3, file.stem).load(file, device="cpu")

    def reset(self, observation):
        pass

    def act(self, observation):
        return self.model.predict(observation, deterministic=True)[0]
