"""What a network is given in training is, to the bit, what the exported policy gives it."""

import numpy as np
import pytest

from autoenvbench.learning.bundle.features import Features, History


def episode(rng, steps=40):
    return rng.normal(3.0, [0.1, 2.0, 50.0], (steps + 1, 3)).astype(np.float32), rng.uniform(-1, 1, (steps, 2)).astype(np.float32)  # fmt: skip


@pytest.mark.parametrize(
    ("history", "stride", "actions"), [(0, 1, True), (1, 1, True), (4, 3, True), (9, 7, True), (4, 3, False)]
)
def test_step_by_step_gives_what_a_whole_episode_gives(rng, history, stride, actions):
    observation, action = episode(rng)
    features = Features.of([observation], 2, history=history, stride=stride, actions=actions)
    numbers = features.numbers(observation)
    done = np.concatenate([np.zeros((1, 2)), np.cumsum(action, axis=0, dtype=np.float64)])
    rows = np.arange(len(numbers))
    expected = features.inputs(numbers, done, rows, np.zeros_like(rows))
    live = History(features)
    live.begin(observation[0])
    seen = [live.input()]
    for move, after in zip(action, observation[1:], strict=True):
        live.did(move)
        live.see(after)
        seen.append(live.input())
    assert expected.shape == (41, features.size)
    assert np.array_equal(np.stack(seen), expected)


def test_an_input_looks_back_and_not_ahead(rng):
    observation, action = episode(rng)
    features = Features.of([observation], 2, history=2, stride=3)
    done = np.concatenate([np.zeros((1, 2)), np.cumsum(action, axis=0, dtype=np.float64)])
    got = features.inputs(features.numbers(observation), done, np.array([10]), np.array([0]))[0]
    numbers = features.numbers(observation)
    assert np.array_equal(got[:9], numbers[[10, 7, 4]].reshape(-1))
    assert got[9:] == pytest.approx(np.concatenate([action[7:10].mean(axis=0), action[4:7].mean(axis=0)]), abs=1e-6)
    start = features.inputs(numbers, done, np.array([1]), np.array([0]))[0]
    assert np.array_equal(start[3:9], numbers[[0, 0]].reshape(-1))
    assert start[9:] == pytest.approx([*action[0] / 3, 0, 0], abs=1e-6)


def test_numbers_have_mean_0_and_deviation_1_and_a_constant_is_no_explosion(rng):
    observation = np.concatenate([episode(rng)[0], np.full((41, 1), 7.0, np.float32)], axis=1)
    features = Features.of([observation[:20], observation[20:]], 2)
    numbers = features.numbers(observation)
    assert numbers.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-4)
    assert numbers[:, :3].std(axis=0) == pytest.approx(np.ones(3), abs=1e-3)
    assert np.abs(features.numbers(np.array([1e9, 0, 0, 8.0]))).max() == 10.0


def test_a_dictionary_is_its_vectors_end_to_end_and_its_images_apart(rng):
    seen = {"pixels": rng.integers(0, 255, (5, 8, 8, 3), dtype=np.uint8), "b": np.ones((5, 2)), "a": np.zeros((5, 1))}
    features = Features.of([seen], 2)
    assert (features.images, features.keys, len(features.mean)) == (("pixels",), ("b", "a"), 3)
    assert features.raw_numbers({key: value[0] for key, value in seen.items()}).tolist() == [1, 1, 0]
    assert np.array_equal(features.image(seen, "pixels"), seen["pixels"])
    alone = Features.of([seen["pixels"]], 2)
    assert (alone.images, alone.size) == (("",), 0)


def test_it_comes_back_as_it_was_written(rng):
    import json

    observation, _ = episode(rng)
    features = Features.of([observation], 2, history=3, stride=5)
    again = Features.restore(json.loads(json.dumps(features.describe())), features.mean, features.std)
    assert again.describe() == features.describe()
    assert np.array_equal(again.numbers(observation), features.numbers(observation))
