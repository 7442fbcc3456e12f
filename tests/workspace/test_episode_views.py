"""What an agent looks at of its practice: columns, plots, sheets, films; and what it is never shown."""

import json
from pathlib import Path

import cv2
import enpire_envs
import gymnasium as gym
import numpy as np
import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.contract import moments_of, names_of
from enpire_envs.episode_file import read_episode
from enpire_envs.reference import make_reference
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.station.batch import Film, Keep
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.workspace import episode_views

NUDGE = ZERO_POLICY.replace(
    "return np.zeros(self.shape)", "return np.clip((observation[2:4] - observation[:2]) / 0.03, -1, 1)"
)
BUNDLE = Bundle("c" * 40, "d", "", None)


class Presser:
    """A policy that presses down, aside of the hole."""

    def reset(self, observation):
        pass

    def act(self, observation):
        return np.array([0.2, 0.0, -1.0])


class Pole(PendulumEnv):
    """An environment of somebody else's: no names, no stages, no moments."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward), terminated, truncated, {**info, "success": False, "swing": 0.5}


@pytest.fixture(scope="module")
def pin():
    env = make_env("ENPIRE/PinInsertion-v0", {"max_episode_steps": 60})
    yield env
    env.close()


def practised(env, ledger, folder, policy, *, n=1, track="open", film=False, sheets=2):
    """Practice episodes of a policy, in a workspace's folder."""
    kept = folder / "data/practice"
    keep = Keep(kept, secret=False, starts=track == "open", insight="all" if track == "open" else "stage")
    cell = LocalCell(env, sandbox="none", track=track, policy=policy)
    more = {"keep": keep, "film": Film(kept, "E1-") if film else None, "sheets": sheets}
    tally = judge(cell, ledger, BUNDLE, "practice", n, agent="codex", **more)
    assert not list(ledger.events("note"))
    return tally, [read_episode(path) for path in sorted(kept.glob("*.episode"))]


def test_practice_tells_of_each_step_what_the_station_knew(pin, ledger, tmp_path):
    _, (episode,) = practised(pin, ledger, tmp_path, Presser())
    stages = [episode.meta["stages"][k] for k in episode["stage"]]
    assert (stages[0], stages[-1]) == ("start", episode.meta["verdict"]["stage"])
    assert stages[-1] == "contact"
    names = episode.meta["names"]["observation"]
    assert len(names) == episode["observation"].shape[1]
    pressed = -episode["observation"][1:, names.index("z")]
    assert pressed.max() > 0.003
    felt = episode["observation"][1:, names.index("fz")]
    assert np.corrcoef(felt, episode["info.force"])[0, 1] > 0.99  # both upwards while it presses
    assert episode["info.lateral"].min() > 0
    assert {"info.insertion", "info.force", "info.lateral"} <= set(episode.columns)
    assert not {"info.score", "info.time"} & set(episode.columns)


def test_a_simulated_station_tells_its_agents_no_truth(pin, ledger, tmp_path):
    """What a station of arms and cameras could know: what the policy saw, and the stage that was judged."""
    _, (episode,) = practised(pin, ledger, tmp_path, Presser(), track="station")
    assert not [name for name in episode.columns if name.startswith("info.")]
    assert "start" not in episode.meta
    assert episode["stage"].max() == 1
    labels = [label for label, _ in episode_views._panels(episode)]
    assert {"force [N]", "position [mm]", "stage", "action"} <= set(labels)
    assert not [label for label in labels if "true" in label]


def test_nothing_of_the_kind_is_kept_of_what_is_judged(pin, ledger, tmp_path):
    keep = Keep(tmp_path / "episodes", secret=True)
    cell = LocalCell(pin, sandbox="none", track="open", policy=Presser())
    judge(cell, ledger, BUNDLE, "evaluate", 1, keep=keep, agent="codex")
    (episode,) = [read_episode(path) for path in (tmp_path / "episodes").glob("*.episode")]
    assert not [name for name in episode.columns if name.startswith(("info.", "evidence.", "stage"))]


def test_looking_changes_no_episode(pin, ledger, tmp_path):
    """Pictures are drawn from moments that are gone, and the next episode begins as if nothing had been drawn."""
    runs = []
    for sheets, film in ((0, False), (2, True)):
        tally, episodes = practised(pin, ledger, tmp_path / str(sheets), Presser(), n=3, sheets=sheets, film=film)
        runs.append([(e.reason, e.score, e.steps, e.scene) for e in tally.episodes])
        runs.append([episode["observation"] for episode in episodes])
    assert runs[0] == runs[2]
    assert all(np.array_equal(one, two) for one, two in zip(runs[1], runs[3], strict=True))


def test_the_first_failures_leave_pictures_from_their_first_moment_to_their_last(pin, ledger, tmp_path):
    tally, episodes = practised(pin, ledger, tmp_path, Presser(), n=3)
    assert ["evidence.frames" in episode.columns for episode in episodes] == [True, True, False]
    episode, steps = episodes[0], episodes[0].meta["frames"]
    assert (steps[0], steps[-1]) == (0, tally.episodes[0].steps)
    assert len(episode["evidence.frames"]) == len(steps) == 9
    shown = [episode["evidence.frames"][k].astype(float) for k in (0, 8)]
    assert np.abs(shown[0] - shown[1]).mean() > 1  # the pin has come down
    large = cv2.resize(episode["evidence.view"][0], (320, 320), interpolation=cv2.INTER_AREA)
    assert np.abs(large - shown[1]).mean() < 5


