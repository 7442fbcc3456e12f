"""LeRobot both ways, in the environment of its own that `make test` builds (.tools/lerobot)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.episode_file import (
    EncodedImages,
    Episode,
    EpisodeWriter,
    Source,
    read_episode,
    write_episode,
)
from enpire_envs.episodes import Episodes
from enpire_real.dataset import convert

from autoenvbench.study.score import score

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools" / "lerobot" / "bin" / "python"
pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="the LeRobot environment is not there: make .tools/.lerobot"
)


def in_lerobot(script: str, *args: str, timeout: float = 280) -> str:
    """Run a script beside LeRobot, with our packages on its path and no network."""
    env = {
        **os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'real'}:{ROOT / 'envs'}:{ROOT / 'real' / 'lerobot_robot_enpire'}",
        "HF_HUB_OFFLINE": "1", "HF_LEROBOT_HOME": str(Path(args[0]).parent / "hf") if args else "", "MUJOCO_GL": "egl",
    }  # fmt: skip
    done = subprocess.run([str(PYTHON), "-c", script, *args], capture_output=True, text=True, env=env, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


TRAIN = """
import sys, torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
torch.manual_seed(0)
torch.set_num_threads(1)  # threads that wait for one another are slow beside other tests
data = LeRobotDataset("autoenvbench/twin", root=sys.argv[1], delta_timestamps={"action": [k / 10 for k in range(8)]},
                      video_backend="pyav")
image = "observation.images.top"
config = ACTConfig(
    input_features={"observation.state": PolicyFeature(FeatureType.STATE, (14,)),
                    image: PolicyFeature(FeatureType.VISUAL, (3, 96, 128))},
    output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))}, device="cpu", chunk_size=8, n_action_steps=8,
    dim_model=64, n_heads=4, dim_feedforward=128, n_encoder_layers=1, n_vae_encoder_layers=1,
    pretrained_backbone_weights=None, push_to_hub=False,
)
policy = ACTPolicy(config).train()
optimiser = torch.optim.AdamW(policy.parameters(), 1e-4)
loader = torch.utils.data.DataLoader(data, batch_size=2, shuffle=True)
losses = []
while len(losses) < 50:
    for batch in loader:
        batch = {k: batch[k] for k in ("observation.state", image, "action", "action_is_pad")}
        batch[image] = torch.nn.functional.interpolate(batch[image], (96, 128))
        loss, _ = policy.forward(batch)
        optimiser.zero_grad(); loss.backward(); optimiser.step()
        losses.append(loss.item())
        if len(losses) == 50:
            break
