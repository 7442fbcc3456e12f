"""Audit of the verifiers: verdicts against an independent ground truth over many episodes.

Episodes come from the reference policy, from random actions, and from adversaries: the reference stopped at a random moment, or
pushed about by random drift, or given a wrong target (a jammed pin, a half-seated card, a strap beside the head, a
loop or a stub cut at the wrong place). After each episode the truth is found from the simulator's state alone, by other
means than the verifier's: stronger and longer pulls, corners instead of axes, masses that move together or apart.

An episode within the guard band (stated per task) of a threshold is counted apart: there the two ways of measuring may differ.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium as gym
import mujoco
import numpy as np
from enpire_envs.env import CellEnv
from enpire_envs.pin_insertion.scene import HOLE_RADIUS
from enpire_envs.reference import make_reference

import autoenvbench  # noqa: F401

#: What is really the case: True, False, or None inside the guard band.
Truth = bool | None


def settle(cell: Any, seconds: float) -> None:
    """Let go of whatever is pressed, and wait."""
    cell.data.act[:6] = cell.data.qpos[:6]
    cell.data.ctrl[:] = 0
    mujoco.mj_step(cell.model, cell.data, round(seconds / cell.model.opt.timestep))


def lift(cell: Any, force: float, seconds: float) -> None:
    """Pull the end effector up with `force` [N], by xfrc on its body, its z drive switched off."""
    gain, bias = cell.model.actuator_gainprm.copy(), cell.model.actuator_biasprm.copy()
    cell.model.actuator_gainprm[2] = cell.model.actuator_biasprm[2] = 0
    body = cell.model.body("ee").id
    for share in np.linspace(0, 1, 50):
        cell.data.xfrc_applied[body, 2] = share * force
        mujoco.mj_step(cell.model, cell.data, round(seconds / 50 / cell.model.opt.timestep))
    cell.model.actuator_gainprm[:], cell.model.actuator_biasprm[:] = gain, bias
    cell.data.xfrc_applied[body, 2] = 0


def band(value: float, threshold: float, guard: float) -> Truth:
    return None if abs(value - threshold) < guard else value > threshold


def pin_truth(env: CellEnv) -> Truth:
    """The lowest 18 mm of the pin's surface lie inside the bore, and half a second of freedom does not drive them out."""
    cell: Any = env.cell
    settle(cell, 1.0)
    site, radius = cell.model.site("tip").id, cell.model.geom_size[cell.model.geom("pin").id, 0]
    tip, axes = cell.data.site_xpos[site], cell.data.site_xmat[site].reshape(3, 3)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = radius * (np.cos(angles)[:, None] * axes[:, 0] + np.sin(angles)[:, None] * axes[:, 1])
    bore = HOLE_RADIUS + 2e-4
    inside = all(np.hypot(*(tip + s * axes[:, 2] + ring).T[:2]).max() < bore for s in (0.001, 0.009, 0.0175))
    return band(-tip[2], 0.018, 1e-4) if inside else False


def gpu_truth(env: CellEnv) -> Truth:
    """Pressed lightly (8 N, a fifth of what the latch takes) both corners of the edge are beyond 8.2 mm, which only a latched
    card is, and a slow pull of 12 N leaves both 7.5 mm deep. Guard band: left lying within 0.2 mm of the 8.7 mm asked for."""
    cell: Any = env.cell
    board = cell.model.body("slot").id

    def ends() -> np.ndarray:
        """Both corners, from the mouth of the slot, which need not lie straight."""
        turned, mouth = cell.data.xmat[board].reshape(3, 3), cell.data.xpos[board]
        return np.array([turned.T @ (cell.data.site(name).xpos - mouth) for name in ("end_a", "end_b")])

    def depth() -> float:
        return -float(ends()[:, 2].max())

    unverified = env._over is False
    if unverified and abs(depth() - 0.0087) < 2e-4:
        return None
    settle(cell, 0.5)
    lift(cell, -8.0, 0.5)
    seated = band(depth(), 0.0082, 2e-4)
    across = float(np.abs(ends()[:, 1]).max())
    if seated is not True or across > 0.0012:
        return False if across > 0.0012 else seated
    lift(cell, 12.0, 1.5)
    return band(depth(), 0.0075, 2e-4)


