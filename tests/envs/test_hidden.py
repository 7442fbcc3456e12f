"""`valid` of an estimate says no more than a perception model could: it is late, and does not draw the edges of what hides."""

from dataclasses import replace

import numpy as np
import pytest
from enpire_envs.levels import Hiding, HidingSpec
from enpire_envs.tie_zip_tie.levels import LEVELS
from making import make

TYING = ["ENPIRE/TieZipTie-State-v0", "ENPIRE/ZipTieFull-v0"]
UNSURE = 0.0015  # how far from the slot's middle the attacker believes it to be, at most [m]


def look_at(task, readings, period, tip):
    """The observation, a number of control periods after the start, of a strap with its tip at (3,) in the head's frame [m]."""
    nodes = readings.nodes.copy()
    nodes[-2:] += tip - nodes[-1]
    return task.observe(replace(readings, nodes=nodes, time=period / task.control_hz))


def valid_at(task, readings, period, tip):
    """What `valid` of the tip's estimate says of it."""
    return bool(look_at(task, readings, period, tip)[task.state_names.index("tip_valid")])


def light_barrier(env, seed, x, axis):
    """How far off the slot's middle is [m] that sweeps of the tip across the head, to and fro, give away by when they go dark."""
    env.reset(seed=seed)
    task, readings, rng = env.unwrapped.task, env.unwrapped.cell.read(), np.random.default_rng(seed)
    believed = rng.uniform(-UNSURE, UNSURE)
    span, period = np.arange(-0.0055, 0.0055, 0.0001), 1
    dark = np.zeros(len(span))
    for sweep in range(6):
        for k in range(len(span))[:: -1 if sweep % 2 else 1]:
            tip = np.array([x, 0.0, 0.0])
            tip[axis] += believed + span[k]
            dark[k] += not valid_at(task, readings, period, tip)
            period += 1
    a, b = darkest(dark)
    return believed + (span[a] + span[b - 1]) / 2


def darkest(dark):
    """First and one past the last of the stretch that differs most from the rest, (n,) counts."""
    off = np.append(0.0, np.cumsum(dark - dark.mean()))
    n = len(dark)
    length = np.subtract.outer(np.arange(n + 1), np.arange(n + 1))  # [end, begin]
    inside = np.where((length > 0) & (length < n), length, np.nan)
    gain = np.subtract.outer(off, off) ** 2 / (inside * (1 - inside / n))
    end, begin = np.unravel_index(np.nanargmax(gain), gain.shape)
    return begin, end


@pytest.mark.parametrize("env_id", TYING)
@pytest.mark.parametrize("x", [-0.0008, 0.0])
def test_the_flag_does_not_give_the_slot_away(env_id, x):
    """A tip before the head, or at its face, swept across it: the middle of where it is dark is no better than a guess."""
    env = make(env_id)
    off = [light_barrier(env, seed, x, axis) for seed in range(10) for axis in (1, 2)]
    env.close()
    assert np.sqrt(np.mean(np.square(off))) > 0.8 * UNSURE / np.sqrt(3), np.round(1e6 * np.array(off))


@pytest.mark.parametrize("env_id", TYING)
def test_a_tip_that_goes_in_is_lost_as_late_as_an_estimate_is(env_id):
    """And then looks like one at which every look fails: the last estimate stays, and its age grows."""
    env, spec, early = make(env_id), LEVELS["state"].seen[1], []
    for seed in range(12):
        env.reset(seed=seed)
        task, readings = env.unwrapped.task, env.unwrapped.cell.read()
        names, tip = task.state_names, np.array([-0.005, 0.0, 0.0])
        for period in range(1, 7):
            valid_at(task, readings, period, tip)
        rows = [look_at(task, readings, period, np.array([0.0025, 0.0, 0.0])) for period in range(7, 40)]
        valid, age = (np.array([row[names.index(name)] for row in rows]) for name in ("tip_valid", "tip_age"))
        early += list(valid[: spec.latency - 1])
        gone = spec.latency + spec.period
        assert not valid[gone:].any()
        assert np.diff(age[gone:]) == pytest.approx(1 / task.control_hz, abs=1e-5)
        where = [names.index(f"tip_{axis}") for axis in "xyz"]
        assert np.ptp([row[where] for row in rows[gone:]], axis=0).max() == 0
    assert np.mean(early) > 1 - 3 * spec.dropout
    env.close()


