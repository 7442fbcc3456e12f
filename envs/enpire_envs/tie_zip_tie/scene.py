"""The MuJoCo side of tying a zip tie: head, strap, grasp and ratchet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.end_effector import EndEffectorReadings

_XML = Path(__file__).with_name("scene.xml")

LINKS, LINK = 16, 0.010  # number and length of the strap's links [m]
WIDTH, THICKNESS = 0.0036, 0.0014  # of the strap [m]
SLOT_CLEARANCE = 0.0008  # slot less strap, both ways [m]
SLOT = 0.005  # length of the slot [m]
HALF_Y, HALF_Z = (WIDTH + SLOT_CLEARANCE) / 2, (THICKNESS + SLOT_CLEARANCE) / 2
TOOTH = 0.001  # of the ratchet [m]
FINGER = 0.004  # half length of the fingers along the strap [m]
GRIP_RATE = 0.25  # of the gripper's stroke per control step
GRASP_REACH = 0.004  # how near the fingers' centre the strap must be to be grasped [m]
FRICTION = 0.15  # nominal
TUG = 10.0  # [N]
_FREE = 3.0  # tendon range of a link that is not in the slot


@dataclass(slots=True)
class StrapReadings(EndEffectorReadings):
    """Adds to the end effector's readings (origin: the slot's entrance; x along the slot):

    Attributes:
        nodes: (LINKS + 1, 3) the strap's joints from the far end to the tip [m].
        past: length of strap beyond the head's far side, along the strap, if it runs through the slot [m].
        opening: of the gripper, 0 closed to 1 open.
        held: whether the fingers hold the strap.
    """

    nodes: np.ndarray
    past: float
    opening: float
    held: bool

    @property
    def tip(self) -> np.ndarray:
        """(3,) [m]."""
        return self.nodes[-1]


class TieScene:
    """Builds and operates the tying model.

    `drive` takes (7,): the velocity of the end effector's target [m/s, rad/s] and the gripper: above 0 closes, below
    opens. Fingers that close on the strap take hold of it by a weld, which opening releases: friction grasps of a
    one-gram strap would creep.
    """

    mutable = ("geom_friction", "tendon_range", "eq_data")

    def __init__(self) -> None:
        self._tool = self._strap_qpos = self._first_site = -1

    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(_XML)
        self._add_head(spec)
        self._add_fingers(spec)
        self._add_strap(spec)
        spec.nuserdata = 1  # the gripper's opening: part of the state, so that snapshots hold it
        model = spec.compile()
        self._first_site = model.site("link0").id
        self._links = np.array([model.body(f"link{k}").id for k in range(LINKS)])
        self._tool = model.body("tool").id
        self._strap_qpos = model.joint("strap").qposadr[0]
        return model

    def _add_head(self, spec: mujoco.MjSpec) -> None:
        wall, half = 0.002, SLOT / 2
        world, head = spec.worldbody, spec.find_default("head")
        for sign in (-1, 1):
            world.add_geom(
                head,
                name=f"side{sign}",
                size=[half, wall / 2, HALF_Z + wall],
                pos=[half, sign * (HALF_Y + wall / 2), 0],
            )
            world.add_geom(
                head, name=f"lid{sign}", size=[half, HALF_Y, wall / 2], pos=[half, 0, sign * (HALF_Z + wall / 2)]
            )

    def _add_fingers(self, spec: mujoco.MjSpec) -> None:
        tool, finger = spec.body("tool"), spec.find_default("finger")
        for sign in (-1, 1):
            tool.add_geom(finger, name=f"finger{sign}", size=[FINGER, 0.003, 0.004], mass=0,
                          pos=[0, 0, sign * (0.004 + THICKNESS / 2)])  # fmt: skip

    def _add_strap(self, spec: mujoco.MjSpec) -> None:
        strap, ratchet = spec.find_default("strap"), spec.find_default("ratchet")
        body = spec.worldbody
        for k in range(LINKS):
            body = body.add_body(name=f"link{k}", pos=[LINK if k else 0, 0, 0], gravcomp=0.95)
            if k == 0:
                body.add_freejoint(name="strap")
            else:
                body.add_joint(spec.find_default("bend"), name=f"bend{k}")
                body.add_joint(spec.find_default("sway"), name=f"sway{k}")
            body.add_geom(strap, name=f"strap{k}", size=[LINK / 2, WIDTH / 2, THICKNESS / 2], pos=[LINK / 2, 0, 0], mass=0.001,
                          material="tip" if k == LINKS - 1 else "strap")  # fmt: skip
            body.add_site(name=f"link{k}", pos=[LINK / 2, 0, 0], size=[0.0005] * 3, rgba=[0, 0, 0, 0])
            # in a group that is not drawn: even invisible, the tendons would be 448 of a picture's 471 shapes
            tendon = spec.add_tendon(ratchet, name=f"ratchet{k}", group=3)
            tendon.wrap_site("anchor")
            tendon.wrap_site(f"link{k}")
            spec.add_equality(
                spec.find_default("grasp"), name=f"grasp{k}", type=mujoco.mjtEq.mjEQ_WELD, name1="tool", name2=f"link{k}",
                objtype=mujoco.mjtObj.mjOBJ_BODY, active=False,
            )  # fmt: skip

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The strap straight through the fingers, `grip` from its tip, its tip at `tip`, turned by `turn`."""
        end_effector.place(data, end_effector.pose_over(start["tip"], start["turn"], (-start["grip"], 0, 0)))
        turn = end_effector.rotation(np.array(start["turn"]))
        at = self._strap_qpos
        data.qpos[at : at + 3] = np.array(start["tip"]) - turn @ (LINKS * LINK, 0, 0)
        mujoco.mju_mat2Quat(data.qpos[at + 3 : at + 7], turn.ravel())
        model.tendon_range[:, 1] = _FREE
        data.eq_active[:] = 0
        data.userdata[0] = 0.0
        end_effector.draw_friction(model, FRICTION, rng)
        mujoco.mj_kinematics(model, data)
        self._grasp(model, data)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the ratchet catch, then hold `command` (7,) for one control period; see the class."""
        self._engage_ratchet(model, data)
        data.ctrl[:] = command[:6]
        before = data.userdata[0]
        opening = min(max(before - GRIP_RATE * np.sign(command[6]), 0.0), 1.0)
        data.userdata[0] = opening
        if opening > 0.3:
            data.eq_active[:] = 0
        elif before > 0 and opening == 0.0 and not data.eq_active.any():
            self._grasp(model, data)

    def _engage_ratchet(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """A link inside the slot may go on but not come back by more than a tooth; others are free."""
        centres = data.site_xpos[self._first_site : self._first_site + LINKS]
        inside = (
            (np.abs(centres[:, 0] - SLOT / 2) < 0.55 * LINK)
            & (np.abs(centres[:, 1]) < 2 * HALF_Y)
            & (np.abs(centres[:, 2]) < 2 * HALF_Z)
        )
        teeth = np.ceil(data.ten_length / TOOTH) * TOOTH
        model.tendon_range[:, 1] = np.where(inside, np.minimum(model.tendon_range[:, 1], teeth), _FREE)

    def _grasp(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Weld the link that lies between the fingers as it lies there, if one does."""
        centre = data.xpos[self._tool]
        best: int | None = None
        nearest = GRASP_REACH
        for k, body in enumerate(self._links):
            axis = data.xmat[body].reshape(3, 3)[:, 0]
            along = float(np.clip(axis @ (centre - data.xpos[body]), 0, LINK))
            distance = float(np.linalg.norm(data.xpos[body] + along * axis - centre))
            if distance < nearest:
                best, nearest = k, distance
        if best is not None:
            end_effector.weld_as_it_lies(model, data, best)  # equality k welds link k

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> StrapReadings:
        """The readings at the end of the last physics step."""
        nodes = np.empty((LINKS + 1, 3))
        nodes[:-1] = data.xpos[self._links]
        nodes[-1] = nodes[-2] + data.xmat[self._links[-1], ::3] * LINK
        return end_effector.read(
            StrapReadings, data,
            nodes=nodes, past=past_head(nodes), opening=float(data.userdata[0]), held=bool(data.eq_active.any()),
        )  # fmt: skip

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": let go, pull the strap back with 10 N, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let go, then pull the strap back with 10 N where it comes out of the head's near side."""
        end_effector.hold(model, data)
        data.eq_active[:] = 0
        data.userdata[0] = 1.0
        self._run(model, data, 6)
        starts = data.xpos[self._links]
        behind = [k for k in range(LINKS) if starts[k][0] + LINK / 2 < 0]
        self.pull_back(model, data, self._links[behind[-1]] if behind else self._links[0], TUG, steps=15)
        self._run(model, data, 3)

    def pull_back(self, model: mujoco.MjModel, data: mujoco.MjData, body: int, force: float, steps: int) -> None:
        """Pull a link towards -x with up to `force`, like a hand: weaker the faster the strap gives way (0.1 m/s at most)."""
        dof = model.body_dofadr[self._links[0]]
        for k in range(steps * 20):
            if k % 20 == 0:
                self._engage_ratchet(model, data)
            data.xfrc_applied[body, 0] = -force * min(max(1.0 + data.qvel[dof] / 0.1, 0.0), 1.0) * min(k / 100, 1.0)
            mujoco.mj_step(model, data)
        data.xfrc_applied[body, 0] = 0.0

    def _run(self, model: mujoco.MjModel, data: mujoco.MjData, steps: int) -> None:
        for _ in range(steps):
            self._engage_ratchet(model, data)
            mujoco.mj_step(model, data, 20)


def past_head(nodes: np.ndarray) -> float:
    """Length of strap beyond x = SLOT, for a strap that crosses both faces of the head inside the slot [m]."""
    x = nodes[:, 0]
    for plane in (0.0, SLOT):
        crossing = np.flatnonzero((x[:-1] < plane) & (x[1:] >= plane))
        if not len(crossing):
            return 0.0
        k = int(crossing[-1])
        share = (plane - x[k]) / (x[k + 1] - x[k])
        at = nodes[k] + share * (nodes[k + 1] - nodes[k])
        if abs(at[1]) > HALF_Y or abs(at[2]) > HALF_Z:
            return 0.0  # beside the head, not through it
    return (1 - share) * LINK + (len(nodes) - 2 - k) * LINK
