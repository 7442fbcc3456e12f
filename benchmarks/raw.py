"""An environment's step against the bare physics under it, on matched motion."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROUNDS = 5


@dataclass
class Recording:
    """One episode as the physics saw it: where it began, and what was written before each control period."""

    seed: int
    state: np.ndarray
    model: dict[str, np.ndarray]
    actions: list[np.ndarray] = field(default_factory=list)
    controls: list[np.ndarray] = field(default_factory=list)
    equalities: list[np.ndarray] = field(default_factory=list)
    changes: list[list[tuple[str, np.ndarray]]] = field(default_factory=list)  # arrays of the model that were rewritten
    end: np.ndarray | None = None


def record(env: Any, expert: Any, seed: int) -> Recording:
    """An episode of the expert, up to the step before the one that also verifies."""
    import mujoco

    cell, integration = env.unwrapped.cell, mujoco.mjtState.mjSTATE_INTEGRATION
    observation, _ = env.reset(seed=seed)
    expert.reset(observation)
    state = np.empty(mujoco.mj_stateSize(cell.model, integration))
    mujoco.mj_getState(cell.model, cell.data, state, integration)
    known = {name: getattr(cell.model, name).copy() for name in cell.scene.mutable}
    made = Recording(seed, state, dict(known))
    while True:
        action = expert.act(observation)
        end = cell.data.qpos.copy()
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            made.end = end
            return made
        made.actions.append(action)
        made.controls.append(cell.data.ctrl.copy())
        made.equalities.append(cell.data.eq_active.copy())
        changed = [name for name in known if not np.array_equal(known[name], getattr(cell.model, name))]
        known.update({name: getattr(cell.model, name).copy() for name in changed})
        made.changes.append([(name, known[name]) for name in changed])


def against_raw(env_id: str) -> dict[str, float]:
    """The same start states, controls and rewritten model arrays, as recorded from episodes in contact, through bare
    mj_step(nstep): the physics without a task. The replay must end where the episode did."""
    import gymnasium
    import mujoco
    from enpire_envs.reference import make_reference

    import autoenvbench  # noqa: F401

    env = gymnasium.make(env_id, disable_env_checker=True)
    cell = env.unwrapped.cell  # type: ignore[attr-defined]
    episodes = [record(env, make_reference(env), seed) for seed in range(10)]
    step, model, data, n = mujoco.mj_step, cell.model, cell.data, cell.substeps

    def stepping(e: Recording) -> float:
        env.reset(seed=e.seed)
        began = time.thread_time()
        for action in e.actions:
            env.step(action)
        return time.thread_time() - began

    def raw(e: Recording) -> float:
        for name, value in e.model.items():
            getattr(model, name)[:] = value
        mujoco.mj_setState(model, data, e.state, mujoco.mjtState.mjSTATE_INTEGRATION)
        began = time.thread_time()
        for control, equalities, changes in zip(e.controls, e.equalities, e.changes, strict=True):
            data.ctrl[:] = control
            data.eq_active[:] = equalities
            for name, value in changes:
                getattr(model, name)[:] = value
            step(model, data, n)
        spent = time.thread_time() - began
        assert np.allclose(data.qpos, e.end, atol=1e-6), "the replay ended elsewhere"
        return spent

    # Of each episode the fastest of several rounds, in processor time: what else this machine does counts for little.
    rounds = [[(stepping(e), raw(e)) for e in episodes] for _ in range(ROUNDS)]
    fastest = np.min(rounds, axis=0).sum(axis=0)
    mine, bare = sum(len(e.actions) for e in episodes) / fastest
    return {"ours": mine, "raw mj_step": bare, "ratio": mine / bare}
