"""The exact overlap of two Ts, against shapely and against what must hold."""

import math

import numpy as np
import pytest
import shapely
from enpire_envs.pusht.geometry import AREA, bounding_box, clearance, coverage, in_frame, outline, wrap
from hypothesis import given
from hypothesis import strategies as st

place = st.floats(-0.12, 0.12)
poses = st.tuples(place, place, st.floats(-math.pi, math.pi))


@given(poses, poses)
def test_coverage_agrees_with_shapely(pose, goal):
    shared = shapely.Polygon(outline(pose)).intersection(shapely.Polygon(outline(goal))).area
    assert coverage(pose, goal) == pytest.approx(shared / AREA, abs=1e-9)


@given(poses, poses)
def test_coverage_is_symmetric_and_a_share(pose, goal):
    assert 0.0 <= coverage(pose, goal) <= 1.0
    assert coverage(pose, goal) == pytest.approx(coverage(goal, pose), abs=1e-9)


@given(poses)
def test_a_t_covers_itself(pose):
    assert coverage(pose, pose) == pytest.approx(1.0, abs=1e-12)
    turned = (pose[0], pose[1], pose[2] + 2 * math.pi)
    assert coverage(turned, pose) == pytest.approx(1.0, abs=1e-9)


@given(poses, st.floats(0, 0.01))
def test_sliding_along_the_stem_loses_what_geometry_says(goal, d):
    moved = (goal[0] - d * math.sin(goal[2]), goal[1] + d * math.cos(goal[2]), goal[2])
    # Along the stem the T's bar leaves d x 160 mm uncovered, of which the stem that follows covers 40 mm again.
    assert coverage(moved, goal) == pytest.approx(1 - d * 0.16 / AREA, abs=1e-9)


@given(poses)
def test_outline_and_bounding_box_agree(pose):
    points = outline(pose)
    x0, x1, y0, y1 = bounding_box(pose)
    assert points.min(axis=0) == pytest.approx([x0, y0])
    assert points.max(axis=0) == pytest.approx([x1, y1])
    x, y = points[:, 0], points[:, 1]
    shoelace = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert shoelace == pytest.approx(AREA)
    centroid_x = np.sum((x + np.roll(x, -1)) * (x * np.roll(y, -1) - y * np.roll(x, -1))) / (6 * shoelace)
    assert centroid_x == pytest.approx(pose[0], abs=1e-9)


@given(poses)
def test_clearance_is_zero_inside_and_positive_outside(pose):
    assert clearance(pose, pose) <= 0.02  # the centroid lies in the stem or just under it
    for corner in outline(pose):
        assert clearance(corner, pose) == pytest.approx(0, abs=1e-9)
    assert clearance((pose[0] + 1, pose[1]), pose) > 0.8


@given(poses, poses)
def test_frames_compose(pose, frame):
    x, y, turn = in_frame(pose, frame)
    cos, sin = math.cos(frame[2]), math.sin(frame[2])
    assert frame[0] + cos * x - sin * y == pytest.approx(pose[0])
    assert frame[1] + sin * x + cos * y == pytest.approx(pose[1])
    assert wrap(frame[2] + turn - pose[2]) == pytest.approx(0, abs=1e-9)
