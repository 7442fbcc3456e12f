"""One audited episode: somebody acts, the environment judges, and what really became of it is found out by `audit_truth`.

Whose turn it is goes round with the episodes: the reference policy; the reference stopped at a random moment, or pushed about by random drift;
one that is led astray (a tilted pin, a turned card, a strap beside the head, blades over the loop, a wrong target, pins let go of too
early); the naive policy; and random actions, held for a third of a second. All but the naive policy of Push-T know the state, so
nobody looks at pictures, and none are drawn: that draws no random numbers, so episodes are to the bit what they are with pictures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import audit_truth as truths
import gymnasium as gym
import numpy as np
from audit_truth import Truth
from enpire_envs.cell import CellFault
from enpire_envs.env import CellEnv
from enpire_envs.reference import Expert, make_reference

KINDS = ("reference", "stopped", "drifting", "astray", "naive", "random")
VIOLATIONS = (
    "force_limit", "out_of_workspace", "penetration", "strap_dropped", "strap_lost", "block_out_of_workspace", "fingertip_out_of_workspace",
)  # fmt: skip
STATIONS = 20  # of which each is met in turn, where they differ
MakePolicy = Callable[[gym.Env[Any, Any], np.random.Generator], Expert]


@dataclass(frozen=True, slots=True)
class Audited:
    """What became of one episode.

    Attributes:
        seed: of the environment, and of whoever acted.
        kind: who acted, of `KINDS`.
        verdict: whether the environment called it a success.
        truth: whether it was one; None in the guard band.
        reason: why it ended, in the environment's words; "success", or "stopped" where nobody judged it.
        steps: control periods.
        agree: whether verdict and truth say the same, as far as there is a truth.
        cpu_s: processor time [s].
    """

    seed: int
    kind: str
    verdict: bool
    truth: Truth
    reason: str
    steps: int
    agree: bool
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Subject:
    """How a task is audited.

    Attributes:
        truth: what really became of an episode; None where a `BoardWitness` saw it.
        astray: the start of who is led astray, from a sampled one.
        led: the policy of who is led astray.
        naive: the policy that is called so.
        steps: how long an episode may be, beside the environment's own limit [control periods].
        stop: the latest moment at which the reference is stopped [control periods].
        drift: largest standard deviation of what pushes the reference about, as a share of the largest action.
    """

    truth: Callable[[CellEnv], Truth] | None
    astray: Callable[[np.random.Generator, dict[str, Any]], dict[str, Any]]
    led: MakePolicy
    naive: MakePolicy
    steps: int = 600
    stop: int = 220
    drift: float = 0.8


# -- policies and starts of those who are led astray ---------------------------------------------------------------------------
def naive(env: gym.Env[Any, Any], rng: np.random.Generator) -> Expert:
    """The task's own."""
    return make_reference(env, "Naive")


class SeesTheT:
    """Push-T's naive policy on the true state, at every level: fingertip and T."""

    def __init__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> None:
        self._cell: Any = env.unwrapped.cell  # type: ignore[attr-defined]
        self._policy = make_reference(env, "Naive")

    def reset(self, observation: Any) -> None:
        """A new episode."""
        self._policy.reset(observation)

    def act(self, observation: Any) -> np.ndarray:
        """(2,), by what is true."""
        readings = self._cell.read()
        return self._policy.act(np.array([*readings.tip, *readings.block[:2]]))


def wrong_target(env: gym.Env[Any, Any], rng: np.random.Generator) -> Expert:
    """Push-T's reference, which takes the target to be up to 6 mm and 4 degrees from where it is: coverage near what is asked."""
    from enpire_envs.skills.push_planner import PushPlanner

    policy: Any = make_reference(env)
    arena, task = policy._task.arena, policy._task
    x, y, yaw = arena.goal
    off_x, off_y, turned = rng.uniform(-1, 1, 3) * (0.006, 0.006, math.radians(4))
    goal = (x + off_x, y + off_y, yaw + turned)
    policy._planner = PushPlanner(replace(arena, goal=goal), task.control_hz)
    return policy  # type: ignore[no-any-return]


class LetsGoEarly:
    """The pin board's reference, which opens the gripper somewhere between half-way and in."""

    def __init__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> None:
        self._cell: Any = env.unwrapped.cell  # type: ignore[attr-defined]
        self._policy, self._rng = make_reference(env), rng
        self._depth, self._opening = 0.0, False

    def reset(self, observation: Any) -> None:
        """A new episode."""
        self._policy.reset(observation)

    def act(self, observation: Any) -> np.ndarray:
        """(4,), the reference's but for the gripper."""
        action, readings = self._policy.act(observation), self._cell.read()
        if readings.holding is None:
            self._depth, self._opening = self._rng.uniform(0.010, 0.021), False
        self._opening |= readings.insertion > self._depth
        return np.array([*action[:3], -1.0 if self._opening else action[3]])


def wrong_stub(env: gym.Env[Any, Any], rng: np.random.Generator) -> Expert:
    """A reference that cuts, up to 4 mm before the head's far end or 12 mm beyond it: on either side of what is allowed."""
    policy: Any = make_reference(env)
    policy._task = SimpleNamespace(aim=rng.uniform(-0.004, 0.012), _lying=getattr(policy._task, "_lying", False))
    return policy  # type: ignore[no-any-return]


