"""Bad input gets one clear line and exit code 2; good input does what the README says."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ZERO_POLICY

from autoenvbench.cli.main import main


def call(capsys, *args):
    code = main([str(a) for a in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["score", "--env", "ENPIRE/PushX-v0", "--policy", "random"], "did you mean ENPIRE/PushT-v0"),
        (["score", "--env", "zzz", "--policy", "random"], "known: ENPIRE/"),
        (["score", "--policy", "/no/such/folder"], "does not exist"),
        (["score", "--policy", "."], "has no policy.py"),
        (["score", "--policy", "random", "-n", "0"], "from 1 to"),
        (["score", "--policy", "random", "--env-arg", "criterion"], "criterion=pose"),
        (["score", "--policy", "random", "--env-arg", "criterion=luck"], "choose one of"),
        (["score", "--policy", "random", "--env-arg", "lidar=1"], "lidar"),
        (["score", "--policy", "random", "--held-out-secret", "abc"], "64 hexadecimal"),
        (["eval", "--agent", "nobody"], "choose one of: codex, claude-code"),
        (["eval", "--agent", "cem", "--budget", "2 parsecs"], "write it like 2h"),
        (["eval", "--agent", "cem", "--env", "ENPIRE/Nope-v0"], "unknown environment"),
        (["eval", "--agent", "cem", "--pace", "7"], "from 0 to 1"),
        (["eval", "--agent", "codex", "--replay", "/no/file"], "no replay script"),
        (["eval", "--agent", "cem", "--held-out", "0"], "from 1 to"),
        (["resume", "/no/such/run"], "no ledger"),
        (["report", "/no/such/run"], "no ledger"),
        (["ledger", "/no/such/run"], "no ledger"),
        (["leaderboard", "add", "/no/such/run"], "cannot read"),
        (["leaderboard", "build", "--dir", "/no/such/board"], "no leaderboard"),
    ],
    ids=lambda v: " ".join(map(str, v))[:60] if isinstance(v, list) else "",
)
def test_one_clear_line_and_exit_code_2(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *args)
    assert code == 2
    assert words in err
    assert err.strip().count("\n") == 0
    assert "Traceback" not in err
    assert not out
    assert not list(tmp_path.rglob("*.sqlite"))


def test_an_out_directory_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(capsys, "eval", "--agent", "cem", "--budget", "5s", "--out", tmp_path / "file" / "runs")
    assert code == 2
    assert "--out" in err


def test_codex_without_key_or_cli_says_what_to_do(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("AUTOENVBENCH_CODEX", "/no/such/codex")
    code, _, err = call(capsys, "eval", "--agent", "codex", "--out", tmp_path)
    assert code == 2
    assert "npm install" in err
    assert "OPENAI_API_KEY" in err
    assert not list(tmp_path.iterdir())


def test_score_json_has_the_promised_keys(capsys, tmp_path):
    (tmp_path / "policy.py").write_text(ZERO_POLICY)
    code, out, _ = call(
        capsys, "score", "--policy", tmp_path, "-n", "2", "--attempts", "8", "--json", "--sandbox", "none"
    )
    assert code == 0
    result = json.loads(out)
    assert result.keys() >= {"success_rate", "wilson95", "score", "pass_at_8", "streak", "episodes", "failures"}
    assert result["episodes"] == 16
    assert result["pass_at_8"] == 0.0
    assert result["failures"] == {"time_limit": 16}


def test_score_is_repeatable_and_the_seed_matters(capsys):
    def scored(seed):
        return json.loads(call(capsys, "score", "--policy", "random", "-n", "6", "--seed", seed, "--json")[1])

    first, again, other = scored(1), scored(1), scored(2)
    for r in (first, again, other):
        del r["seconds_per_episode"], r["realtime_factor"]
    assert {**first, "date": ""} == {**again, "date": ""}
    assert first != other


def test_outcomes_of_several_attempts_are_told_start_by_start(capsys, tmp_path):
    """However they were run; and what is printed can be filed."""

    def scored(*args):
        text = call(capsys, "score", "--env", "ENPIRE/TieZipTie-v0", "--policy", "naive", "-n", "4", "--json", *args)[1]
        (tmp_path / "score.json").write_text(text)
        assert (
            call(capsys, "leaderboard", "add", tmp_path / "score.json", "--dir", tmp_path / f"board{len(args)}")[0] == 0
        )
        return json.loads(text)["outcomes"]

    once = scored()
    assert len(set(once)) == 2  # some fail, some do not: an order can be seen
    assert scored("--attempts", "2")[::2] == once


def test_a_policy_that_cannot_load_is_exit_code_5(capsys, tmp_path):
    (tmp_path / "policy.py").write_text("import nothing_like_this")
    code, out, _ = call(capsys, "score", "--policy", tmp_path, "-n", "2", "--sandbox", "none")
    assert code == 5
    assert "nothing_like_this" in out


def test_envs_lists_what_gymnasium_has(capsys):
    import gymnasium as gym

    import autoenvbench

    rows = json.loads(call(capsys, "envs", "--json")[1])
    assert {r["id"] for r in rows} == set(autoenvbench.ENV_IDS) <= set(gym.registry)
    said = {r["id"]: (r["level"], r["observation"]) for r in rows}
    assert said["ENPIRE/PinInsertion-v0"] == ("intro, never ranked", "(70,)")
    assert said["ENPIRE/PinInsertion-Standard-v0"] == ("standard", "agent_pos (14,), pixels (96, 96, 3)")
    assert said["ENPIRE/GymPushT-v0"] == ("", "")


def test_tools_are_listed_by_environment_and_study(capsys):
    code, out, _ = call(capsys, "tools", "ENPIRE/PushT-v0")
    assert code == 0
    assert "frame: the table's" in out
    assert "- `nudge(offset, timeout=4.0)`: Move the hand by an offset" in out
    assert "close_gripper" not in out
    assert "get_task_info" not in out
    assert "detect_object" not in call(capsys, "tools", "ENPIRE/PushT-v0", "--tool", "vision=none")[1]
    code, _, err = call(capsys, "tools", "ENPIRE/PushT-v0", "--tool", "vision=nothing")
    assert code == 2
    assert "vision is one of images, vlm, none" in err


def test_without_bubblewrap_an_agents_run_is_refused(capsys, tmp_path, monkeypatch):
    from autoenvbench.sandbox import cage

    monkeypatch.setattr(cage, "bwrap_problem", lambda: "bubblewrap is not installed")
    (tmp_path / "policy.py").write_text(ZERO_POLICY)
    code, _, err = call(capsys, "score", "--policy", tmp_path, "-n", "1")
    assert code == 2
    assert "--sandbox none" in err
    assert cage.choose_sandbox(None, fallback=True)[0] == "none"  # our own researchers go on, and say so


@pytest.mark.parametrize(
    "statement", ["import autoenvbench", "from autoenvbench.cli.parser import make_parser; make_parser()"]
)
def test_heavy_packages_load_when_they_are_needed(statement):
    check = f"{statement}; import sys; print([m for m in ('torch', 'matplotlib', 'mujoco', 'aiohttp', 'cv2', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_gym_make_with_a_module_prefix():
    code = "import gymnasium; print(gymnasium.make('autoenvbench:ENPIRE/PushT-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert "PushT-v0" in done.stdout, done.stderr


def test_the_wheel_works_outside_the_checkout(tmp_path):
    """Build it, unpack it where there is no checkout, and use what must be inside: scenes, templates, data."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, root], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    (target,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel],
        check=True,
        capture_output=True,
    )
    assert sorted(p.name for p in target.iterdir() if p.is_dir() and "dist-info" not in p.name and p.name != "bin") == [
        "autoenvbench", "enpire_envs", "enpire_real",
    ]  # fmt: skip
    (target / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # of this interpreter, without its checkout
    env = {**os.environ, "PYTHONSAFEPATH": "1"}

    def use(*args):
        return subprocess.run(
            [python, "-m", "autoenvbench", *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    where = subprocess.run([python, "-c", "import autoenvbench, enpire_envs; print(autoenvbench.__file__, enpire_envs.__file__)"],
                           cwd=tmp_path, env=env, capture_output=True, text=True)  # fmt: skip
    assert where.stdout.count(str(target)) == 2
    assert json.loads(use("score", "--policy", "reference", "-n", "2", "--json").stdout)["successes"] == 2
    # (Without the cage, which shows this environment and not the one that its packages are borrowed from.)
    done = use(
        "eval",
        "--agent",
        "cem",
        "--budget",
        "12s",
        "--held-out",
        "2",
        "--sandbox",
        "none",
        "--out",
        str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    assert (
        use("leaderboard", "add", str(next((tmp_path / "runs").iterdir())), "--dir", str(tmp_path / "board")).returncode
        == 0
    )
    assert use("leaderboard", "build", "--dir", str(tmp_path / "board")).returncode == 0


def test_trajectories_are_demonstrations_that_replay(capsys, tmp_path):
    import gymnasium as gym
    import numpy as np
    from enpire_envs.episode_file import Source, read_episode

    arguments = (
        "score",
        "--env",
        "ENPIRE/GPUInsertion-v0",
        "--policy",
        "reference",
        "-n",
        "2",
        "--trajectories",
        tmp_path / "d",
    )
    assert call(capsys, *arguments)[0] == 0
    files = sorted((tmp_path / "d").glob("*.episode"))
    assert len(files) == 2
    env = gym.make("ENPIRE/GPUInsertion-v0")
    for file in files:
        demo = read_episode(file, check=True)
        assert set(demo["source"]) == {Source.REFERENCE}
        observation, _ = env.reset(seed=demo.meta["seed"])
        assert np.array_equal(observation, demo["observation"][0])
        for action, after in zip(demo["action"], demo["observation"][1:], strict=True):
            observation, reward, *_ = env.step(action)
            assert np.array_equal(observation, after)
        assert reward == demo["reward"][-1] == 1
    env.close()
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "name a new folder" in err


def test_starts_out_of_distribution_stand_beside_the_others(capsys):
    tying = ("score", "--env", "ENPIRE/TieZipTie-v0", "--policy", "naive", "-n", "2", "--ood", "3", "--json")
    result = json.loads(call(capsys, *tying)[1])
    assert (result["episodes"], len(result["outcomes"])) == (2, 2)
    outside = result["out_of_distribution"]
    assert outside["episodes"] == 3
    assert outside["wilson95"][0] <= outside["success_rate"] <= outside["wilson95"][1]
    code, _, err = call(capsys, *tying, "--env-arg", "starts=ood")
    assert code == 2
    assert "leave --env-arg starts=... out" in err
