"""A training run that is cut goes on as if it had not been, or says why it cannot."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from autoenvbench.errors import UserError
from autoenvbench.learning import run
from autoenvbench.learning.run import CHECKPOINT, CURVE, Training


class Killed(BaseException):
    pass


def fit(out, *, until=None, resume=False, steps=60, checkpoint_every=0.0):
    """A small regression with every kind of randomness; `until`: where it dies, without a checkpoint of its last steps."""
    training = Training(out, seed=3, minutes=5, resume=resume, checkpoint_every=checkpoint_every)
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in training.steps(steps, net=net, adam=adam):
        x = torch.from_numpy(training.rng.normal(size=(16, 2)).astype(np.float32))
        loss = ((net(x) - x.sum(dim=1, keepdim=True) + 0.1 * torch.randn(16, 1)) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 5 == 0:
            training.record(loss=loss.item())
        if step == 30:
            training._every = 1e9  # from here on nothing is saved
        if step == until:
            raise Killed
    return training


def curve(out):
    with (out / CURVE).open(newline="") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("until", [31, 43, 50])
def test_a_run_that_was_killed_has_the_same_curve_to_the_bit(tmp_path, until):
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "cut", until=until)
    fit(tmp_path / "cut", resume=True)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert len(curve(tmp_path / "whole")) == 12
    a, b = (torch.load(tmp_path / name / CHECKPOINT)["parts"]["net"] for name in ("cut", "whole"))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_run_that_was_killed_at_once_can_be_gone_on_with(tmp_path):
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "cut", until=7, checkpoint_every=1e9)
    fit(tmp_path / "cut", resume=True)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_half_a_row_and_half_a_checkpoint_are_no_harm(tmp_path):
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "cut", until=45)
    with (tmp_path / "cut" / CURVE).open("a") as file:
        file.write("50,1.2")
    (tmp_path / "cut" / "checkpoint.part").write_bytes(b"half")
    fit(tmp_path / "cut", resume=True)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_a_finished_run_stays_as_it_is(tmp_path):
    fit(tmp_path / "run")
    was = curve(tmp_path / "run")
    assert fit(tmp_path / "run", resume=True).step == 60
    assert curve(tmp_path / "run") == was


def test_the_time_that_was_used_before_counts(tmp_path):
    fit(tmp_path / "run")
    state = torch.load(tmp_path / "run" / CHECKPOINT)
    torch.save({**state, "seconds": 301.0}, tmp_path / "run" / CHECKPOINT)
    assert fit(tmp_path / "run", resume=True, steps=90).step == 60


def test_what_is_prepared_before_the_first_step_takes_none_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    training = Training(tmp_path / "run", seed=0, minutes=1)
    now[0] = 100.0  # images of many demonstrations were read
    done = []
    for step in training.steps(5):
        done.append(step)
        now[0] += 25.0
    assert (done, training.seconds) == ([1, 2, 3], 75.0)


def test_a_folder_with_a_run_in_it_and_one_without(tmp_path):
    with pytest.raises(UserError, match="start without --resume"):
        Training(tmp_path / "none", seed=0, minutes=1, resume=True)
    fit(tmp_path / "run")
    with pytest.raises(UserError, match="holds a run already; go on with it by --resume"):
        Training(tmp_path / "run", seed=0, minutes=1)


def test_a_curve_has_the_same_columns_everywhere(tmp_path):
    training = Training(tmp_path / "run", seed=0, minutes=1)
    next(training.steps(9))
    training.record(loss=1.0)
    with pytest.raises(ValueError, match=r"not .*'success'"):
        training.record(success=1.0)


def test_it_says_how_it_goes_and_how_long_it_will_take(tmp_path, monkeypatch):
    monkeypatch.setattr("autoenvbench.learning.run.LINE_EVERY_S", 0.0)
    said = []
    training = Training(tmp_path / "run", seed=0, minutes=90, log=said.append)
    for _ in training.steps(10):
        training.record(loss=0.5)
    assert said[0].startswith("step 1 of 10  loss 0.5  ")
    assert said[-1].endswith(" left")
