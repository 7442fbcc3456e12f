"""The part of the contract that all simulators share: seeds that determine the start, a time limit, the verdict."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from enpire_envs.env import MAX_RESET_ATTEMPTS, ResetFailed

HOLD_S = 0.5  # an episode ends early once the simulator's own predicate has held so long


class SimulatorTask(ABC):
    """One simulator's task. Subclasses say how to begin, advance, judge and observe; `reset`, `step` and `finish` are here.

    Attributes:
        hz: control rate.
        limit: time limit [control steps]; the default until a `reset` names another one.
        cell: what `info["cell"]` says: "sim" or "stand-in".
    """

    hz: float
    limit: int
    cell = "sim"
    body: Any = None  # what tools act through, or None

    def __init__(self) -> None:
        self._steps, self._held, self._over, self._to_the_end = 0, 0, True, False

    # -- what a subclass is ------------------------------------------------------------------------------------------
    @abstractmethod
    def begin(self, start: dict[str, Any], attempt: int) -> None:
        """Bring the scene to the start."""

    @abstractmethod
    def advance(self, action: np.ndarray) -> float:
        """One control period; returns the simulator's own reward."""

    @abstractmethod
    def solved(self) -> bool:
        """The simulator's own predicate, now."""

    @abstractmethod
    def observe(self) -> Any:
        """What the policy sees now, as `describe` has its space."""

    @abstractmethod
    def render(self) -> np.ndarray:
        """A picture for people, (height, width, 3) uint8."""

    def check_start(self, start: dict[str, Any] | None, seed: int) -> dict[str, Any]:
        """The start asked for, or the one that the seed means. Raises ValueError."""
        if start is None:
            return {"seed": seed}
        if start.keys() != {"seed"}:
            raise ValueError(f"a start here is like {{'seed': 7}}; got {start}")
        return {"seed": int(start["seed"])}

    def extras(self) -> dict[str, Any]:
        """Further keys of `info`."""
        return {}

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the proxy builds itself from: spaces, `hz`, `limit`, `cell`, the body's description, versions."""

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Let go of the simulator."""

    # -- the contract ------------------------------------------------------------------------------------------------
    def reset(self, seed: int, options: dict[str, Any] | None, limit: int) -> tuple[Any, dict[str, Any]]:
        """Begin at the start that is asked for or that `seed` means; returns (observation, info).

        Args:
            limit: time limit of this episode [control steps].

        Raises:
            ResetFailed: what was asked for, or MAX_RESET_ATTEMPTS starts in a row, were solved already.
            ValueError: unknown options or a bad start.
        """
        options = dict(options or {})
        attempt = int(options.pop("attempt", 0))
        wanted = options.pop("start", None)
        self._to_the_end = bool(options.pop("to_the_end", False))
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}; known: attempt, start, to_the_end")
        self._over = True
        for attempts in range(1, MAX_RESET_ATTEMPTS + 1):  # noqa: B007  (reported below)
            start = self.check_start(wanted, seed)
            self.begin(start, attempt)
            if not self.solved():
                break
            if wanted is not None:
                raise ResetFailed(f"the start {start} is solved already: there is nothing to do in it")
            seed = int(np.random.default_rng([seed, 3]).integers(2**31))  # another one, that follows from the first
        else:
            raise ResetFailed(f"{MAX_RESET_ATTEMPTS} starts in a row were solved already", MAX_RESET_ATTEMPTS)
        self._steps, self._held, self._over, self.limit = 0, 0, False, limit
        info = self._info(False)
        info.update(reset_attempts=attempts, reset_verified=True, start=start, episode_seed=start["seed"])
        return self.observe(), info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control period. Raises ResetNeeded after the end."""
        if self._over:
            raise gym.error.ResetNeeded("the episode is over: call reset() before step()")
        native = self.advance(np.clip(action, self.low, self.high))
        self._steps += 1
        solved = self.solved()
        self._held = self._held + 1 if solved else 0
        terminated = self._held >= self.hold_steps and not self._to_the_end
        truncated = not terminated and self._steps >= self.limit
        self._over = terminated or truncated
        success = solved and self._over
        info = self._info(success)
        if truncated and not success:
            info["reason"] = "time_limit"
        return self.observe(), self.reward(native, success), terminated, truncated, info

    def finish(self) -> dict[str, Any]:
        """End the episode here and judge it."""
        success = self.solved()
        info = self._info(success)
        if not success:
            info["reason"] = "time_limit" if self._steps >= self.limit else "predicate"
        self._over = True
        return info

    @property
    def hold_steps(self) -> int:
        """For how many control periods the predicate must hold to end an episode."""
        return max(1, round(HOLD_S * self.hz))

    def reward(self, native: float, success: bool) -> float:
        """The reward of a step: 1 on the step of a success, unless the simulator's own (`native`) is asked for."""
        return float(success)

    def score(self, success: bool) -> float:
        """`info["score"]`, 0 to 1."""
        return float(success)

    def _info(self, success: bool) -> dict[str, Any]:
        return {
            "success": success, "is_success": success, "score": self.score(success), "stage": "success" if success else "start",
            "violations": [], "time": self._steps / self.hz, "cell": self.cell, **self.extras(),
        }  # fmt: skip

    low: np.ndarray
    high: np.ndarray


def box(low: Any, high: Any, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """A Box, as the proxy rebuilds it."""
    return {"low": np.asarray(low, dtype), "high": np.asarray(high, dtype)}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything random inside follows from `seed`, also where the code inside asks for an unseeded generator.

    RoboCasa's fixtures make their own `default_rng()`; without this the same seed gives different kitchens.
    """
    make, count = np.random.default_rng, iter(range(1 << 30))

    def repeatable(wanted: Any = None) -> np.random.Generator:
        return make([seed, next(count)] if wanted is None else wanted)

    before = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    np.random.default_rng = repeatable  # type: ignore[assignment]
    try:
        yield
    finally:
        np.random.default_rng = make
        np.random.set_state(before[0])
        random.setstate(before[1])
