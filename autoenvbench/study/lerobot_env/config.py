"""The configuration, `--env.type=enpire`: which environment, and what LeRobot calls that which it shows and takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from enpire_envs.contract import contract_of
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.study.lerobot_env.episodes import ID, Layout, LerobotEpisodes, full_id

_KINDS = {"agent_pos": FeatureType.STATE, "environment_state": FeatureType.ENV}


@EnvConfig.register_subclass("enpire")
@dataclass
class EnpireEnvConfig(EnvConfig):
    """`task`: an id, with or without "ENPIRE/", of a simulation, a twin or a station of arms. `kwargs`: arguments of the environment, such
    as `{obs_type: pixels_agent_pos}` or `{station: my_station.yaml, confirm_motion: true}`. `score_seed`: episode k of `--seed=S` begins
    at start S + k of `autoenvbench score --seed SCORE_SEED`. `repeat_state`: where there are no cameras, whether `observation.state` is
    what `observation.environment_state` is, as in datasets; policies of `train diffusion` want it empty. `fps` and `features` follow from the task."""

    task: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    score_seed: int = 0
    repeat_state: bool = True

    def __post_init__(self) -> None:
        if self.task is None:
            raise SystemExit("--env.type=enpire wants an environment: add --env.task=ID; autoenvbench envs lists them")
        try:
            env = make_env(full_id(self.task), self.kwargs)
            try:
                self._describe(env)
            finally:
                env.close()
        except UserError as error:
            raise SystemExit(f"--env.task={self.task} --env.kwargs={self.kwargs}: {error}") from None

    def _describe(self, env: gym.Env[Any, Any]) -> None:
        layout = Layout(env.observation_space, self.repeat_state)
        self.fps = round(contract_of(env).control_hz)
        self.features = {"action": PolicyFeature(FeatureType.ACTION, env.action_space.shape or ())}
        self.features_map = {"action": "action"}
        for name, shape in layout.vectors.items():
            self.features[name] = PolicyFeature(_KINDS[name], shape)
            self.features_map[name] = layout.called(name)
        for name, shape in layout.images.items():
            self.features[f"pixels/{name}"] = PolicyFeature(FeatureType.VISUAL, shape)
            self.features_map[f"pixels/{name}"] = f"observation.images.{name}"

    @property
    def package_name(self) -> str:
        """What LeRobot imports where Gymnasium does not know `gym_id` yet."""
        return LerobotEpisodes.__module__

    @property
    def gym_id(self) -> str:
        """One for all tasks: `episodes.LerobotEpisodes`."""
        return ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of `episodes.LerobotEpisodes`."""
        return {
            "task": self.task,
            "kwargs": self.kwargs,
            "score_seed": self.score_seed,
            "repeat_state": self.repeat_state,
        }
