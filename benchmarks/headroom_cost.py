"""What a control step of a level costs, in processor time on one core, in alternation with the intro level of the same task."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
from enpire_envs.reference import make_reference

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env

ROUNDS = 5
#: What a level may give of each kind; the first that it does is measured.
KINDS = {"state": ("state",), "pixels": ("pixels", "pixels_agent_pos")}


class Stepping:
    """An environment under its reference policy (or random actions, where it has none), in which only `step` is timed."""

    def __init__(self, env_id: str, obs_type: str) -> None:
        self.env = make_env(env_id, {"obs_type": obs_type})
        self._act: Any = None
        with contextlib.suppress(LookupError):
            self._act = make_reference(self.env)
        self._actions = np.random.default_rng(0)
        self._episodes, self._observation = 0, None

    def seconds(self, steps: int) -> float:
        """Processor time of so many steps [s], of all threads of this process."""
        spent = 0.0
        for _ in range(steps):
            if self._observation is None:
                self._observation, _ = self.env.reset(seed=self._episodes)
                self._episodes += 1
                if self._act is not None:
                    self._act.reset(self._observation)
            space = self.env.action_space
            action = (
                self._actions.uniform(space.low, space.high) if self._act is None else self._act.act(self._observation)
            )
            began = time.process_time()
            self._observation, _, terminated, truncated, _ = self.env.step(action)
            spent += time.process_time() - began
            if terminated or truncated:
                self._observation = None
        return spent


def steps_per_second(env_id: str, intro: str | None, steps: int) -> dict[str, dict[str, float]]:
    """Control steps/s of a level and of its task's intro, by kind of observation: "state" and "pixels" (96 px, every camera), where the
    level gives them.

    The two alternate, and of each the fastest of `ROUNDS` rounds counts. A renderer's threads count as well: give this process one core for
    the figures of one core.

    Args:
        intro: None where the task has no such level; there is no ratio then.
        steps: of each round.
    """
    found: dict[str, dict[str, float]] = {}
    for kind, obs_types in KINDS.items():
        for obs_type in obs_types:
            try:
                pair = {"level": Stepping(env_id, obs_type), **({"intro": Stepping(intro, obs_type)} if intro else {})}
                break
            except UserError:
                continue  # the level has no such observation
        else:
            continue
        for one in pair.values():
            one.seconds(max(1, steps // 10))  # what is made on first use
        rounds = [{name: one.seconds(steps) for name, one in pair.items()} for _ in range(ROUNDS)]
        fastest = {name: steps / min(row[name] for row in rounds) for name in pair}
        found[kind] = {**fastest, **({"ratio": fastest["level"] / fastest["intro"]} if intro else {})}
        for one in pair.values():
            one.env.close()
    return found