print(len(data), data.num_episodes, sum(losses[:10]), sum(losses[-10:]))
"""


def test_a_recorded_run_is_a_dataset_that_trains_act(tmp_path: Path) -> None:
    env = gym.make("ENPIRE/PushT-real-v0", record=tmp_path / "rec", disable_env_checker=True)
    env.unwrapped.limit.own = 12
    for _ in range(2):
        env.reset(options={"start": {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}})
        for k in range(12):
            env.step(np.array([0.3 * np.cos(k), 0.3 * np.sin(k)]))
    env.close()
    made = convert(tmp_path / "rec", tmp_path / "dataset", str(PYTHON))
    assert (made["episodes"], made["frames"], made["cameras"]) == (2, 24, ["top"])
    frames, episodes, first, last = in_lerobot(TRAIN, str(tmp_path / "dataset")).split()
    assert (int(frames), int(episodes)) == (24, 2)
    assert float(last) < 0.7 * float(first)


def same(one: Episode, other: Episode) -> None:
    """Bit for bit: every number, image and word."""
    assert one.meta == other.meta
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        back = other[name]
        assert type(back) is type(column), name
        if isinstance(column, EncodedImages):
            assert len(back) == len(column)
            assert all(np.array_equal(a, b) for a, b in zip(back, column, strict=True)), name
        else:
            assert (back.dtype, back.shape, back.tobytes()) == (column.dtype, column.shape, column.tobytes()), name


def odd_episode(path: Path, steps: int, rng: np.random.Generator) -> None:
    """All types of numbers, shapes of all kinds, and the numbers that are none."""
    types = ("?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
    odd: dict[str, Any] = {}
    for code in types:
        for shape in ((), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)):
            size = (steps, *shape)
            bits = np.frombuffer(rng.bytes(int(np.prod(size)) * np.dtype(code).itemsize), code).reshape(size)
            numbers = {"?": rng.random(size) < 0.5, "f": rng.standard_normal(size).astype(code)}
            odd[f"{code}_{'x'.join(map(str, shape))}"] = numbers.get(code[0], bits)
    if steps:
        odd["f8_3"][0] = (np.nan, -0.0, np.inf)
    writer = EpisodeWriter(images="png")
    images = rng.integers(0, 256, (steps + 1, 12, 16, 3), dtype=np.uint8)
    seen = [{"agent_pos": rng.random(3).astype("f4"), "pixels": image, "depth": image[..., :1], "environment_state": rng.random(2)}
            for image in images]  # fmt: skip
    writer.begin(seen[0])
    for k in range(steps):
        writer.step(
            rng.random(2), seen[k + 1], rng.random(), False, k == steps - 1, time=k / 10 + 1e-9, late=k % 2 == 0
        )
    meta = {
        "control_hz": 12.5,
        "task": "odd",
        "start": {"x": [0.1, 1e-300]},
        "verdict": {"success": steps % 2 == 1},
        "seed": 2**61,
    }
    raw = {"observation.raw": np.stack(images)[..., ::-1], "evidence.top": images[:2]}
    write_episode(path, meta, {**writer.columns((2,)), **raw, **odd})


def test_there_and_back_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for k, steps in enumerate((4, 0, 1, 3)):
        odd_episode(tmp_path / "odd" / f"E{k}.episode", steps, np.random.default_rng(k))
    made = convert(tmp_path / "odd", tmp_path / "dataset", str(PYTHON), video=False)
    assert (made["episodes"], made["frames"], made["cameras"]) == (3, 8, ["pixels", "raw"])
    back = convert(tmp_path / "dataset", tmp_path / "back", str(PYTHON))
    assert (back["episodes"], back["frames"]) == (4, 8)
    for file in sorted((tmp_path / "odd").iterdir()):
        same(read_episode(file), read_episode(tmp_path / "back" / file.name, check=True))


def test_recorded_episodes_come_back(tmp_path: Path) -> None:
    env = gym.make("ENPIRE/PushT-real-v0", record=tmp_path / "rec", disable_env_checker=True)
    env.unwrapped.limit.own = 5
    env.reset(options={"start": {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}})
    for k in range(5):
        env.step(np.array([0.3 * np.cos(k), 0.3 * np.sin(k)]))
    env.close()
    was, camera = read_episode(tmp_path / "rec" / "episodes" / "000000.episode"), "observation.images.top"
    for video in (False, True):
        made, back = tmp_path / f"dataset {video}", tmp_path / f"back {video}"
        convert(tmp_path / "rec", made, str(PYTHON), video=video)
        convert(made, back, str(PYTHON))
        now = read_episode(back / "000000.episode", check=True)
        assert (was[camera].codec, now[camera].codec) == ("jpeg", "png")
        before, after = (np.stack(list(episode[camera])).astype(int) for episode in (was, now))
        assert np.abs(before - after).mean() <= 6 * video  # the same pixels, or those of a video
        assert np.array_equal(before[-1], after[-1])
        same(*(Episode(_plain(e.meta), {k: v for k, v in e.columns.items() if k != camera}) for e in (was, now)))


def _plain(meta: dict[str, Any]) -> dict[str, Any]:
    """Without how images are encoded: JPEG has become PNG."""
    return {key: value for key, value in meta.items() if key != "images"}


def test_episodes_of_a_station_come_back_and_train(tmp_path: Path) -> None:
    """Demonstrations as `score --trajectories` and `aeb practice` leave them, with pixels and without."""
    for kwargs in ({}, {"obs_type": "pixels_agent_pos"}):
        where = tmp_path / str(len(kwargs))
        score("ENPIRE/PushT-v0", "random", 2, env_kwargs={**kwargs, "max_episode_steps": 6}, trajectories=where / "t")
        made = convert(where / "t", where / "dataset", str(PYTHON), video=False)
        assert (made["episodes"], made["frames"], made["cameras"]) == (2, 12, ["pixels"] if kwargs else [])
        convert(where / "dataset", where / "back", str(PYTHON))
        for file in sorted((where / "t").glob("*.episode")):
            same(read_episode(file), read_episode(where / "back" / file.name, check=True))


STRANGER = """
import sys, numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
image = {"dtype": "image", "shape": (12, 16, 3), "names": ["height", "width", "channels"]}
vector = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
data = LeRobotDataset.create("some/body", 20, {"observation.state": vector, "action": vector, "observation.images.eye": image},
                             root=sys.argv[1], use_videos=False)
for length in (3, 2):
    for k in range(length):
        data.add_frame({"observation.state": np.full(2, k, np.float32), "action": np.full(2, -k, np.float32),
                        "observation.images.eye": np.full((12, 16, 3), 40 * k, np.uint8), "task": "wave"})
    data.save_episode()
