"""What really became of an episode, from the simulator's state alone and by other means than the verifier's: stronger and longer pulls,
corners instead of axes, masses that move together or apart, points instead of polygons.

An episode within the guard band (stated per task) of a threshold has no truth: there the two ways of measuring may differ.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from enpire_envs.env import CellEnv
from enpire_envs.pin_insertion.scene import HOLE_RADIUS

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
    return None if abs(value - threshold) < guard else bool(value > threshold)


def pin_truth(env: CellEnv) -> Truth:
    """The lowest 18 mm of the pin's surface lie inside the bore, and half a second of freedom does not drive them out."""
    cell: Any = env.cell
    settle(cell, 1.0)
    return pin_within(cell, np.zeros(2))


def pin_within(cell: Any, hole: np.ndarray) -> Truth:
    """Whether the pin, as it is, is 18 mm deep in a hole at (2,) [m], its whole surface inside. Guard band: 0.1 mm of the depth."""
    site, radius = cell.model.site("tip").id, cell.model.geom("pin").size[0]
    tip, axes = cell.data.site_xpos[site], cell.data.site_xmat[site].reshape(3, 3)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = radius * (np.cos(angles)[:, None] * axes[:, 0] + np.sin(angles)[:, None] * axes[:, 1])
    bore = HOLE_RADIUS + 2e-4
    rings = ((tip + s * axes[:, 2] + ring)[:, :2] - hole for s in (0.001, 0.009, 0.0175))
    inside = all(np.hypot(*points.T).max() < bore for points in rings)
    return band(-tip[2], 0.018, 1e-4) if inside else False


def pusht_truth(env: CellEnv) -> Truth:
    """After a second without the fingertip, the T's two boxes cover 95 % of the points of a grid of 0.5 mm on the target's. Guard band: 0.2 %."""
    cell: Any = env.cell
    model, data, tip = cell.model, cell.data, cell.model.geom("tip").id
    touching = model.geom_contype[tip], model.geom_conaffinity[tip]
    model.geom_contype[tip] = model.geom_conaffinity[tip] = 0
    mujoco.mj_step(model, data, round(1.0 / model.opt.timestep))
    model.geom_contype[tip], model.geom_conaffinity[tip] = touching
    covered = total = 0
    for name in ("target_bar", "target_stem"):
        x, y, _ = model.geom(name).size
        across, along = (np.arange(-half + 2.5e-4, half, 5e-4) for half in (x, y))
        points = np.stack([*map(np.ravel, np.meshgrid(across, along)), np.zeros(len(across) * len(along))], axis=1)
        points = points @ data.geom(name).xmat.reshape(3, 3).T + data.geom(name).xpos
        on_it = np.zeros(len(points), bool)
        for box in ("bar", "stem"):
            seen = (points - data.geom(box).xpos) @ data.geom(box).xmat.reshape(3, 3)
            on_it |= (np.abs(seen[:, :2]) < model.geom(box).size[:2]).all(axis=1)
        covered, total = covered + int(on_it.sum()), total + len(points)
    return band(covered / total, 0.95, 2e-3)


class BoardWitness:
    """Counts pins that were let go of where they stand in a hole, by their surface. It looks after every step, as a pin that is let go of is gone."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell
        self._holding: int | None = None
        self._within: dict[int, Truth] = {}  # by the hole over which the held pin is
        self.filled: set[int] = set()
        self.unsure = 0  # pins in the guard band

    def look(self) -> None:
        """One control period later."""
        cell = self._cell
        holding = cell.read().holding
        if self._holding is not None and holding is None:
            for hole, truth in self._within.items():
                self.unsure += truth is None
                if truth:
                    self.filled.add(hole)
        self._holding, self._within = holding, {}
        tip = cell.data.site("tip").xpos
        for k in range(9):
            hole = cell.model.geom(f"hole{k}").pos[:2]
            if holding is not None and np.hypot(*(tip[:2] - hole)) < HOLE_RADIUS:
                self._within[k] = pin_within(cell, hole)

    def truth(self) -> Truth:
        """Whether every hole has a pin."""
        return True if len(self.filled) == 9 else None if len(self.filled) + self.unsure >= 9 else False


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
    last = int(np.flatnonzero(within)[-1])
    if last + 1 < len(points) and points[last + 1, 0] < SLOT:
        return False  # it turns round in the slot and leaves by the mouth
    return band((len(points) - 1 - last) * LINK / 50, 0.015, 2e-4)


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