def tie_truth(env: CellEnv) -> Truth:
    """A pull of 12 N for two seconds on the far end leaves 15 mm beyond the head, counted by whole links' centres."""
    from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z, LINK, LINKS, SLOT

    cell: Any = env.cell
    cell.data.eq_active[:] = 0
    cell.data.userdata[0] = 1.0
    settle(cell, 0.3)
    cell.scene.pull_back(cell.model, cell.data, cell.model.body("link0").id, 12.0, steps=60)
    bodies = [cell.model.body(f"link{k}").id for k in range(LINKS)]
    head = cell.read()  # in whose frame all else is
    # a fine polyline along the links; what of it is inside the slot, and how much comes after
    points = np.concatenate(
        [
            cell.data.xpos[b] + np.linspace(0, LINK, 51)[:-1, None] * cell.data.xmat[b].reshape(3, 3)[:, 0]
            for b in bodies
        ]
    )
    points = (points - head.head[:3]) @ head.axes
    within = (points[:, 0] > 0) & (points[:, 0] < SLOT) & (abs(points[:, 1]) < HALF_Y) & (abs(points[:, 2]) < HALF_Z)
    crossing = (points[:, 0] > 0) & (points[:, 0] < SLOT)
    if not within.any() or not (within | ~crossing).all():
        return False
    beyond = (len(points) - 1 - int(np.flatnonzero(within)[-1])) * LINK / 50
    return band(beyond, 0.015, 2e-4)


def cut_truth(env: CellEnv) -> Truth:
    """Pull the tail's tip outwards with 0.02 N. Severed if it goes; good if the stub that stays under 12 N is 2 mm long to the level's longest,
    and no loop and no other strap has been cut."""
    cell: Any = env.cell
    longest = env.task._level.longest  # type: ignore[attr-defined]
    names = [cell.model.geom(g).name for g in range(cell.model.ngeom)]
    if any(cell.model.geom_conaffinity[g] == 0 for g, name in enumerate(names) if name.startswith(("loop", "decoy"))):
        return False
    opened = cell.data.joint("jaw").qpos[0]
    settle(cell, 0.5)
    tail, stub = cell.model.body("piece2").id, cell.model.body("piece0").id
    tie = cell.data.body(cell.model.body_parentid[stub])
    out = tie.xmat[::3].copy()
    for body, force, steps in ((tail, 0.02, 200), (stub, -12.0, 300)):
        cell.data.xfrc_applied[body, :3] = force * out
        mujoco.mj_step(cell.model, cell.data, steps)
        cell.data.xfrc_applied[body] = 0
    gone = float(np.linalg.norm(cell.data.xpos[tail] - cell.data.xpos[stub])) > 0.045
    if not gone:
        return False
    main, other = (cell.model.geom(f"main{k}").id for k in (0, 1))
    length = (cell.data.xpos[stub] - tie.xpos) @ out + 2 * cell.model.geom_size[main, 0]
    if float(np.linalg.norm(cell.data.xpos[cell.model.body("piece1").id] - cell.data.xpos[stub])) < 0.025:
        length += 2 * cell.model.geom_size[other, 0]  # the second piece stayed
    if min(abs(length - 0.002), abs(length - longest)) < 1e-4 or 0.30 < opened < 0.34:
        return None
    return bool(0.002 < length < longest and opened > 0.32)


def full_truth(env: CellEnv) -> Truth:
    """Nothing but the tail's end has gone, and after a pull of 12 N for two seconds on the far end 2 mm to the longest stub are beyond the head, counted
    by what is left of the links' boxes; at most 107.2 mm are before it, and every box of the tail is more than 5 mm away."""
    from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z, LINKS, SLOT

    cell: Any = env.cell
    model, data, longest = cell.model, cell.data, env.task._cut.longest  # type: ignore[attr-defined]
    opened = data.joint("jaw").qpos[0]
    kept = [k for k in range(LINKS) if model.geom(f"strap{k}").contype[0]]
    if len(kept) == LINKS and model.geom(f"strap{LINKS - 1}").size[0] > 0.0049:
        return False
    if kept != list(range(len(kept))):
        return False  # a hole in the loop
    settle(cell, 0.5)
    cell.scene.pull_back(model, data, model.body("link0").id, 12.0, steps=60)

    def points(name: str) -> np.ndarray:
        """Along the middle of a box, every 0.1 mm or closer."""
        box, half = data.geom(name), model.geom(name).size[0]
        return box.xpos + np.linspace(-half, half, 101)[:, None] * box.xmat[::3]

    head = cell.read()
    left = (np.concatenate([points(f"strap{k}") for k in kept]) - head.head[:3]) @ head.axes
    tail = np.concatenate(
        [points(f"offcut{k}") for k in range(LINKS) if model.geom(f"offcut{k}").contype[0]] or [np.full((1, 3), 9.0)]
    )
    gap = float(np.linalg.norm(tail - (head.axes @ left[-1] + head.head[:3]), axis=1).min())
    within = (left[:, 0] > 0) & (left[:, 0] < SLOT)
    if not within.any() or (np.abs(left[within, 1:]) > (HALF_Y, HALF_Z)).any():
        return False
    steps = np.linalg.norm(np.diff(left, axis=0), axis=1)
    stub = float(steps[np.flatnonzero(within)[-1] :].sum())
    loop = float(steps[: np.flatnonzero(within)[0]].sum())
    if min(abs(stub - 0.002), abs(stub - longest), abs(loop - 0.1072), abs(gap - 0.005)) < 2e-4 or 0.30 < opened < 0.36:
        return None
    return bool(0.002 < stub < longest and loop < 0.1072 and gap > 0.005 and opened > 0.33)


