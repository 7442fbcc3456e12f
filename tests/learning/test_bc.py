"""Behaviour cloning solves the example task in seconds, and would not if its update were wrong."""

import numpy as np
import pytest

from autoenvbench.errors import UserError
from autoenvbench.learning import bc
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import success_rate
from autoenvbench.learning.episodes import Trajectory, load
from autoenvbench.learning.run import Training
from autoenvbench.learning.train import train
from autoenvbench.make_env import make_env
from autoenvbench.study.score import score

QUICK = {"updates": 400, "batch": 128, "hidden": 64, "lr": 3e-3, "average": 0.95, "history": 0}
STARTS = range(5000, 5040)


def learn(reach, shown, out, **settings):
    env = make_env(reach)
    packed = bc.train(env, load([shown]), bc.Settings(**{**QUICK, **settings}), Training(out, seed=1, minutes=1))
    return success_rate(env, Actor(*packed), STARTS)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head": "mixture", "components": 2, "std": 0.05},
        {"history": 2, "stride": 2},
        {"chunk": 4, "execute": 2},
        {"dropout": 0.1},
    ],
    ids=str,
)
def test_it_does_what_was_shown(reach, shown, tmp_path, settings):
    assert learn(reach, shown, tmp_path / "run", **settings) >= 0.9


@pytest.mark.parametrize("broken", ["sign", "no step"])
def test_a_broken_update_is_seen(reach, shown, tmp_path, monkeypatch, broken):
    """Whoever turns the loss round or forgets the step fails the test above by far."""
    right = bc.Cloner.loss
    factor = -1.0 if broken == "sign" else 0.0
    monkeypatch.setattr(bc.Cloner, "loss", lambda *args: factor * right(*args))
    assert learn(reach, shown, tmp_path / "run") < 0.3


def test_demonstrations_of_both_ways_round_need_a_mixture(tmp_path):
    """At one state half of the demonstrations go left and half go right: the mean of them goes nowhere."""
    rng = np.random.default_rng(0)
    shown = [
        Trajectory(rng.normal(size=(2, 1)).astype(np.float32), np.array([[side]], np.float32), np.ones(1), True, True)
        for side in (-0.8, 0.8) * 100
    ]
    decided = {}
    for head in ("gaussian", "mixture"):
        settings = bc.Settings(head=head, components=2, updates=300, batch=64, hidden=32, history=0, validation=0.0)
        features, shapes = bc.features_of(shown, settings)
        buffer = Buffer.of(features, shown, np.array([-1.0]), np.array([1.0]))
        net, training = bc.Cloner(features, shapes, settings), Training(tmp_path / head, seed=0, minutes=1)
        optimiser, _ = bc.optimiser_of(net, settings, settings.updates)
        for _ in training.steps(settings.updates):
            optimiser.zero_grad()
            net.loss(buffer, buffer.sample(64, training.rng)).backward()
            optimiser.step()
        actor = Actor(*net.packed(np.array([-1.0]), np.array([1.0])))
        actor.reset(np.zeros(1))
        decided[head] = float(actor.act(np.zeros(1))[0])
    assert abs(decided["gaussian"]) < 0.3
    assert abs(abs(decided["mixture"]) - 0.8) < 0.1


