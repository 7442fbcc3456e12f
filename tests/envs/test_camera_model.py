"""What a camera makes of a scene: blurred, bent, darkened, noisy and late by the published numbers, and the same for the same seed."""

import copy
import inspect
from dataclasses import replace
from importlib import import_module

import cv2
import numpy as np
import pytest
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, SENSOR, WHITE, CameraModel
from enpire_envs.cut_zip_tie.env import CutZipTieEnv
from enpire_envs.gpu_insertion.env import GPUInsertionEnv
from enpire_envs.pin_insertion.env import PinInsertionEnv
from enpire_envs.pusht.env import PushTEnv
from enpire_envs.tie_zip_tie.env import TieZipTieEnv
from making import make

TASKS = {
    "PinInsertion": PinInsertionEnv, "GPUInsertion": GPUInsertionEnv, "CutZipTie": CutZipTieEnv, "TieZipTie": TieZipTieEnv, "PushT": PushTEnv,
}  # fmt: skip
CAMERAS = {"standard": ORDINARY, "expert": POOR, "fleet": ASSORTED}
#: A camera that does nothing: what a test adds is all that there is.
PERFECT = replace(
    ORDINARY, blur=(1e-3, 1e-3), distortion=0.0, vignetting=(0.0, 0.0), exposure=(1.0, 1.0), white_balance=0.0, flicker=0.0, read_noise=0.0,
    shot_noise=0.0, delay=(0, 0),
)  # fmt: skip


def camera(seed=0, names=("top",), **numbers):
    model = CameraModel(replace(PERFECT, **numbers), names, 30.0)
    model.install(np.random.default_rng(seed))
    return model


def grey(level, size=SENSOR):
    return np.full((size, size, 3), level, np.uint8)


def checks(size=SENSOR):
    rows, columns = np.indices((size, size)) // 8
    return np.repeat(np.where((rows + columns) % 2, 200, 40).astype(np.uint8)[..., None], 3, axis=2)


def pictures(observation):
    seen = observation["pixels"]
    return seen if isinstance(seen, dict) else {"": seen}


# -- the model ---------------------------------------------------------------------------------------------------------
def test_a_perfect_camera_changes_nothing():
    picture = checks()
    assert np.array_equal(camera().expose("top", picture, 0), picture)


@pytest.mark.parametrize("level", [0, 60, 180])
def test_noise_differs_between_frames_colours_and_pixels_with_the_published_variance(level):
    """Twice that of one frame between two; where nothing is darker than black, only what is above it."""
    spec = ORDINARY
    model = camera(read_noise=spec.read_noise, shot_noise=spec.shot_noise)
    one, two = (model.expose("top", grey(level), k).astype(float) for k in (0, 1))
    promised = spec.read_noise**2 + spec.shot_noise**2 * level / WHITE
    if level:
        apart = (one - two).ravel()
        assert np.var(apart) / 2 == pytest.approx(promised + 1 / 12, rel=0.04)  # grey levels are whole
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.03
        assert abs(np.corrcoef(one[..., 0].ravel(), one[..., 1].ravel())[0, 1]) < 0.05
        assert abs(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1]) < 0.03
    else:
        assert one.mean() == pytest.approx(np.sqrt(promised / (2 * np.pi)), rel=0.1)


def test_a_frame_is_the_same_however_often_it_is_looked_at_and_another_for_another_episode_or_camera():
    model = camera(read_noise=3.0, names=("top", "wrist"))
    first = model.expose("top", grey(100), 7)
    assert np.array_equal(first, model.expose("top", grey(100), 7))
    assert not np.array_equal(first, model.expose("wrist", grey(100), 7))
    model.begin(np.random.default_rng(5))
    assert not np.array_equal(first, model.expose("top", grey(100), 7))


@pytest.mark.parametrize("size", [96, 480])
def test_noise_of_a_larger_picture_cannot_be_averaged_away(size):
    """Cells as large as the sensor's pixels are noisy as one, so that a film says no more than a policy's picture."""
    out = camera(read_noise=6.0).expose("top", grey(100, size), 0).astype(float)
    cells = cv2.resize(out, (SENSOR, SENSOR), interpolation=cv2.INTER_AREA)
    assert cells.std() > 5.0