data.finalize()
"""


def test_a_strangers_dataset_is_read_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    in_lerobot(STRANGER, str(tmp_path / "theirs"))
    assert convert(tmp_path / "theirs", tmp_path / "ours", str(PYTHON))["episodes"] == 2
    episodes = Episodes(tmp_path / "ours")
    assert episodes.lengths.tolist() == [3, 2]
    assert episodes.observation["state"][:, 0].tolist() == [0, 1, 2, 0, 1]
    assert episodes.next_observation["state"][:, 0].tolist() == [1, 2, 2, 1, 1]
    assert episodes.time.tolist() == [0, 0.05, 0.1, 0, 0.05]
    assert set(episodes.source) == {Source.UNKNOWN}
    assert episodes.images("observation.images.eye", [1]).max() == 40
    meta = episodes.meta[0]
    assert (meta["task"], meta["last_observation"], meta["control_hz"]) == ("wave", "repeated", 20)


def test_any_reader_of_safetensors_reads_our_episodes(tmp_path: Path) -> None:
    odd_episode(tmp_path / "a.episode", 3, np.random.default_rng(0))
    odd_episode(tmp_path / "b.episode", 0, np.random.default_rng(0))
    script = (
        "import sys; from safetensors.numpy import load_file\n"
        "for f in sys.argv[1:]: d = load_file(f); print(len(d), d['reward'].tobytes().hex() or '-', d['observation.agent_pos'].shape[0])"
    )
    a, b = in_lerobot(script, str(tmp_path / "a.episode"), str(tmp_path / "b.episode")).splitlines()
    episode = read_episode(tmp_path / "a.episode")
    encoded = sum(isinstance(column, EncodedImages) for column in episode.columns.values())
    assert a.split() == [str(len(episode.columns) + encoded), episode["reward"].tobytes().hex(), "4"]
    assert b.split()[1:] == ["-", "1"]


ROBOT = """
import json, time
from lerobot.robots.config import RobotConfig
from lerobot.robots.utils import make_robot_from_config
import lerobot_robot_enpire
robot = make_robot_from_config(RobotConfig.get_choice_class("enpire_station")(id="twin"))
assert set(robot.action_features) < set(robot.observation_features)
with robot:
    before = robot.get_observation()
    assert {k: getattr(v, "shape", float) for k, v in before.items()} == robot.observation_features
    action = {k: before[k] for k in robot.action_features}
    action.update({"left_joint1.pos": 99.0, "left_joint2.pos": 0.5, "left_joint3.pos": 0.8, "left_gripper.pos": 7.0})
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        sent = robot.send_action(action)
        time.sleep(0.03)
    after = robot.get_observation()
print(json.dumps([before["left_joint2.pos"], after["left_joint2.pos"], after["left_joint3.pos"], sent["left_joint1.pos"],
                  sent["left_gripper.pos"], after["left_joint1.pos"]]))
"""


@pytest.mark.real_time
def test_our_station_is_a_lerobot_robot(tmp_path: Path) -> None:
    before, joint2, joint3, sent1, grip, joint1 = json.loads(in_lerobot(ROBOT, str(tmp_path / "x")).splitlines()[-1])
    assert before == pytest.approx(0.0, abs=0.05)
    assert joint2 == pytest.approx(0.5, abs=0.02)
    assert joint3 == pytest.approx(0.8, abs=0.02)
    assert sent1 == pytest.approx(3.14159)  # clipped to the joint's range
    assert grip == 1.0
    assert joint1 > 1.0  # on its way, at limited speed


ARM = """
import json, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot

JOINTS = ["shoulder", "elbow", "wrist"]

@RobotConfig.register_subclass("toy_arm")
@dataclass(kw_only=True)
class ToyArmConfig(RobotConfig):
    port: str

class ToyArm(Robot):
    # Servos in degrees that go where they are told, with a lag of 10 ms however late they are told.
    config_class, name = ToyArmConfig, "toy_arm"
    def __init__(self, config):
        super().__init__(config)
        self.at, self.on, self.told = dict.fromkeys(JOINTS, 10.0), False, time.monotonic()
    observation_features = action_features = property(lambda self: {f"{j}.pos": float for j in JOINTS})
    is_connected = property(lambda self: self.on)
    is_calibrated = True
    def connect(self, calibrate=True): self.on = True
    def disconnect(self): self.on = False
    def calibrate(self): pass
    def configure(self): pass
    def get_observation(self): return {f"{j}.pos": v for j, v in self.at.items()}
    def send_action(self, action):
        late, self.told = time.monotonic() - self.told, time.monotonic()
        for j in JOINTS:
            self.at[j] += (1 - np.exp(-late / 0.01)) * (action[f"{j}.pos"] - self.at[j])
        return action