@dataclass(frozen=True)
class Subject:
    """`steps`: how long an episode may be, and `stop`: the latest moment at which the reference is stopped [control steps]."""

    truth: Callable[[CellEnv], Truth]
    wrong_starts: Callable[[np.random.Generator, dict[str, Any]], dict[str, Any]]
    steps: int = 600
    stop: int = 220


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


SUBJECTS = {
    "PinInsertion": Subject(pin_truth, _tilted),
    **{f"PinInsertion-{level}": Subject(pin_truth, _tilted) for level in ("State", "Standard", "Expert", "Fleet")},
    **{
        f"GPUInsertion{level}": Subject(gpu_truth, _turned)
        for level in ("", "-State", "-Standard", "-Expert", "-Fleet")
    },
    "TieZipTie": Subject(tie_truth, _beside),
    **{f"TieZipTie-{level}": Subject(tie_truth, _beside) for level in ("State", "Standard", "Expert", "Fleet")},
    "CutZipTie": Subject(cut_truth, _elsewhere),
    **{f"CutZipTie-{level}": Subject(cut_truth, _elsewhere) for level in ("State", "Standard", "Expert", "Fleet")},
    "ZipTieFull": Subject(full_truth, _beside, steps=1200, stop=900),
}
VIOLATIONS = ("force_limit", "out_of_workspace", "penetration", "strap_dropped", "strap_lost")
STATIONS = 20  # of which each is met in turn, where they differ
KINDS = ("reference", "stopped", "drifting", "wrong start", "straight", "random")


def episode(env: gym.Env[Any, Any], kind: str, seed: int, subject: Subject) -> tuple[bool, str]:
    """Run one episode; returns (verdict, reason)."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    reset_options: Any = env.get_wrapper_attr("reset_options")
    somewhere = {"station": seed % STATIONS} if "station" in reset_options else {}
    observation, info = env.reset(seed=seed, options=somewhere)
    if kind == "wrong start":
        observation, info = env.reset(seed=seed, options={"start": subject.wrong_starts(rng, info["start"])})
    policy = make_reference(env, "Naive" if kind in ("wrong start", "straight") else "Expert")
    policy.reset(observation)
    stop = int(rng.integers(20, subject.stop)) if kind == "stopped" else 10**6
    size, drift = rng.uniform(0.1, 0.8), np.zeros(env.action_space.shape)  # type: ignore[arg-type]
    for step in range(min(stop + 40, subject.steps)):
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
        if terminated or truncated:
            return bool(info["success"]), str(info.get("reason", "success"))
    return False, "stopped"


def audit(name: str, n: int, sensing: str) -> dict[str, Any]:
    """n episodes of one task. Counts of (truth, verdict), and what disagreed."""
    subject = SUBJECTS[name]
    # policies here know the state: nobody waits for pictures
    env = gym.make(f"ENPIRE/{name}-v0", sensing=sensing, observation_width=8, disable_env_checker=True)
    counts: Counter[tuple[Truth, bool]] = Counter()
    wrong = []
    for k in range(n):
        kind = KINDS[k % len(KINDS)]
        verdict, reason = episode(env, kind, k, subject)
        inner: Any = env.unwrapped
        # an episode that broke a safety rule is a failure whatever it left behind
        truth = False if reason in VIOLATIONS else subject.truth(inner)
        counts[truth, verdict] += 1
        if truth is not None and truth != verdict:
            wrong.append(f"{kind} {k}: {reason}")
    env.close()
    return {"counts": counts, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000, help="episodes per task")
    parser.add_argument("--task", choices=list(SUBJECTS), help="only this one")
    parser.add_argument("--sensing", default="noisy", choices=["noisy", "ideal"])
    args = parser.parse_args()
    for name in [args.task] if args.task else SUBJECTS:
        result = audit(name, args.n, args.sensing)
        c = result["counts"]
        hits, false_alarms, misses = c[True, True], c[False, True], c[True, False]
        precision, recall = hits / max(hits + false_alarms, 1), hits / max(hits + misses, 1)
        print(
            f"{name:<18} {args.sensing:<6} episodes {args.n}   true successes {hits + misses}   precision {precision:.3f}   "
            f"recall {recall:.3f}   false success {false_alarms}   missed {misses}   in the guard band {c[None, True] + c[None, False]}",
            flush=True,
        )
        for line in result["wrong"][:10]:
            print("   ", line)


if __name__ == "__main__":
    main()
