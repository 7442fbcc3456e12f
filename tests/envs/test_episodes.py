"""Episodes on disk: what is written is read again bit for bit, and nothing else is taken for an episode."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.episode_file import (
    MAX_HEADER,
    EncodedImages,
    EpisodeError,
    EpisodeWriter,
    Source,
    describe_space,
    encode_png,
    plain,
    read_episode,
    write_episode,
)
from enpire_envs.episodes import Episodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", ">f4", ">i8"]
in_tmp = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def columns(steps: int, **more: Any) -> dict[str, Any]:
    """An episode's columns: counters, so that rows can be told apart."""
    made = {
        "observation": np.arange(2.0 * (steps + 1), dtype=np.float32).reshape(-1, 2), "action": np.arange(1.0 * steps)[:, None],
        "reward": np.arange(1.0 * steps), "terminated": np.arange(steps) == steps - 1, "truncated": np.zeros(steps, bool),
        "time": np.arange(steps) / 10, "source": np.zeros(steps, np.uint8), "late": np.zeros(steps, bool),
    }  # fmt: skip
    return {**made, **more}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@st.composite
def any_columns(draw: st.DrawFn) -> dict[str, np.ndarray]:
    steps = draw(st.integers(0, 5))
    shape = st.lists(st.integers(0, 3), max_size=3).map(tuple)

    def array(rows: int) -> np.ndarray:
        return draw(hnp.arrays(draw(st.sampled_from(DTYPES)), (rows, *draw(shape))))

    keys = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=3))
    seen = {f"observation.{key}": array(steps + 1) for key in keys} or {"observation": array(steps + 1)}
    return {
        **columns(steps),
        **seen,
        "action": array(steps),
        "reward": draw(hnp.arrays("f8", steps)),
        "extra": array(steps),
    }


@in_tmp
@given(any_columns(), st.booleans())
def test_columns_come_back_bit_for_bit(tmp_path: Path, made: dict[str, np.ndarray], mapped: bool) -> None:
    if "observation" in made and len([k for k in made if k.startswith("observation")]) > 1:
        del made["observation"]
    file = tmp_path / "a.episode"
    assert write_episode(file, {"seed": 3}, made) == file.stat().st_size
    episode = read_episode(file, mapped=mapped, check=True)
    assert set(episode.columns) == set(made)
    assert all(same(episode[name], array.astype(array.dtype.newbyteorder("<"))) for name, array in made.items())
    assert all(episode[name].flags.aligned for name in made)
    assert episode.meta == {"version": 1, "steps": len(made["reward"]), "seed": 3}
    assert list(tmp_path.iterdir()) == [file]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@in_tmp
@given(st.dictionaries(st.text(min_size=1), json_values, max_size=4))
def test_descriptions_come_back(tmp_path: Path, meta: dict[str, Any]) -> None:
    known = {"version", "steps", "images", "verdict", "provenance"}
    meta = {key: value for key, value in meta.items() if key not in known}
    write_episode(tmp_path / "a.episode", meta, columns(2))
    assert read_episode(tmp_path / "a.episode").meta == {**meta, "version": 1, "steps": 2}


def test_what_json_lacks_is_made_plain() -> None:
    given = {
        "a": np.float32(0.1),
        "b": np.arange(2),
        "c": (np.nan, -np.inf, np.True_),
        4: Path("/x"),
        "d": {np.int64(7)},
    }
    assert plain(given) == {"a": float(np.float32(0.1)), "b": [0, 1], "c": [None, None, True], "4": "/x", "d": [7]}
    space = gym.spaces.Dict({"x": gym.spaces.Box(-np.inf, 1, (2,)), "n": gym.spaces.Discrete(3)})
    described = describe_space(space)["spaces"]
    assert described["x"] == {"type": "Box", "shape": (2,), "dtype": "float32", "low": None, "high": 1.0}
    assert described["n"]["type"] == "Discrete"
    assert describe_space(gym.spaces.Box(np.array([0, 1]), np.array([2, 2]), dtype=np.int64))["low"] == [0, 1]


