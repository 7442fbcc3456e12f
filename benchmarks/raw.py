"""An environment's step against the bare physics under it, on matched motion."""

from __future__ import annotations

import time

ROUNDS = 5


def against_raw(env_id: str) -> dict[str, float]:
    """The same start states and controls, as recorded from episodes in contact, through bare mj_step(nstep)."""
    import gymnasium
    import mujoco
    import numpy as np
    from enpire_envs.reference import make_reference

    import autoenvbench  # noqa: F401

    env = gymnasium.make(env_id, disable_env_checker=True)
    expert, cell = make_reference(env), env.unwrapped.cell  # type: ignore[attr-defined]
    episodes = []
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        expert.reset(observation)
        actions, controls, state = (
            [],
            [],
            np.empty(mujoco.mj_stateSize(cell.model, mujoco.mjtState.mjSTATE_INTEGRATION)),
        )
        mujoco.mj_getState(cell.model, cell.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        over = False
        while not over:
            actions.append(expert.act(observation))
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            controls.append(cell.data.ctrl.copy())
            over = terminated or truncated
        episodes.append((seed, state, actions[:-1], controls[:-1]))  # the last step also verifies
    steps = sum(len(a) for _, _, a, _ in episodes)

    def stepping() -> float:
        spent = 0.0
        for seed, _, actions, _ in episodes:
            env.reset(seed=seed)
            began = time.perf_counter()
            for a in actions:
                env.step(a)
            spent += time.perf_counter() - began
        return steps / spent

    def raw() -> float:
        spent, step, model, data, n = 0.0, mujoco.mj_step, cell.model, cell.data, cell.substeps
        for seed, state, _, controls in episodes:
            env.reset(seed=seed)  # this episode's friction
            mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            began = time.perf_counter()
            for c in controls:
                data.ctrl[:] = c
                step(model, data, n)
            spent += time.perf_counter() - began
        return steps / spent

    pairs = [(stepping(), raw()) for _ in range(ROUNDS)]
    mine, bare = max(p[0] for p in pairs), max(p[1] for p in pairs)
    return {"ours": mine, "raw mj_step": bare, "ratio": mine / bare}
