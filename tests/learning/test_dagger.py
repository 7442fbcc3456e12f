"""DAgger mends what cloning few demonstrations leaves, because the learner's own states are in its data."""

import numpy as np
import pytest
from enpire_envs.pin_insertion.task import STEP

from autoenvbench.errors import UserError
from autoenvbench.learning import bc, dagger
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import success_rate
from autoenvbench.learning.episodes import load
from autoenvbench.learning.run import CHECKPOINT, CURVE, Training
from autoenvbench.learning.train import train
from autoenvbench.make_env import make_env

QUICK = {"batch": 128, "hidden": 64, "lr": 3e-3, "average": 0.95, "history": 1, "stride": 1}
ROUNDS = {"updates": 800, "first": 100, "every": 50, "episodes": 10}
STARTS = range(5000, 5040)


def few(shown):
    return load([shown])[:8]


@pytest.mark.parametrize("labels", ["takeover", "all"])
def test_it_mends_what_few_demonstrations_leave(reach, shown, tmp_path, labels):
    """The same network, updates and demonstrations: cloning alone does not know what to do where it was never shown."""
    env = make_env(reach)
    cloned = bc.train(env, few(shown), bc.Settings(**QUICK, updates=800), Training(tmp_path / "bc", seed=0, minutes=1))
    taught = dagger.train(
        env,
        few(shown),
        dagger.Settings(**QUICK, **ROUNDS, labels=labels),
        Training(tmp_path / "dagger", seed=0, minutes=1),
    )
    before, after = (success_rate(env, Actor(*packed), STARTS) for packed in (cloned, taught))
    assert after >= 0.9
    assert before <= after - 0.4


def test_without_the_teachers_word_it_mends_nothing(reach, shown, tmp_path, monkeypatch):
    """A learner that imitates itself, as it would if labels were ignored, stays what it was."""
    scaled = Buffer.add
    monkeypatch.setattr(
        Buffer, "add", lambda self, t: scaled(self, t if t.label is None else dagger.replace(t, label=None))
    )
    env = make_env(reach)
    packed = dagger.train(env, few(shown), dagger.Settings(**QUICK, **ROUNDS, labels="all", handover=0.0), Training(tmp_path / "run", seed=0, minutes=1))  # fmt: skip
    assert success_rate(env, Actor(*packed), STARTS) < 0.6


def test_what_is_not_to_be_imitated_is_in_the_inputs_and_not_in_the_loss(reach, shown):
    env = make_env(reach)
    demos = load([shown])
    features, shapes = bc.features_of(demos, bc.Settings(**QUICK))
    label = demos[0].action.copy()
    label[:-1] = np.nan
    buffer = Buffer.of(features, [dagger.replace(demos[0], label=label)], -np.ones(2), np.ones(2))
    assert buffer.chunks(buffer.steps, 1)[1][:, 0].tolist() == [False] * (len(buffer) - 1) + [True]
    net = bc.Cloner(features, shapes, bc.Settings(**QUICK))
    assert net.loss(buffer, buffer.steps).item() == pytest.approx(net.loss(buffer, buffer.steps[-1:]).item())
    env.close()


def test_the_input_is_what_was_done_and_the_label_what_the_teacher_said(reach, shown):
    env = make_env(reach)
    features, _ = bc.features_of(load([shown]), bc.Settings(**QUICK))

    class Still:
        def reset(self, observation):
            pass

        def act(self, observation):
            return np.array([0.25, -0.5])

    trajectory = dagger.drive(env, Still(), dagger.teacher_of(env), 3, until=4)
    assert trajectory.action[:4].tolist() == [[0.25, -0.5]] * 4
    assert np.array_equal(trajectory.action[4:], trajectory.label[4:])
    assert trajectory.success
    buffer = Buffer.of(features, [trajectory], -np.ones(2), np.ones(2))
    labels, _ = buffer.chunks(buffer.steps, 1)
    assert np.allclose(labels[:, 0], trajectory.label)
    assert buffer.inputs(np.array([2]))[0, -2:].tolist() == [0.25, -0.5]


def test_a_script_that_looks_on_counts_what_was_executed():
    """The position that it believes to have commanded is the sum of what was executed, whoever said it."""
    env = make_env("ENPIRE/PinInsertion-v0")
    teacher, rng, done = dagger.teacher_of(env), np.random.default_rng(0), np.zeros(3)
    observation, _ = env.reset(seed=4)
    teacher.reset(observation)
    for k in range(40):
        action = teacher.act(observation)
        if k % 3:
            action = rng.uniform(-0.3, 0.3, 3)
            teacher.did(action)
        done += action * STEP
        observation, *_ = env.step(action)
    env.close()
    assert np.allclose(teacher._inserting._command, done)


def test_it_needs_a_script_that_can_look_on(reach, tmp_path, monkeypatch):
    monkeypatch.delattr("reach.reference.Scripted.did")
    with pytest.raises(UserError, match=r"cannot look on while another drives: it has no did\(action\)"):
        train("dagger", reach, tmp_path / "a")
    monkeypatch.delattr("reach.reference.Scripted")
    with pytest.raises(UserError, match="dagger needs a teacher: Example/Reach-v0 has no scripted policy"):
        train("dagger", reach, tmp_path / "b")


def test_it_goes_on_where_it_was_cut(reach, tmp_path):
    """Also in the middle of its rounds, with what it had collected."""

    class Cut(BaseException):
        pass

    def cut(out, at):
        training = Training(out, seed=0, minutes=1, checkpoint_every=0.0)
        recorded = training.record

        def record(**numbers):
            recorded(**numbers)
            if training.step >= at:
                raise Cut

        training.record = record
        return training

    env = make_env(reach)
    settings = dagger.Settings(**{**QUICK, **ROUNDS, "updates": 250})
    whole = dagger.train(env, None, settings, Training(tmp_path / "whole", seed=0, minutes=1))
    with pytest.raises(Cut):
        dagger.train(env, None, settings, cut(tmp_path / "cut", 150))
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    resumed = dagger.train(env, None, settings, Training(tmp_path / "cut", seed=0, minutes=1, resume=True))
    assert all(np.array_equal(whole[1][name], resumed[1][name]) for name in whole[1])
    curves = [
        [row.split(",")[2:] for row in (tmp_path / name / CURVE).read_text().splitlines()] for name in ("whole", "cut")
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4