def test_any_reader_of_safetensors_reads_it(tmp_path: Path) -> None:
    """Checked against the specification itself: the official reader is not a dependency (tests/real reads with it)."""
    write_episode(tmp_path / "a.episode", {}, columns(3))
    raw = (tmp_path / "a.episode").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert all(isinstance(value, str) for value in header.pop("__metadata__").values())
    spans = sorted(row["data_offsets"] for row in header.values())
    assert spans[0][0] == 0
    assert [end for _, end in spans] == [begin for begin, _ in spans[1:]] + [len(raw) - 8 - length]
    assert (8 + length) % 64 == 0


# -- collecting --------------------------------------------------------------------------------------------------------
def test_a_writer_copies_what_environments_use_again(tmp_path: Path) -> None:
    writer, seen, action = EpisodeWriter(), {"pos": np.zeros(2), "deep": {"x": np.zeros((2, 3))}}, np.zeros(2)
    writer.begin(seen)
    for k in range(3):
        seen["pos"] += 1
        seen["deep"]["x"] += 1
        action += 1
        writer.step(action, seen, k, False, k == 2, time=k / 10, source=Source.INTERVENTION, late=k == 1)
    seen["pos"] += 10
    writer.see_again(seen)
    writer.write(tmp_path / "a.episode", {"verdict": {"success": True}})
    episode = read_episode(tmp_path / "a.episode")
    assert (len(episode), episode.success) == (3, True)
    assert episode.observation["pos"][:, 0].tolist() == [0, 1, 2, 13]
    assert episode.observation["deep.x"].shape == (4, 2, 3)
    assert episode["action"][:, 0].tolist() == [1, 2, 3]
    assert episode["late"].tolist() == [False, True, False]
    assert set(episode["source"]) == {Source.INTERVENTION}
    writer.begin(seen)
    writer.write(tmp_path / "b.episode", {}, action_shape=(2,))
    assert read_episode(tmp_path / "b.episode")["action"].shape == (0, 2)


def test_images_are_kept_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((12, 16, 3), (12, 16, 1)):
        images = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
        for how in ("raw", "png"):
            writer = EpisodeWriter(images=how)
            writer.begin({"pixels": images[0], "flat": np.zeros(2)})
            for k in range(3):
                writer.step(np.zeros(1), {"pixels": images[k + 1], "flat": np.ones(2)}, 0, False, False, time=k)
            writer.write(tmp_path / f"{how}.episode", {}, evidence={"top": [encode_png(images[0])] * 2})
            episode = read_episode(tmp_path / f"{how}.episode", check=True)
            assert np.array_equal(np.stack(list(episode.observation["pixels"])), images)
            assert np.array_equal(episode["evidence.top"][1], images[0])
            flat = Episodes(tmp_path / f"{how}.episode")
            assert np.array_equal(flat.images("observation.pixels", [0, 2]), images[[0, 2]])
            assert np.array_equal(flat.images("observation.pixels", [2], later=1), images[[3]])
            assert set(flat.observation) == {"flat"}  # images are not loaded with the numbers
        assert isinstance(read_episode(tmp_path / "png.episode")["observation.pixels"], EncodedImages)


def test_files_of_cameras_are_kept_byte_for_byte(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = bytes(cv2.imencode(".jpg", image)[1])
    writer = EpisodeWriter()
    writer.begin({"images.top": file})
    writer.step(np.zeros(1), {"images.top": file}, 0, True, False, time=0)
    writer.write(tmp_path / "a.episode", {})
    column = read_episode(tmp_path / "a.episode")["observation.images.top"]
    assert (column.codec, column.shape, column.encoded(-1)) == ("jpeg", (12, 16, 3), file)
    assert np.array_equal(column[0][..., ::-1], cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR))


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    for wrong, words in (
        (columns(3, extra=np.zeros(2)), "extra has 2 rows"),
        (columns(3, observation=np.zeros((3, 2))), "observation has 3 rows; an episode of 3 steps has 4"),
        (columns(3, extra=np.array(["a", "b", "c"])), "extra is of type <U1"),
        (columns(3, extra=np.zeros(3, object)), "extra is of type object"),
    ):
        with pytest.raises(EpisodeError, match=words):
            write_episode(tmp_path / "a.episode", {}, wrong)
    with pytest.raises(EpisodeError, match="description takes"):
        write_episode(tmp_path / "a.episode", {"env": "x" * MAX_HEADER}, columns(1))
    with pytest.raises(EpisodeError, match="no 8-bit PNG or JPEG"):
        EncodedImages.of([b"GIF89a"])
    assert list(tmp_path.iterdir()) == []