import __main__
ToyArmConfig.__module__ = ToyArm.__module__ = "toy_arm.config"
sys.modules["toy_arm"] = __main__
folder = Path(sys.argv[1])
folder.mkdir()
(folder / "arm.xml").write_text('''<mujoco><compiler angle="radian"/><worldbody><body name="a" pos="0 0 0.3">
  <joint axis="0 0 1" range="-2 2" limited="true"/><geom type="capsule" size="0.02" fromto="0 0 0 0.2 0 0"/>
  <body name="b" pos="0.2 0 0"><joint axis="0 1 0" range="-2 2" limited="true"/><geom type="capsule" size="0.02" fromto="0.05 0 0 0.2 0 0"/>
  <body name="c" pos="0.2 0 0"><joint axis="0 1 0" range="-2 2" limited="true"/><geom type="capsule" size="0.02" fromto="0.05 0 0 0.1 0 0"/>
  <site name="tool" pos="0.1 0 0"/></body></body></body></worldbody></mujoco>''')
(folder / "station.yaml").write_text(f'''
name: toy
kind: physical
arms:
  only:
    type: lerobot
    robot: {{type: toy_arm, port: /dev/null}}
    base_m: [0, 0, 0]
    joints: [shoulder, elbow, wrist]
    mjcf: {folder / "arm.xml"}
safety:
  workspace: {{only: {{low_m: [-1, -1, 0], high_m: [1, 1, 1]}}}}
  emergency_stop: {{type: none}}
''')
from enpire_real.control import Stopped
from enpire_real.motion import JointMove
from enpire_real.build import build_station
from enpire_real.station_file import load_station
station = build_station(load_station(folder / "station.yaml"))
with station:
    control = station.control
    control.move("only", JointMove([np.array([0.5, -0.3, 0.2])], 1.0, 5.0))
    control.wait("only", 10)
    time.sleep(0.3)
    reached = control.reading("only").q.tolist()
    control.move("only", JointMove([np.array([0.5, 1.5, 0.2])], 1.0, 5.0))  # into the table
    try:
        control.wait("only", 10)
    except Stopped as stopped:
        reason = stopped.stop.reason
print(json.dumps([reached, reason]))
"""


@pytest.mark.real_time
def test_any_lerobot_robot_is_an_arm_behind_our_monitor(tmp_path: Path) -> None:
    reached, reason = json.loads(in_lerobot(ARM, str(tmp_path / "toy")).splitlines()[-1])
    assert reached == pytest.approx([0.5, -0.3, 0.2], abs=0.01)
    assert reason in ("collision_margin", "workspace_limit")


CAMERA = """
import sys, time
from dataclasses import dataclass
import numpy as np
from lerobot.cameras.camera import Camera as LeRobotCameraBase
from lerobot.cameras.configs import CameraConfig

@CameraConfig.register_subclass("toy_eye")
@dataclass(kw_only=True)
class ToyEyeConfig(CameraConfig):
    serial: str

class ToyEye(LeRobotCameraBase):
    # Each frame redder than the last.
    def __init__(self, config):
        super().__init__(config)
        self.on, self.count = False, 0
    is_connected = property(lambda self: self.on)
    find_cameras = staticmethod(lambda: [])
    def connect(self, warmup=True): self.on = True
    def disconnect(self): self.on = False
    def read(self, color_mode=None):
        self.count += 1
        image = np.zeros((self.height, self.width, 3), np.uint8)
        image[..., 0] = min(5 * self.count, 255)
        return image
    def async_read(self, timeout_ms=200): return self.read()

import __main__
ToyEyeConfig.__module__ = ToyEye.__module__ = "toy_eye.config"
sys.modules["toy_eye"] = __main__
from enpire_real.cameras import LeRobotCamera
from enpire_real.clock import WallClock
from enpire_real.station_file import Camera, Intrinsics
config = Camera(type="lerobot", lerobot={"type": "toy_eye", "serial": "1"}, width_px=160, height_px=120, fps_hz=30,
                position_m=[0, 0, 1], quat_wxyz=[0, 1, 0, 0],
                intrinsics=Intrinsics(fx_px=100, fy_px=100, cx_px=79.5, cy_px=59.5))
camera = LeRobotCamera("eye", config, WallClock())
camera.start()
first = camera.latest()
time.sleep(0.3)
later = camera.latest()
camera.close()
print(first.image.shape, later.time > first.time, later.image.mean() > first.image.mean())
"""


def test_any_lerobot_camera_is_an_eye(tmp_path: Path) -> None:
    assert in_lerobot(CAMERA, str(tmp_path / "film")).splitlines()[-1] == "(120, 160, 3) True True"
