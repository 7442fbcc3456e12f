"""The YAM's model against its maker's numbers, and inverse kinematics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from enpire_real.kinematics import ArmModel, Pose
from enpire_real.yam import LOWER, UPPER

FIXTURES = [  # joint angles, grasp site [m], gravity torques [Nm]
    ((0, 0, 0, 0, 0, 0), (0.2453, 0, 0.1735), (0, 1.824, 6.624, 1.571, 0, 0)),
    ((0, 1.047, 1.047, 0, 0, 0), (0.37725, 0, 0.40211), (0, -2.400, 6.624, 1.571, 0, 0)),
    ((0, 1.5, 1.5, 0, 0, 0), (0.49062, 0, 0.43684), (0, -6.028, 6.624, 1.571, 0, 0)),
    ((0.3, 1.2, 1.4, -0.5, 0.4, -0.7), (0.37601, 0.04690, 0.39882), (0, -3.143, 6.203, 1.539, 0.059, 0)),
]


@pytest.fixture(scope="module")
def model() -> ArmModel:
    return ArmModel.yam()


@pytest.mark.parametrize(("q", "grasp", "gravity"), FIXTURES)
def test_forward_kinematics_and_gravity_match_the_makers(model: ArmModel, q, grasp, gravity) -> None:
    q = np.array(q, dtype=float)
    assert model.forward(q, "grasp").position == pytest.approx(np.array(grasp), abs=3e-5)
    assert model.torque(q) == pytest.approx(
        np.array(gravity), abs=2e-3
    )  # the makers round to a millimetre of the centres of mass


def test_the_arm_weighs_what_it_should(model: ArmModel) -> None:
    assert model.model.body_mass.sum() == pytest.approx(4.987, abs=1e-3)


def test_the_hand_points_straight_down_where_it_should(model: ArmModel) -> None:
    pose = model.forward(np.array([0, 2.119, 1.599, -1.051, 0, 0]), "grasp")
    assert pose.position == pytest.approx(np.array([0.40, 0, 0.025]), abs=3e-4)
    assert pose.rotation[:, 0] == pytest.approx(np.array([0, 0, -1]), abs=1e-3)


def test_jacobian_is_the_derivative_of_forward_kinematics(model: ArmModel, rng: np.random.Generator) -> None:
    for _ in range(20):
        q = rng.uniform(LOWER, UPPER)
        numeric = np.stack([
            (model.forward(q + 1e-6 * e).position - model.forward(q - 1e-6 * e).position) / 2e-6 for e in np.eye(6)
        ], axis=1)  # fmt: skip
        assert model.jacobian(q)[:3] == pytest.approx(numeric, abs=1e-6)


def test_power_balances(model: ArmModel, rng: np.random.Generator) -> None:
    """Torque times velocity is the change of kinetic and potential energy, for any motion."""
    import mujoco

    data = mujoco.MjData(model.model)

    def energy(q: np.ndarray, dq: np.ndarray) -> float:
        data.qpos[:], data.qvel[:] = q, dq
        mujoco.mj_forward(model.model, data)
        mujoco.mj_energyPos(model.model, data)
        mujoco.mj_energyVel(model.model, data)
        return float(data.energy.sum())

    for _ in range(20):
        q, dq, ddq = rng.uniform(LOWER, UPPER), rng.normal(size=6), rng.normal(size=6)
        h = 1e-5
        before = energy(q - h * dq + h * h / 2 * ddq, dq - h * ddq)
        after = energy(q + h * dq + h * h / 2 * ddq, dq + h * ddq)
        assert model.torque(q, dq, ddq) @ dq == pytest.approx((after - before) / (2 * h), rel=1e-3, abs=1e-3)


def test_inverse_kinematics_reaches_what_can_be_reached_within_the_limits(model: ArmModel, rng) -> None:
    for _ in range(200):
        q = rng.uniform(LOWER + 0.05, UPPER - 0.05)
        target = model.forward(q)
        found, error = model.inverse(target, np.clip(q + rng.normal(0, 0.3, 6), LOWER, UPPER))
        assert error < 1e-4
        assert (found >= LOWER).all()
        assert (found <= UPPER).all()
        assert model.forward(found).position == pytest.approx(target.position, abs=2e-4)


def test_inverse_kinematics_says_when_it_cannot(model: ArmModel) -> None:
    far = Pose(np.array([2.0, 0, 0.3]), np.eye(3))
    found, error = model.inverse(far, np.array([0, 1.0, 1.0, 0, 0, 0]))
    assert error > 1.0
    assert np.isfinite(found).all()


def test_an_external_force_is_felt(model: ArmModel, rng: np.random.Generator) -> None:
    for _ in range(20):
        q = rng.uniform(LOWER + 0.3, UPPER - 0.3)
        force = rng.normal(0, 10, 3)
        carried = model.torque(q) - model.jacobian(q)[:3].T @ force
        felt = model.external_wrench(q, carried, point_contact=True)
        assert felt.force == pytest.approx(force, abs=0.8)
        assert (felt.torque == 0).all()


def test_an_external_wrench_is_felt(model: ArmModel) -> None:
    q = np.array([0.3, 1.2, 1.4, -0.5, 0.4, -0.7])
    wrench = np.array([5.0, -3.0, 8.0, 0.4, -0.2, 0.3])
    felt = model.external_wrench(q, model.torque(q) - model.jacobian(q).T @ wrench, point_contact=False)
    assert felt.vector == pytest.approx(wrench, abs=0.3)
    assert felt.frame == "arm base"


def test_poses_compose(rng: np.random.Generator) -> None:
    a = Pose.from_quat(rng.normal(size=3), (math.cos(0.3), 0, math.sin(0.3), 0))
    b = Pose.from_quat(rng.normal(size=3), (math.cos(0.7), math.sin(0.7), 0, 0))
    points = rng.normal(size=(5, 3))
    assert (a @ b).apply(points) == pytest.approx(a.apply(b.apply(points)))
    assert (a.inverse() @ a).rotation == pytest.approx(np.eye(3))
    assert Pose.from_quat(a.position, a.quat()).rotation == pytest.approx(a.rotation)


def test_another_makers_arm_needs_a_tool_site(tmp_path) -> None:
    path = tmp_path / "arm.xml"
    path.write_text(
        '<mujoco><worldbody><body><joint range="-1 1" limited="true"/><geom size="0.1"/></body></worldbody></mujoco>'
    )
    with pytest.raises(ValueError, match='no site "tool"'):
        ArmModel.from_mjcf(path, 1)
    with pytest.raises(ValueError, match="expected 2 joints"):
        ArmModel.from_mjcf(path, 2)
