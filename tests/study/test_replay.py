"""An episode of a run goes once more as it went, from its recorded actions or its policy; or it is said why not."""

import json
import shutil

import cv2
import gymnasium as gym
import numpy as np
import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.episode_file import EncodedImages, encode_png, read_episode, write_episode
from enpire_envs.fingerprint import fingerprint

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import POLICY, EpisodeEvent, RunEvent, TokensEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Keep
from autoenvbench.station.bundles import Bundle, policy_digest
from autoenvbench.station.cell import LocalCell
from autoenvbench.study.policies import NoisyPolicy, resolve_policy
from autoenvbench.study.replay import replay

ENV = "ENPIRE/TieZipTie-v0"
SMALL = {"visualization_width": 48}  # pictures take most of the time


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder: two evaluated episodes by our own policy with its mistakes, and one held-out by a bundle."""
    run = tmp_path_factory.mktemp("run")
    env = gym.make(ENV, render_mode="rgb_array", disable_env_checker=True, **SMALL)
    ledger = Ledger(run / "ledger.sqlite", RunClock.start(3600))
    config = RunConfig(agent="cem", env=ENV, env_kwargs=SMALL, budget_s=60, sandbox="none", held_out=1)
    commitment = StartStreams(bytes(32)).commitment
    ledger.append(
        RunEvent(phase="started", config=config.model_dump(), fingerprint=fingerprint(env), secret_sha256=commitment)
    )
    own, driver = resolve_policy(env, "naive", 0)
    keep = Keep(run / "episodes", secret=True)
    cell = LocalCell(env, sandbox="none", track="open", policy=NoisyPolicy(driver, env.action_space, 0.2, 1))
    judge(cell, ledger, own, "evaluate", 2, keep=keep)
    tree = run / "bundles" / "made" / "tree"
    tree.mkdir(parents=True)
    (tree / "policy.py").write_text(ZERO_POLICY)
    digest = policy_digest(tree)
    (tree.parent / "commit").write_text(f"{'c' * 40}\nzero")
    tree.parent.rename(run / "bundles" / digest)
    bundle = Bundle("c" * 40, digest, "zero", run / "bundles" / digest / "tree")
    judge(LocalCell(env, sandbox="none", track="open"), ledger, bundle, "heldout", 1, keep=keep)
    ledger.append(RunEvent(phase="finished", secret="00" * 32))
    ledger.close()
    env.close()
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_how_an_episode_was_judged_is_printed_and_shown(run, tmp_path, capsys):
    path = run / "episodes/E1-1.episode"
    episode = read_episode(path, mapped=False)
    greys = {"evidence.reset_start": (9, 48), "evidence.verdict": (200, 64)}
    shown = {
        name: EncodedImages.of([encode_png(np.full((24, wide, 3), grey, np.uint8))])
        for name, (grey, wide) in greys.items()
    }
    write_episode(path, episode.meta, {**episode.columns, **shown})
    sheet = tmp_path / "sheet.png"
    assert main(["verdict", str(run), "E1-1", "--out", str(sheet)]) == 0
    said = capsys.readouterr().out
    assert "E1-1: failure" in said
    assert "reset start, verdict" in said
    shown = cv2.imread(str(sheet))
    assert shown[50, 50].tolist() == [9] * 3
    assert shown[50, 480 + 50].tolist() == [200] * 3
    assert main(["verdict", str(run), "E9-9"]) == 2
    assert "no judged episode" in capsys.readouterr().err
    assert main(["verdict", str(run), "E1-1", "--out", str(tmp_path / "none" / "sheet.png")]) == 2
    assert "in a folder that is there" in capsys.readouterr().err


def test_recorded_actions_give_the_same_episode_and_its_film(run, tmp_path, capsys):
    film = tmp_path / "film.mp4"
    assert main(["replay", str(run), "E1-1", "--video", str(film)]) == 0
    said = capsys.readouterr().out
    episode = read_episode(run / "episodes/E1-1.episode")
    assert f"the same          {len(episode)} steps" in said
    video = cv2.VideoCapture(str(film))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(episode) + 1  # each step, and how it ended


def test_a_changed_action_or_observation_is_found_where_it_is(run, capsys):
    path = run / "episodes/E1-0.episode"
    episode = read_episode(path, mapped=False)
    action = episode["action"].copy()
    action[5, 0] += 0.25 if action[5, 0] < 0.5 else -0.25
    write_episode(path, episode.meta, {**episode.columns, "action": action})
    assert main(["replay", str(run), "E1-0"]) == 1
    assert "differs from step 6 on" in capsys.readouterr().err
    reward = episode["reward"].copy()
    reward[3] += 1e-12
    write_episode(path, episode.meta, {**episode.columns, "reward": reward})
    assert replay(run, "E1-0").differences == ["reward differs from step 3 on"]


def test_without_its_file_the_bundle_runs_again(run, capsys):
    (run / "episodes/held-out-0.episode").unlink(missing_ok=True)
    (run / "episodes/E2-0.episode").unlink(missing_ok=True)
    made = replay(run, "E2-0", sandbox="none")
    assert made.differences == []
    assert made.steps == made.recorded.steps > 0
    assert "in a cage" in made.by
    shutil.rmtree(run / "bundles" / made.recorded.digest)
    with pytest.raises(UserError, match="is no more in"):
        replay(run, "E2-0", sandbox="none")


def _changed(run, change):
    """The same run with a ledger in which `change` has altered the payloads."""
    old = Ledger(run / "ledger.sqlite")
    events = list(old.events())
    old.close()
    for file in run.glob("ledger.sqlite*"):
        file.unlink()
    new = Ledger(run / "ledger.sqlite", RunClock.start(3600))
    for e in events:
        if (payload := change(e.payload)) is not None:
            new.append(payload, agent=e.agent, station=e.station)
    new.close()
    return run


def _episodes(**fields):
    return lambda p: p.model_copy(update=fields) if isinstance(p, EpisodeEvent) else p


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (_episodes(cell="real"), "E1-0", "arms: nothing can simulate"),
        (_episodes(cell="twin"), "E1-0", "a twin of arms"),
        (_episodes(success=True), "E1-0", "tells of another episode"),
        (lambda p: p.model_copy(update={"fingerprint": "0" * 16}) if getattr(p, "fingerprint", None) else p, "E1-0", "another episode. Install"),
        (lambda p: p.model_copy(update={"secret": "11" * 32}) if getattr(p, "secret", None) else p, "E2-0", "committed to"),
        (lambda p: None if getattr(p, "secret", None) else p, "E2-0", "secret until the run is finished"),
        (_episodes(purpose="practice"), "E2-0", "practice may have begun"),
        (_episodes(reason="interrupted"), "E2-0", "disturbed from outside"),
        (lambda p: p, "E9-9", "no judged episode"),
        (lambda p: p, "../../etc/passwd", "no judged episode"),
    ],
)  # fmt: skip
def test_what_cannot_be_simulated_again_says_why(run, change, name, said):
    (run / "episodes/E2-0.episode").unlink()
    with pytest.raises(UserError, match=said):
        replay(_changed(run, change), name, sandbox="none")


def test_a_policy_that_asked_a_model_and_a_damaged_file_are_refused(run, tmp_path):
    (run / "episodes/E2-0.episode").unlink()
    ledger = Ledger(run / "ledger.sqlite", RunClock.start(3600))
    ledger.append(TokensEvent(model="m", status=200, input=1), agent=POLICY)
    ledger.close()
    with pytest.raises(UserError, match="ask a model"):
        replay(run, "E2-0", sandbox="none")
    file = run / "episodes/E1-0.episode"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="cannot be read"):
        replay(run, "E1-0")
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        replay(run, "E1-1", video=tmp_path / "film.gif")
    assert json.dumps(replay(run, "E1-1").differences) == "[]"


def test_what_a_run_names_beyond_itself_is_used_only_where_it_is_trusted(run, capsys):
    def reaching(p):
        if getattr(p, "config", None) is None:
            return p
        return p.model_copy(update={"config": {**p.config, "tools": {"policy_url": "ws://127.0.0.1:9"}}})

    _changed(run, reaching)
    assert replay(run, "E1-0").differences == []  # recorded actions ask nobody
    (run / "episodes/E2-0.episode").unlink()
    assert main(["replay", str(run), "E2-0", "--sandbox", "none"]) == 2
    said = capsys.readouterr().err
    assert "its tools reach servers (policy_url)" in said
    assert "add --trust" in said
    assert replay(run, "E2-0", sandbox="none", trust=True).differences == []


def test_files_that_a_run_names_are_opened_only_where_it_is_trusted(run):
    def opening(p):
        if getattr(p, "config", None) is None:
            return p
        return p.model_copy(update={"config": {**p.config, "env_kwargs": {**SMALL, "task_file": "/etc/passwd"}}})

    _changed(run, opening)
    with pytest.raises(UserError, match=r"arguments task_file are more than numbers and words.*--trust"):
        replay(run, "E1-0")
    with pytest.raises(UserError, match="cannot make"):
        replay(run, "E1-0", trust=True)