def test_a_film_shows_every_step_as_fast_as_it_was(pin, ledger, tmp_path):
    tally, _ = practised(pin, ledger, tmp_path, Presser(), film=True)
    assert tally.shown == {"failure": "E1-failure.mp4"}
    film = cv2.VideoCapture(str(tmp_path / "data/practice/E1-failure.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(30)
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1])
    assert len(frames) == tally.episodes[0].steps + 1


def test_a_policy_that_fails_at_once_is_seen(pin, ledger, tmp_path, policy_dir):
    cell = LocalCell(pin, sandbox="none", track="open")
    bundle = Bundle("c", "d", "", policy_dir(ZERO_POLICY.replace("        pass", "        raise RuntimeError('no')")))
    keep = Keep(tmp_path / "data/practice", secret=False, insight="all")
    judge(cell, ledger, bundle, "practice", 1, keep=keep, sheets=1)
    (path,) = episode_views.find(tmp_path, "E1")
    assert read_episode(path).meta["frames"] == [0]
    assert episode_views.sheet(path, tmp_path / "shown").exists()
    with pytest.raises(UserError, match="ended before its first step: policy_error"):
        episode_views.plot(path, tmp_path / "shown")


def test_environments_of_others_are_plotted_by_what_they_have(ledger, tmp_path):
    env = gym.wrappers.TimeLimit(Pole(render_mode="rgb_array"), 20)
    assert names_of(env) == {}
    assert moments_of(env) is None
    _, (episode,) = practised(env, ledger, tmp_path, type("Still", (Presser,), {"act": lambda s, o: np.zeros(1)})())
    assert [label for label, _ in episode_views._panels(episode)] == ["true swing [SI]", "observed [SI]", "action"]  # fmt: skip
    (path,) = episode_views.find(tmp_path, None)
    assert episode_views.plot(path, tmp_path / "shown").stat().st_size > 5000
    with pytest.raises(UserError, match="type: aeb practice -n 1 --seed 0"):  # each picture would cost it too much
        episode_views.sheet(path, tmp_path / "shown")


def test_an_image_observations_own_part_is_named_as_it_is():
    env = gym.make("ENPIRE/PinInsertion-Standard-v0", disable_env_checker=True)
    names, (observation, _) = names_of(env)["observation.agent_pos"], env.reset(seed=0)
    for _ in range(40):
        observation = env.step(np.array([0.0, 0.0, -1.0]))[0]
    own = dict(zip(names, observation["agent_pos"], strict=True))
    readings = env.unwrapped.cell.read()
    assert own["z"] < -0.003
    assert own["fz"] == pytest.approx(readings.wrench.force[2], abs=3)
    assert (own["R00"], own["R11"]) == pytest.approx((1, 1), abs=0.01)
    env.close()


@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
def test_every_vector_of_ours_has_names(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    space = env.observation_space
    parts = {f"observation.{key}": part for key, part in space.items()} if isinstance(space, gym.spaces.Dict) else {"observation": space}  # fmt: skip
    vectors = {key for key, part in parts.items() if isinstance(part, gym.spaces.Box) and len(part.shape) == 1}
    assert set(names_of(env)) == vectors | {"action"}
    env.close()


@pytest.mark.parametrize("env_id", ["ENPIRE/PushT-v0", "ENPIRE/PinInsertion-v0", "ENPIRE/TieZipTie-v0"])
def test_names_go_with_numbers(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    names, (observation, _) = names_of(env), env.reset(seed=0)
    assert len(names["observation"]) == len(set(names["observation"])) == len(observation)
    assert len(names["action"]) == env.action_space.shape[0]
    expert = make_reference(env)
    expert.reset(observation)
    for _ in range(20):
        observation = env.step(expert.act(observation))[0]
    moved = env.unwrapped.task.agent_pos(env.unwrapped.cell.read())
    assert [observation[names["observation"].index(name)] for name in "xy"] == pytest.approx(moved[:2], abs=1e-6)
    env.close()


def test_aeb_shows_practice_and_no_evaluation(bench):
    (bench.repo / "data").symlink_to(bench.run_dir / "data")
    code, out, err = bench.aeb("episodes", "--plot")
    assert (code, out) == (2, "")
    assert "`aeb practice -n 5` makes some" in err
    bench.commit(NUDGE)
    code, out, _ = bench.aeb("practice", "-n", "2")
    assert code == 0
    assert "aeb episodes E1 --plot --sheet" in out
    code, out, _ = bench.aeb("evaluate", "-n", "1")
    assert code == 0
    code, out, _ = bench.aeb("episodes", "--plot", "--sheet", "--json")
    assert code == 0
    made = json.loads(out)["files"]
    assert made == [f"shown/E1-{k}.{kind}.png" for kind in ("plot", "sheet") for k in (0, 1)]
    for file in made:
        picture = cv2.imread(str(bench.repo / file))
        assert picture.shape[0] > 400
        assert picture.shape[1] > 900
        assert (bench.repo / file).stat().st_size < 2 << 20
    assert bench.aeb("episodes", "E1-1", "--sheet")[1] == "shown/E1-1.sheet.png\n"
    for other in ("E2", "E2-0", "E9", "../E1-0", "E1-0/../../x"):
        code, out, err = bench.aeb("episodes", other, "--plot")
        assert (code, out, err.count("\n")) == (2, "", 1), other
    assert "shown to nobody" in bench.aeb("episodes", "E2", "--plot")[2]
    code, out, _ = bench.aeb("episodes")
    assert code == 0
    assert "E1-0" in out
    assert "E2-0" in out
    assert " s  stage, reason" in out
    assert not list(Path(bench.run_dir / "data").rglob("E2*"))