# -- what is no episode ------------------------------------------------------------------------------------------------
@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    image = encode_png(np.zeros((4, 4, 3), np.uint8))
    made = columns(3, **{"observation.top": EncodedImages.of([image] * 4)})
    made["observation.state"] = made.pop("observation")
    write_episode(tmp_path / "whole.episode", {"verdict": {"success": True}}, made)
    return (tmp_path / "whole.episode").read_bytes()


def try_to_read(path: Path) -> None:
    """All of an episode, in every way; raises EpisodeError or nothing at all."""
    episode = read_episode(path)
    assert episode.success in (True, False)
    for column in episode.columns.values():
        for row in column:
            assert row is not None
    flat = Episodes(path)
    assert len(flat.reward) == flat.steps


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_an_error_that_names_the_file(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "broken.episode"
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged)
    try:
        try_to_read(file)
    except EpisodeError as error:
        said = str(error)
    else:
        said = str(file)  # what it says may be wrong, but it makes sense
    assert str(file) in said
    if damaged != whole:
        with pytest.raises(EpisodeError, match="broken"):
            read_episode(file, check=True)


def forged(header: Any, data: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def described(meta: Any, table: dict[str, Any] | None = None, data: bytes = b"") -> bytes:
    text = meta if isinstance(meta, str) else json.dumps(meta)
    return forged({"__metadata__": {"episode": text}, **(table or {})}, data)


ROWS = {
    "reward": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]},
    **{n: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in ("action", "terminated", "truncated", "source", "late")},
    "time": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]},
}  # fmt: skip
HOSTILE = {
    "empty": b"",
    "short": b"\x10",
    "text": b"this is no episode at all, but a letter",
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}",
    "pickle": b"\x80\x04\x95cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "endless header": struct.pack("<Q", 1 << 62) + b"{}",
    "header to the end": struct.pack("<Q", MAX_HEADER) + b"{}",
    "no JSON": forged("{not json"),
    "a list": forged("[]"),
    "deep": forged('{"a":' * 50_000 + "1" + "}" * 50_000),
    "long number": forged('{"a":' + "9" * 100_000 + "}"),
    "a model's weights": forged({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "deep within": described('{"version":' + "[" * 100_000),
    "no version": described({}),
    "version in words": described({"version": "one"}),
    "from the future": described({"version": 2}),
    "no columns": described({"version": 1, "steps": 0}),
    "no observation": described({"version": 1, "steps": 0}, ROWS),
    "no data": described({"version": 1, "steps": 10**12}, {"reward": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8 * 10**12]}}),
    "negative": described({"version": 1, "steps": 1}, {"reward": {"dtype": "F64", "shape": [-1], "data_offsets": [0, -8]}}),
    "broken shape": described({"version": 1, "steps": 1}, {"reward": {"dtype": "F64", "shape": [1.5], "data_offsets": [0, 12]}}),
    "overlap": described({"version": 1, "steps": 1}, {k: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for k in "ab"}, b"12345678"),
    "objects": described({"version": 1, "steps": 1}, {"reward": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
    "no images": described({"version": 1, "steps": 0, "images": {"observation": {"codec": "exe", "shape": [1, 1, 3]}}}, ROWS),
    "verdict": described({"version": 1, "steps": 0, "verdict": "guilty"}, ROWS),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_and_cost_nothing(tmp_path: Path, what: str) -> None:
    import resource

    file = tmp_path / "bad.episode"
    file.write_bytes(HOSTILE[what])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EpisodeError, match=str(file)):
        try_to_read(file)
    with pytest.raises(EpisodeError, match=str(file)):
        Episodes(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # kB


def test_an_image_may_not_be_larger_than_it_says(tmp_path: Path, whole: bytes) -> None:
    """A PNG of 40 bytes can claim 60,000 x 60,000 pixels: it is refused before a decoder believes it."""
    claim = encode_png(np.zeros((4, 4, 3), np.uint8))
    bomb = claim[:16] + struct.pack(">II", 60_000, 60_000) + claim[24:]
    ends = np.cumsum([len(bomb)] * 4)
    images = EncodedImages(np.frombuffer(bomb * 4, np.uint8), ends, "png", (4, 4, 3))
    write_episode(tmp_path / "bomb.episode", {}, columns(3, **{"evidence.top": images}))
    with pytest.raises(EpisodeError, match=r"bomb.episode: evidence.top: this is no 8-bit PNG"):
        read_episode(tmp_path / "bomb.episode")["evidence.top"][0]
    backwards = EncodedImages(images.data, ends[::-1].copy(), "png", (4, 4, 3))
    write_episode(tmp_path / "back.episode", {}, columns(3, **{"evidence.top": backwards}))
    with pytest.raises(EpisodeError, match="lies outside its column"):
        read_episode(tmp_path / "back.episode")["evidence.top"][1]


def test_pipes_folders_and_devices_are_no_episodes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.episode")
    (tmp_path / "folder.episode").mkdir()
    (tmp_path / "zero.episode").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(EpisodeError, match=f"{name}.episode is no file"):
            read_episode(tmp_path / f"{name}.episode")
    with pytest.raises(EpisodeError, match="is no file"):
        read_episode(tmp_path / "folder.episode")


# -- many --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def many(tmp_path: Path) -> Episodes:
    for k, steps in enumerate((3, 1, 0, 4)):
        made = columns(steps)
        made["reward"] = made["reward"] + 100 * k
        write_episode(tmp_path / f"{k}.episode", {"verdict": {"success": k % 2 == 0}, "seed": k}, made)
    (tmp_path / ".3.episode.1-2.part").write_bytes(b"half")
    return Episodes(tmp_path)


def test_many_episodes_are_flat_columns_with_boundaries(many: Episodes) -> None:
    assert (len(many), many.steps) == (4, 8)
    assert many.starts.tolist() == [0, 3, 4, 4, 8]
    assert many.episode_of.tolist() == [0, 0, 0, 1, 3, 3, 3, 3]
    assert many.reward.tolist() == [0, 1, 2, 100, 300, 301, 302, 303]
    assert many.observation[:, 0].tolist() == [0, 2, 4, 0, 0, 2, 4, 6]
    assert many.next_observation[:, 0].tolist() == [2, 4, 6, 2, 2, 4, 6, 8]
    assert many.column("observation").shape == (8 + 4, 2)
    assert many.terminated.nonzero()[0].tolist() == [2, 3, 7]
    assert many.windows(2).tolist() == [[0, 1], [1, 2], [4, 5], [5, 6], [6, 7]]
    assert many.windows(9).shape == (0, 9)
    assert many[1:3].starts.tolist() == [0, 1, 1]
    assert many[np.array([True, False, False, True])].reward.tolist() == [0, 1, 2, 300, 301, 302, 303]
    assert [m["seed"] for m in many.select(lambda meta: meta["verdict"]["success"]).meta] == [0, 2]
    assert many[-1].meta["seed"] == 3
    assert len(many[:0].observation) == len(many[2:3].action) == 0
    assert np.array_equal(pickle.loads(pickle.dumps(many)).reward, many.reward)
    with pytest.raises(KeyError, match="no numbers called 'rewards'"):
        many.column("rewards")


@given(st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_split_is_by_episode(many: Episodes, fraction: float, seed: int) -> None:
    one, other = many.split(fraction, np.random.default_rng(seed))
    assert sorted(one.paths + other.paths) == many.paths
    assert len(one) >= 1
    assert len(other) >= 1
    assert many.split(fraction, np.random.default_rng(seed))[0].paths == one.paths


def test_episodes_that_do_not_go_together_are_named(many: Episodes, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no episodes"):
        Episodes(tmp_path / "..")
    write_episode(tmp_path / "4.episode", {}, columns(2, action=np.zeros((2, 5))))
    with pytest.raises(EpisodeError, match=r"4.episode: action is float64 \(5,\), in .*0.episode it is float64 \(1,\)"):
        assert Episodes(tmp_path).action is None


def test_more_episodes_than_files_may_be_open(tmp_path: Path) -> None:
    import resource

    for k in range(300):
        write_episode(tmp_path / f"{k}.episode", {}, columns(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 100, hard))
    try:
        episodes = Episodes(tmp_path)
        assert sum(float(episode["reward"].sum()) for episode in episodes) == episodes.reward.sum()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
