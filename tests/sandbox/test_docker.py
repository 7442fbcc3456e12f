"""The Docker cage. The hostile suite runs in it with AUTOENVBENCH_TEST_SANDBOX=docker; here, that it is the same cage."""

from pathlib import Path

import pytest

from autoenvbench.errors import UserError
from autoenvbench.sandbox import cage, docker
from autoenvbench.sandbox.cage import choose_sandbox
from autoenvbench.study.score import score

NOISY = """
import numpy as np
class Policy:
    def __init__(self, observation_space, action_space):
        self.shape = action_space.shape
    def reset(self, observation):
        print("garbage on standard output")
    def act(self, observation):
        return np.tanh(observation[: self.shape[0]] * 3)
"""


def command(**more):
    mounts = [(Path("/etc/passwd"), Path("/etc/passwd"), False), (Path("/tmp"), Path("/workspace"), True)]
    given = {"pipes": False, "tmp": 1 << 20, "label": "run"} | more
    return docker.command(
        "name", mounts, [Path("/hidden")], Path("/workspace"), {"A": "b c"}, ["python", "x.py"], **given
    )


def test_a_container_gets_nothing_that_is_not_given():
    line = command()
    text = " ".join(line)
    for rule in ("--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit"):
        assert rule in text
    assert "type=bind,src=/etc/passwd,dst=/etc/passwd,readonly" in line
    assert "type=bind,src=/tmp,dst=/workspace" in line
    writable = [part for part in line if part.startswith("type=bind") and not part.endswith(",readonly")]
    assert writable == ["type=bind,src=/tmp,dst=/workspace"]
    assert line[-3:] == [docker.IMAGE, "python", "x.py"]
    assert "--interactive" not in line
    assert "--interactive" in command(pipes=True)


def test_a_container_gets_the_gpu_that_a_cage_shows(tmp_path, monkeypatch):
    assert "--device" not in command()
    for name in ("nvidia0", "nvidiactl", "dri", "sda"):
        (tmp_path / name).touch()
    monkeypatch.setattr(cage, "_GPU", tmp_path)
    line = command(devices=cage.gpu_devices())
    given = {line[at + 1] for at, part in enumerate(line) if part == "--device"}
    assert given == {str(tmp_path / name) for name in ("nvidia0", "nvidiactl", "dri")}


def test_without_docker_the_run_is_refused(monkeypatch):
    monkeypatch.setattr(docker, "problem", lambda: "Docker is not installed")
    with pytest.raises(UserError, match="use --sandbox bwrap"):
        choose_sandbox("docker", fallback=True)


@pytest.mark.cage
def test_the_same_episodes_as_in_bubblewrap(policy_dir):
    if problem := docker.problem():
        pytest.skip(problem)
    folder = str(policy_dir(NOISY))
    results = [
        score("ENPIRE/PushT-v0", folder, 3, env_kwargs={"max_episode_steps": 40}, sandbox=s)
        for s in ("bwrap", "docker")
    ]
    for result in results:
        for key in ("seconds_per_episode", "realtime_factor", "sandbox"):
            del result[key]
    assert results[0] == results[1]