def test_how_deep_a_tip_is_when_it_is_lost_is_the_models_affair():
    """Another depth in every episode, and it flickers about it."""
    env, depths = make("ENPIRE/TieZipTie-State-v0"), []
    for seed in range(30):
        env.reset(seed=seed)
        task, readings = env.unwrapped.task, env.unwrapped.cell.read()
        valid = [valid_at(task, readings, 1 + k, np.array([1e-5 * k - 0.001, 0, 0])) for k in range(350)]
        depths.append(1e-5 * np.flatnonzero(valid)[-1] - 0.001)
    assert np.ptp(depths) > 0.0012
    env.close()


def test_a_tail_that_has_fallen_is_missed_late_and_not_at_the_same_height_each_time():
    env = make("ENPIRE/CutZipTie-State-v0")
    task, heights = env.unwrapped.task, []
    valid = task.state_names.index("tie_valid")
    for seed in range(12):
        env.reset(seed=seed)
        readings, lost = env.unwrapped.cell.read(), []
        drop = readings.tip[2] - task._fallen
        for k in range(60):
            pieces = readings.pieces.copy()
            pieces[-1, 1, 2] -= drop + 0.001 * (k - 30)  # 1 mm down in each period
            lost.append(task.observe(replace(readings, pieces=pieces, time=(1 + k) / 30))[valid] == 0)
        heights.append(np.flatnonzero(~np.array(lost))[-1] - 30)
        assert all(lost[30 + 14 + 12 :])
    assert np.ptp(heights) > 8
    assert np.mean(heights) > 2  # late, by the estimate's latency
    env.close()


def test_how_much_of_a_t_must_be_covered_is_the_models_affair():
    env, shares = make("ENPIRE/PushT-State-v0"), []
    for seed in range(40):
        env.reset(seed=seed)
        hiding = env.unwrapped.task._hiding
        shares.append(np.mean([hiding.hides(share) for share in np.linspace(0, 1, 200)]))
    assert np.ptp(shares) > 0.15
    assert np.mean(shares) == pytest.approx(0.7, abs=0.03)
    env.close()


# -- the model ---------------------------------------------------------------------------------------------------------
def test_hidden_is_what_is_far_enough_behind_every_edge():
    spec = HidingSpec(edges=((0.1, 0.3), (-0.2, 0.0)), blur=0.0)
    edges = np.array([hiding._edges for hiding in (Hiding(spec, np.random.default_rng(k)) for k in range(300))])
    assert edges.min(axis=0) == pytest.approx([0.1, -0.2], abs=0.01)
    assert edges.max(axis=0) == pytest.approx([0.3, 0.0], abs=0.01)
    one = Hiding(spec, np.random.default_rng(0))
    assert one.hides(0.31, 0.01)
    assert not one.hides(0.09, 0.01)
    assert not one.hides(0.31, -0.21)
    with pytest.raises(ValueError, match="argument"):
        one.hides(0.3)


def test_edges_move_from_look_to_look():
    hiding = Hiding(HidingSpec(edges=((0.0, 0.0),), blur=0.1), np.random.default_rng(0))
    share = np.array([np.mean([hiding.hides(far) for _ in range(6000)]) for far in (-0.1, 0.0, 0.1)])
    assert share == pytest.approx([0.16, 0.5, 0.84], abs=0.03)


def test_sharp_edges_are_the_truth():
    hiding = Hiding(HidingSpec.sharp(2), np.random.default_rng(0))
    assert [hiding.hides(a, b) for a, b in ((1e-9, 1e-9), (-1e-9, 1), (1, 0.0))] == [True, False, False]
