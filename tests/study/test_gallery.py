"""Galleries: each start by its own picture, from the camera that sees what the task is about."""

import cv2
import numpy as np
import pytest

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.study.gallery import COLUMNS, SIDE, draw_gallery, parse_seeds


def test_each_start_has_a_picture_that_differs(tmp_path):
    said = draw_gallery("ENPIRE/PushT-v0", [0, 1, 2, 3, 7], tmp_path / "page.png")
    assert [line.split(",")[0] for line in said] == [f"seed {k}" for k in (0, 1, 2, 3, 7)]
    page = cv2.imread(str(tmp_path / "page.png"))
    width = page.shape[1] // COLUMNS
    tiles = [page[r * page.shape[0] // 2 :][:SIDE, c * width :][:, :SIDE] for r in range(2) for c in range(COLUMNS)]
    assert [bool((tile != 255).any()) for tile in tiles] == [True] * 5 + [False] * 3
    assert len({tile.tobytes() for tile in tiles[:5]}) == 5
    env = make_env("ENPIRE/PushT-v0")
    env.reset(seed=7)
    shown = cv2.resize(env.render(), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    env.close()
    assert np.abs(tiles[4][..., ::-1].astype(int) - shown).mean() < 3


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"camera": "nose"}, "there is no camera 'nose'; there are: top"), ({"protocol": "robocasa-40"}, "has no fixed set of starts"),
        ({"env_id": "ENPIRE/PushU-v0"}, "did you mean"), ({"out": "nowhere/page.png"}, "cannot write"), ({"out": "page.txt"}, "cannot write"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(tmp_path, more, why):
    asked = {"env_id": "ENPIRE/PushT-v0", "seeds": [0], "out": "page.png", **more}
    with pytest.raises(UserError, match=why):
        draw_gallery(**{**asked, "out": tmp_path / asked["out"]})


def test_seeds_are_read_as_they_are_written():
    assert parse_seeds("3, 5,8-10") == [3, 5, 8, 9, 10]
    for wrong in ("", "3-", "8-5", "0-64", "-1", "a", "0-40,0-40", "9999999999"):
        with pytest.raises(UserError, match=r"seeds|at most|pictures|backwards"):
            parse_seeds(wrong)