@pytest.mark.parametrize("seed", range(4))
def test_distortion_is_straightened_by_the_published_model(seed):
    """A grid of dots, found in the bent picture, comes back to where it was to a tenth of a pixel; the frame is filled to its border."""
    size = 192
    model = camera(seed, distortion=0.05)
    k, scale = model.bend("top")
    assert abs(k) <= 0.05
    picture, middle = grey(10, size), (size - 1) / 2
    dots = [(x, y) for x in range(30, 170, 33) for y in range(30, 170, 33)]
    for dot in dots:
        cv2.circle(picture, dot, 5, (250, 250, 250), -1)
    bent = model.expose("top", picture, 0)
    light = bent[..., 0] - 10.0
    count, labels = cv2.connectedComponents((light > 4).astype(np.uint8))
    spots = [(np.argwhere(labels == dot), light[labels == dot]) for dot in range(1, count)]
    found = np.array([np.average(where, axis=0, weights=weights)[::-1] for where, weights in spots])
    seen = (found - middle) / (size / 2)
    straight = scale * (1 + k * (seen**2).sum(axis=1, keepdims=True)) * seen * (size / 2) + middle
    off = [np.hypot(*(straight - dot).T).min() for dot in dots]
    assert len(seen) == len(dots)
    assert max(off) < 0.1
    if abs(k) > 0.02:
        assert max(np.hypot(*(found - dot).T).min() for dot in dots) > 0.4  # bent it is
    assert np.abs(camera(seed, distortion=0.05).expose("top", grey(120, size), 0).astype(int) - 120).max() <= 1


