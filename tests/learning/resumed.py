"""A run that is interrupted and one that is not, compared to the bit."""

import csv
import shutil

import numpy as np

from autoenvbench.learning.run import CURVE, Training


def goes_on_exactly(train, folder, *, until, limit):
    """`train(training, limit)` to its end, and once until a step, lost and resumed: the same curve, the same weights."""

    def run(name, steps, resume=False):
        return train(Training(folder / name, seed=3, minutes=5, resume=resume), steps)

    _, whole = run("whole", limit)
    run("cut", until)
    kept = folder / "kept"
    shutil.copytree(folder / "cut", kept)
    with (kept / CURVE).open("a") as file:  # what was written behind the checkpoint was lost
        file.write(f"{until + 1},0.0\r\n")
    _, resumed = run("kept", limit, resume=True)
    assert _curve(folder / "whole") == _curve(kept)
    assert len(_curve(kept)) > 2
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name])
    first, *others = _curve(folder / "whole")[1:]
    assert any(first[1:] != other[1:] for other in others)  # something was learnt in between


def _curve(run):
    """Without the seconds, which nobody promised."""
    with (run / CURVE).open() as file:
        return [[v for k, v in enumerate(row) if k != 1] for row in csv.reader(file)]