def test_it_learns_from_images(tmp_path):
    """Where the bright spot is says what to do; it is somewhere else in each episode."""
    rng = np.random.default_rng(0)

    def picture(side):
        image = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        column = int(16 + 10 * side) + rng.integers(-2, 3)
        image[:, column - 2 : column + 2] = 255
        return image

    sides = rng.choice([-0.8, 0.8], 80)
    shown = [
        Trajectory({"pixels": np.stack([picture(side)] * 2), "pos": np.zeros((2, 1), np.float32)}, np.array([[side]], np.float32), np.ones(1), True, True)
        for side in sides
    ]  # fmt: skip
    settings = bc.Settings(updates=120, batch=32, hidden=32, history=0, validation=0.0)
    features, shapes = bc.features_of(shown, settings)
    buffer = Buffer.of(features, shown, np.array([-1.0]), np.array([1.0]))
    net, training = bc.Cloner(features, shapes, settings), Training(tmp_path / "run", seed=0, minutes=1)
    optimiser, _ = bc.optimiser_of(net, settings, settings.updates)
    for _ in training.steps(settings.updates):
        optimiser.zero_grad()
        net.loss(buffer, buffer.sample(settings.batch, training.rng), training.rng).backward()
        optimiser.step()
    actor = Actor(*net.packed(np.array([-1.0]), np.array([1.0])))
    for side in (-0.8, 0.8) * 5:
        observation = {"pixels": picture(side), "pos": np.zeros(1, np.float32)}
        actor.reset(observation)
        assert actor.act(observation)[0] == pytest.approx(side, abs=0.35)


def test_images_are_moved_as_a_whole_and_keep_their_size(rng):
    images = rng.integers(0, 255, (3, 12, 10, 3), dtype=np.uint8)
    moved = bc._shifted(images, np.array([2, 0, 2, 1]), rng)
    assert moved.shape == (4, 12, 10, 3)
    middles = [images[k, y - 1 : y + 1, x - 1 : x + 1] for k in (2, 0, 2, 1) for y in (6,) for x in (5,)]
    for got, middle in zip(moved, middles, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(got, (2, 2), axis=(0, 1))
        assert any(np.array_equal(w.transpose(1, 2, 0), middle) for row in windows for w in row)


def test_from_demonstrations_to_a_score_in_the_cage(reach, shown, tmp_path):
    pairs = [f"{name}={value}" for name, value in QUICK.items()]
    folder = train("bc", reach, tmp_path / "run", demos=[shown], minutes=1, seed=1, settings=pairs)
    result = score(reach, str(folder), 20, sandbox="none")
    assert result["successes"] >= 18
    assert (folder / "checkpoints" / "network.onnx").exists()
    assert (tmp_path / "run" / "curve.csv").read_text().startswith("step,seconds,loss,validation")
    with pytest.raises(UserError, match="trained with other seed"):
        train("bc", reach, tmp_path / "run", demos=[shown], minutes=1, seed=2, settings=pairs, resume=True)
    again = train("bc", reach, tmp_path / "again", demos=[shown], minutes=1, seed=1, settings=pairs)
    with np.load(folder / "checkpoints/policy.npz") as a, np.load(again / "checkpoints/policy.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.cage
def test_a_cage_runs_what_was_exported(shown, reach, tmp_path):
    pairs = [f"{name}={value}" for name, value in QUICK.items()]
    folder = train("bc", reach, tmp_path / "run", demos=[shown], minutes=1, seed=1, settings=pairs)
    result = score(reach, str(folder), 10, sandbox="bwrap", track="station")
    assert result["successes"] >= 9
    assert result["failures"] == {} or set(result["failures"]) == {"time_limit"}


def test_what_cannot_be_learnt_from_is_said(reach, shown, tmp_path):
    with pytest.raises(UserError, match="bc needs demonstrations that were solved"):
        train("bc", reach, tmp_path / "run")
    with pytest.raises(UserError, match="of Example/Reach-v0, not of ENPIRE/PushT-v0"):
        train("bc", "ENPIRE/PushT-v0", tmp_path / "run", demos=[shown])
    with pytest.raises(UserError, match="execute=3 of chunk=2"):
        train("bc", reach, tmp_path / "run1", demos=[shown], settings=["chunk=2", "execute=3"])
    for pair, words in (
        ("hiden=3", "did you mean hidden"), ("hidden=wide", "is not a whole number"), ("head=tanh", "choose one of gaussian, mixture"),
        ("layer_norm=7", "true or false"), ("lr", "NAME=VALUE"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            train("bc", reach, tmp_path / "run2", demos=[shown], settings=[pair])
    with pytest.raises(UserError, match="no algorithm 'ppo'; choose one of bc"):
        train("ppo", reach, tmp_path / "run2")