@pytest.mark.parametrize("size", [96, 192])
def test_an_edge_is_as_soft_as_drawn_at_every_size(size):
    """Its slope is that of a Gaussian's integral: 1 / (sigma sqrt(2 pi)) per pixel."""
    picture = grey(50, size)
    picture[:, size // 2 :] = 210
    out = camera(blur=(1.2, 1.2)).expose("top", picture, 0)[..., 0].astype(float)
    steepest = np.diff(out, axis=1).max() / 160
    assert steepest == pytest.approx(1 / (1.2 * size / SENSOR * np.sqrt(2 * np.pi)), rel=0.08)


def test_corners_are_darker_exposure_and_colours_are_drawn_and_light_flickers():
    model = camera(
        3, vignetting=(0.2, 0.2), exposure=(0.8, 0.8), white_balance=0.05, flicker=0.04, flicker_period=(1.0, 1.0)
    )
    out = np.stack([model.expose("top", grey(200), k) for k in range(60)]).astype(float)
    assert out[:, 0, 0].mean() / out[:, 48, 48].mean() == pytest.approx(0.8, abs=0.01)
    colours = out[:, 48, 48].mean(axis=0) / 160
    assert ((colours > 0.94) & (colours < 1.06)).all()
    assert np.ptp(colours) > 0.005
    middle = out[:, 48, 48, 0]
    assert np.abs(middle[:30] - middle[30:]).max() <= 1  # a second later the same
    assert 0 < np.ptp(middle[:30]) / middle.mean() <= 2 * 0.04 + 0.02


@pytest.mark.parametrize("delay", [0, 1, 2, 4])
def test_a_frame_arrives_after_its_delay_and_until_then_the_first_stays(delay):
    model = camera(delay=(delay, delay))
    for k in range(9):
        seen = model.deliver({"top": grey(10 * k)}, k)["top"]
        assert seen[0, 0, 0] == 10 * max(k - delay, 0)


def test_every_camera_has_a_lens_of_its_own_which_a_station_keeps():
    model = camera(0, names=("top", "wrist"), distortion=0.03)
    kept = [model.bend(name) for name in ("top", "wrist")]
    assert kept[0] != kept[1]
    model.begin(np.random.default_rng(9))
    assert [model.bend(name) for name in ("top", "wrist")] == kept
    model.install(np.random.default_rng(1))
    assert model.bend("top") not in kept


# -- in environments ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", CAMERAS)
@pytest.mark.parametrize("task", TASKS)
def test_the_levels_that_see_by_cameras_see_by_these(task, level):
    numbers = import_module(f"enpire_envs.{TASKS[task].__module__.split('.')[1]}.levels").LEVELS
    assert numbers[level].camera == CAMERAS[level]
    assert numbers["intro"].camera is None
    assert numbers["state"].camera is None


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_page_shows_the_pictures_of_every_level(task):
    page = inspect.getdoc(TASKS[task])
    (row,) = [line for line in page.replace("\\\n", "").splitlines() if line.startswith("| pictures")]
    *_, standard, expert, fleet = [cell.strip() for cell in row.strip("|").split("|")]

    def percent(value):
        return f"{100 * value:g}"

    a, b, c = ORDINARY, POOR, ASSORTED
    assert standard == (
        f"blurred by {a.blur[0]:g} to {a.blur[1]:g} px; distorted by up to {percent(a.distortion)} %; corners {percent(a.vignetting[0])} to "
        f"{percent(a.vignetting[1])} % darker; exposure {a.exposure[0]:g} to {a.exposure[1]:g} times, colours {percent(a.white_balance)} %, flicker "
        f"{percent(a.flicker)} %; noise {a.read_noise:g} in the dark and {a.shot_noise:g} by full light, of {WHITE:g}; {a.delay[0]} to {a.delay[1]} control "
        "periods old"
    )
    assert expert == (
        f"blurred by {b.blur[0]:g} to {b.blur[1]:g} px; flicker {percent(b.flicker)} %; noise {b.read_noise:g} and {b.shot_noise:g}; else as `standard`"
    )
    assert fleet == (
        f"distorted by up to {percent(c.distortion)} %; corners {percent(c.vignetting[0])} to {percent(c.vignetting[1])} % darker; exposure "
        f"{c.exposure[0]:g} to {c.exposure[1]:g} times; else as `standard`"
    )
    assert f"{a.flicker_period[0]:g} to {a.flicker_period[1]:g} s" in page
    assert replace(b, blur=a.blur, flicker=a.flicker, read_noise=a.read_noise, shot_noise=a.shot_noise) == a
    assert replace(c, distortion=a.distortion, vignetting=a.vignetting, exposure=a.exposure) == a


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_shows_the_same_and_a_camera_is_no_part_of_what_happens(task):
    """Pictures differ from the renderer's, and nothing else does: neither what is drawn nor how it moves."""
    noisy = make(f"ENPIRE/{task}-Standard-v0", observation_width=32)
    again = make(f"ENPIRE/{task}-Standard-v0", observation_width=32)
    bare = make(f"ENPIRE/{task}-Standard-v0", observation_width=32)
    bare.unwrapped._cameras = None
    actions = np.random.default_rng(0).uniform(-1, 1, (3, *noisy.action_space.shape))
    for k in range(4):
        (a, *rest), (b, *_), (c, *other) = (
            env.step(actions[k - 1]) if k else env.reset(seed=11) for env in (noisy, again, bare)
        )
        if k == 1:
            again = copy.deepcopy(again)  # which goes on exactly
        for name, picture in pictures(a).items():
            assert np.array_equal(picture, pictures(b)[name])
            assert not np.array_equal(picture, pictures(c)[name])
        assert np.array_equal(a["agent_pos"], c["agent_pos"])
        assert rest == other
    for env in (noisy, again, bare):
        env.close()


@pytest.mark.parametrize("env_id", ["ENPIRE/PinInsertion-v0", "ENPIRE/PushT-v0"])
def test_intro_shows_what_the_renderer_draws(env_id):
    env = make(env_id, obs_type="pixels", observation_width=32, render_mode="rgb_array", visualization_width=48)
    seen, _ = env.reset(seed=2)
    cell, task = env.unwrapped.cell, env.unwrapped.task
    assert np.array_equal(seen, cell.frame(task.cameras[0], 32, 32))
    assert np.array_equal(env.render(), cell.frame(task.camera, 48, 48))
    env.close()


def test_ideal_sensing_sees_what_the_renderer_draws():
    env = make("ENPIRE/GPUInsertion-Standard-v0", sensing="ideal", observation_width=32)
    observation, _ = env.reset(seed=2)
    for name, picture in observation["pixels"].items():
        assert np.array_equal(picture, env.unwrapped.cell.frame(name, 32, 32))
    env.close()


def test_films_are_taken_through_the_same_camera_and_change_nothing():
    """What an author is shown of an episode is what the policy saw of it, blur and noise included: the same frame, then or later."""
    env = make("ENPIRE/PushT-Expert-v0", observation_width=96, render_mode="rgb_array", visualization_width=96)
    bare = make("ENPIRE/PushT-Expert-v0", observation_width=96)
    env.reset(seed=4)
    bare.reset(seed=4)
    inner = env.unwrapped
    delay, shown, moments = inner._cameras._delay, [env.render()], [inner.moment()]
    assert delay > 0
    for k in range(1, 6):
        action = np.array([1.0, 0.0])
        observation, unfilmed = env.step(action)[0], bare.step(action)[0]
        shown.append(env.render())
        moments.append(inner.moment())
        assert np.array_equal(observation["pixels"], shown[max(k - delay, 0)])
        assert np.array_equal(observation["pixels"], unfilmed["pixels"])
    clean = inner.cell.frame("top", 96, 96)
    assert np.abs(shown[-1].astype(int) - clean).mean() > 2
    for picture, moment in zip(shown, moments, strict=True):
        # a moment is drawn a physics step later than the cell was
        assert np.abs(inner.draw(moment).astype(int) - picture).mean() < 0.3
    env.close()
    bare.close()