def blind_or_wrong(env: gym.Env[Any, Any], rng: np.random.Generator) -> Expert:
    """Half of each."""
    return (naive if rng.random() < 0.5 else wrong_stub)(env, rng)


def _as_it_is(rng: np.random.Generator, start: dict[str, Any]) -> dict[str, Any]:
    return start


def _tilted(rng: np.random.Generator, start: dict[str, Any]) -> dict[str, Any]:
    return {**start, "tilt": rng.uniform(-0.05, 0.05, 2).tolist()}


def _turned(rng: np.random.Generator, start: dict[str, Any]) -> dict[str, Any]:
    return {
        **start,
        "turn": rng.uniform(-0.05, 0.05, 3).tolist(),
        "edge": [*rng.uniform(-0.004, 0.004, 2).tolist(), 0.008],
    }


def _beside(rng: np.random.Generator, start: dict[str, Any]) -> dict[str, Any]:
    return {**start, "tip": [start["tip"][0], *rng.choice([-0.006, 0, 0.006], 2).tolist()]}


def _elsewhere(rng: np.random.Generator, start: dict[str, Any]) -> dict[str, Any]:
    """Blades that go straight ahead meet the tail anywhere, or the loop. Where they lie on their stand it is the tie that is elsewhere."""
    if "tie" in start:
        tie = [rng.uniform(-0.012, 0.012), rng.uniform(-0.004, 0.004), rng.uniform(-0.003, 0.003)]
        if rng.random() < 0.2:
            tie = [0.023, 0.0, -0.013]
        cutter = [0.0, 0.072, 0.0]
        return {**start, "tie": [*tie, 0.0, 0.0, 0.0], "cutter": cutter, "pose": [0.0, 0.072, 0.011, 0.0, 0.0, 0.0]}
    pose = list(start["pose"])
    pose[0], pose[2] = rng.uniform(-0.025, 0.03), rng.choice([-0.002, 0.0115, -0.015])
    return {**start, "pose": pose}


#: By the name of the task.
SUBJECTS = {
    "PushT": Subject(truths.pusht_truth, _as_it_is, wrong_target, SeesTheT, steps=150, stop=80, drift=0.2),
    "PinInsertion": Subject(truths.pin_truth, _tilted, naive, naive),
    "PinBoard": Subject(None, _as_it_is, LetsGoEarly, naive, steps=3600, stop=2500, drift=0.2),
    "GPUInsertion": Subject(truths.gpu_truth, _turned, naive, naive),
    "TieZipTie": Subject(truths.tie_truth, _beside, naive, naive),
    "CutZipTie": Subject(truths.cut_truth, _elsewhere, blind_or_wrong, naive),
    "ZipTieFull": Subject(truths.full_truth, _as_it_is, wrong_stub, naive, steps=1200, stop=900),
}


# -- one episode ---------------------------------------------------------------------------------------------------------
def make(env_id: str) -> gym.Env[Any, Any]:
    """The environment as it is ranked, which draws no pictures."""
    env = gym.make(env_id, disable_env_checker=True)
    inner: Any = env.unwrapped
    inner._pixels = dict
    return env


def audited(env: gym.Env[Any, Any], seed: int) -> Audited:
    """Episode `seed`, of an environment by `make`."""
    began = time.process_time()
    inner: Any = env.unwrapped
    subject, kind = SUBJECTS[inner.task.name], KINDS[seed % len(KINDS)]
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    somewhere = {"station": seed // len(KINDS) % STATIONS} if "station" in inner.reset_options else {}
    observation, info = env.reset(seed=seed, options=somewhere)
    if kind == "astray":
        observation, info = env.reset(seed=seed, options={"start": subject.astray(rng, info["start"])})
    policy = {"astray": subject.led, "naive": subject.naive}.get(kind, lambda env, rng: make_reference(env))(env, rng)
    policy.reset(observation)
    stop = int(rng.integers(20, subject.stop)) if kind == "stopped" else 10**6
    size, drift = rng.uniform(subject.drift / 8, subject.drift), np.zeros(env.action_space.shape)  # type: ignore[arg-type]
    witness = truths.BoardWitness(inner) if subject.truth is None else None
    verdict, reason, step = False, "stopped", 0
    while step < min(stop + 40, subject.steps if kind not in ("naive", "random") else 600):
        if step % 10 == 0:
            drift = rng.normal(size=drift.shape)
        if kind == "random":
            action = np.clip(drift, -1, 1)
        elif step >= stop:
            action = np.zeros_like(drift)
        else:
            action = policy.act(observation)
            if kind == "drifting":
                action = np.clip(action + size * drift, -1, 1)
        observation, _, terminated, truncated, info = env.step(action)
        step += 1
        if witness is not None:
            witness.look()
        if terminated or truncated:
            verdict, reason = bool(info["success"]), str(info.get("reason", "success"))
            break
    # an episode that broke a safety rule is a failure whatever it left behind
    truth: Truth = False
    if reason not in VIOLATIONS:
        try:
            truth = witness.truth() if subject.truth is None else subject.truth(inner)  # type: ignore[union-attr]
        except CellFault:  # pulled harder than the verifier pulls, some heaps of strap come apart: nobody knows
            truth = None
    agree = truth is None or truth == verdict
    if witness is not None:  # every pin is judged, too
        agree = agree and len(witness.filled) <= info["placed"] <= len(witness.filled) + witness.unsure
    return Audited(seed, kind, verdict, truth, reason, step, agree, round(time.process_time() - began, 3))
