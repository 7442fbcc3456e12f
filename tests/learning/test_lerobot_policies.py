"""`act` and `diffusion`: real LeRobot learns in its own environment, and what comes of it is a network that the station runs.

LeRobot's own `lerobot-eval` runs what it learnt, too, in our environments, which it finds as a plug-in (`study.lerobot_env`).
"""

import csv
import json
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from autoenvbench.errors import UserError
from autoenvbench.learning import act, diffusion, lerobot_place, lerobot_run
from autoenvbench.learning.settings import parse_settings
from autoenvbench.learning.train import train
from autoenvbench.make_env import make_env
from autoenvbench.station.networks import NetworkPolicy
from autoenvbench.study.score import score

ROOT = Path(lerobot_run.__file__).parents[2]
PYTHON = ROOT / ".tools" / "lerobot" / "bin" / "python"
pytestmark = pytest.mark.timeout(900)  # LeRobot starts slowly, and more so on a busy machine

SMALL = [
    "dim=32",
    "heads=2",
    "feedforward=64",
    "encoder_layers=1",
    "latent=4",
    "dropout=0.0",
    "average=0.9",
    "lr=0.003",
    "chunk=4",
]
ACT = [*SMALL, "batch=32", "updates=100"]
DIFFUSION = [
    "width=16",
    "horizon=8",
    "execute=3",
    "steps=2",
    "warmup=2",
    "average=0.9",
    "batch=32",
    "updates=60",
    "lr=0.003",
]
CAMERA = {"obs_type": "pixels_agent_pos", "max_episode_steps": 9}
#: Whose pictures the policies learn that see a camera: a simulation's, and a station's, in one kind of dataset.
SHOWN_AT = {"ENPIRE/PushT-v0": "simulated", "ENPIRE/PushT-real-v0": "seen at a station"}
#: Further runs, all in one process, since LeRobot takes ten seconds to start: algorithm, settings, whether it sees a camera.
RUNS = {
    "cut": (act, [*ACT, "updates=40"], False),
    "act camera": (act, [*SMALL, "batch=2", "updates=1", "ensemble=false", "execute=3", "successes=false"], True),
    "diffusion": (diffusion, DIFFUSION, False),
    "diffusion camera": (
        diffusion, [*DIFFUSION, "batch=2", "updates=1", "successes=false", "observed=1", "execute=1"], True
    ),
}  # fmt: skip
AT_STATION = RUNS["act camera"]
#: Learns the run that the harness asks for and all of these, and drives each policy as LeRobot saved it, by LeRobot's own select_action,
#: through what is in seen.npz.
MANY = (
    lerobot_run._ALONE
    + """
import pathlib
import numpy as np, torch
from autoenvbench.learning.lerobot_train import end_with_its_caller, main
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
end_with_its_caller()
whole = json.loads(sys.argv[2])
for told in (whole, *json.loads(pathlib.Path(whole["out"], "../many.json").read_text())):
    main(told)
    out = pathlib.Path(told["out"])
    kind = json.loads((out / "lerobot/config.json").read_text())["type"]
    policy = {"act": ACTPolicy, "diffusion": DiffusionPolicy}[kind].from_pretrained(out / "lerobot")
    before = PolicyProcessorPipeline.from_pretrained(out / "lerobot", config_filename="policy_preprocessor.json")
    after = PolicyProcessorPipeline.from_pretrained(out / "lerobot", config_filename="policy_postprocessor.json",
        to_transition=policy_action_to_transition, to_output=transition_to_policy_action)
    seen = np.load(out / "seen.npz")
    noise, said = np.random.default_rng(5), []
    for k in range(len(seen["numbers"])):
        numbers = torch.from_numpy(seen["numbers"][k])
        frame = {"observation.state": torch.zeros(0), "observation.environment_state": numbers}
        if "image" in seen:
            frame = {"observation.state": numbers, "observation.images.pixels": torch.from_numpy(seen["image"][k]).permute(2, 0, 1).float() / 255}
        more = {}
        if kind == "diffusion":
            shape = (1, policy.config.horizon, policy.config.action_feature.shape[0])
            more["noise"] = torch.from_numpy(noise.standard_normal((1, shape[1] * shape[2]), np.float32)).reshape(shape)
        said.append(after(policy.select_action(before(frame), **more))[0].numpy())
    np.save(out / "said.npy", said)
evaluations = json.loads(pathlib.Path(whole["out"], "../evaluations.json").read_text())
for name in [name for name in sys.modules if name.partition(".")[0] in json.loads(sys.argv[1])]:
    del sys.modules[name]  # from here on all is as where our packages are installed
sys.path[:0] = evaluations["path"]
from lerobot.scripts import lerobot_eval
sys.argv = ["lerobot-eval", *evaluations["command"]]
lerobot_eval.main()
from lerobot.configs.default import EvalConfig
from lerobot.configs.eval import EvalPipelineConfig
from lerobot.envs.configs import EnvConfig
sys.argv = ["", "--policy.path=" + evaluations["policy"]]
env = EnvConfig.get_choice_class("enpire")(**evaluations["env"])
out = pathlib.Path(evaluations["out"])
out.mkdir()
lerobot_eval.eval_main(EvalPipelineConfig(env, EvalConfig(1, 1), output_dir=out))  # as the command does: to parse it costs seconds
"""
)
TIGHT = {"tolerance": 0.05, "max_episode_steps": 20}  # too little time for some starts


@pytest.fixture(scope="module")
def runs(reach, shown, site, tmp_path_factory):
    """Folder of the runs: "whole", as the command line makes it, and those of `RUNS`."""
    if not PYTHON.exists():
        pytest.skip("the LeRobot environment is not there: make .tools/.lerobot")
    folder = tmp_path_factory.mktemp("lerobot")
    files = sorted(shown.glob("*.episode"))[:25]
    few = folder / "few"
    few.mkdir()
    for file in files:
        (few / file.name).symlink_to(file)
    for env_id, n in (("ENPIRE/PushT-v0", 2), ("ENPIRE/PushT-real-v0", 1)):
        score(env_id, "random", n, env_kwargs=CAMERA, trajectories=folder / SHOWN_AT[env_id], sandbox="none")
    many = []
    for name, (module, settings, camera) in [*RUNS.items(), ("station", AT_STATION)]:
        env = environment(reach, camera)
        settings = asdict(parse_settings(module.Settings, settings))
        source = SHOWN_AT["ENPIRE/PushT-real-v0" if name == "station" else "ENPIRE/PushT-v0"]
        dataset = folder / (f"{source} dataset" if camera else "whole/dataset")
        many.append({"out": str(folder / name), "seed": 3, "minutes": 10, "threads": 1, "resume": False, "module": module.__file__,
                     "settings": settings, "parts": lerobot_run._parts(env.observation_space), "source": str(folder / source),
                     "dataset": str(dataset)})  # fmt: skip
        if name == "cut":
            many.append({**many[-1], "resume": True, "settings": asdict(parse_settings(act.Settings, ACT))})
        look_around(env, folder / name)
        env.close()
    env = environment(reach, False)
    look_around(env, folder / "whole")
    env.close()
    (folder / "many.json").write_text(json.dumps(many))
    (folder / "evaluations.json").write_text(json.dumps(evaluations(folder, site)))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(lerobot_place.PROGRAM, raising=False)
        patch.setattr(lerobot_run, "_LEARN", MANY)
        train("act", reach, folder / "whole", demos=[few], minutes=10, seed=3, settings=ACT)
    return folder


def evaluations(folder, site):
    """Where our packages are, the plug-in as an installer leaves it, and what `lerobot-eval` is to do."""
    plugin = ROOT / "real/lerobot_robot_enpire"
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    info = folder / "installed" / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    command = ["--env.type=enpire", "--env.task=Example/Reach-v0", f"--env.kwargs={json.dumps(TIGHT)}", f"--policy.path={folder}/whole/lerobot",
               f"--output_dir={folder}/evaluated", "--eval.n_episodes=10", "--eval.batch_size=5", "--seed=0"]  # fmt: skip
    return {
        "path": [str(path) for path in (info.parent, site, ROOT, ROOT / "envs", ROOT / "real", plugin)], "command": command,
        "policy": f"{folder}/station/lerobot", "env": {"task": "PushT-v0", "kwargs": CAMERA}, "out": f"{folder}/elsewhere",
    }  # fmt: skip


def environment(reach, camera):
    return make_env("ENPIRE/PushT-v0", CAMERA) if camera else make_env(reach)


def look_around(env, out):
    """Observations of random actions, for LeRobot."""
    out.mkdir(exist_ok=True)
    env.action_space.seed(1)
    seen = [env.reset(seed=1)[0], *(env.step(env.action_space.sample())[0] for _ in range(7))]
    camera = isinstance(env.observation_space, spaces.Dict)
    images = {"image": np.stack([o["pixels"] for o in seen])} if camera else {}
    np.savez(out / "seen.npz", numbers=np.float32([o["agent_pos"] if camera else o for o in seen]), **images)


def losses(run):
    with (run / "curve.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_run_that_was_cut_comes_to_the_same_network(runs):
    assert (runs / "cut/network.onnx").read_bytes() == (runs / "whole/network.onnx").read_bytes()
    assert losses(runs / "cut") == losses(runs / "whole")


def test_the_loss_falls(runs):
    first, *_, last = losses(runs / "whole")
    assert last < 0.6 * first
    first, *_, last = losses(runs / "diffusion")
    assert last < min(first, 0.8)  # 1 is what it costs to see no noise at all


@pytest.mark.parametrize("name", ["whole", *sorted(set(RUNS) - {"cut"})])
def test_the_network_acts_as_lerobots_own_policy(runs, reach, name):
    env = environment(reach, "camera" in name)
    network = NetworkPolicy(runs / name / "network.onnx", env.observation_space, env.action_space)
    env.close()
    said, seen = np.load(runs / name / "said.npy"), np.load(runs / name / "seen.npz")
    for _ in range(2):  # nothing is left of the first episode in the second
        network.reset(None, 5)
        for k, expected in enumerate(said):
            shown = seen["numbers"][k]
            action = network.act({"agent_pos": shown, "pixels": seen["image"][k]} if "image" in seen else shown)
            assert action == pytest.approx(expected, abs=1e-4), k
    assert np.ptp(said, axis=0).max() > 0.01


@pytest.mark.cage
def test_the_bundle_solves_the_task_in_its_cage(runs, reach):
    assert (score(reach, str(runs / "whole/policy"), 10))["success_rate"] >= 0.8
    made = json.loads((runs / "whole/policy/policy.json").read_text())["made_by"]
    assert (made["algorithm"], made["steps"], made["seed"]) == ("act", 100, 3)


def test_lerobots_evaluation_comes_to_what_score_says(runs, reach):
    evaluated = json.loads((runs / "evaluated/eval_info.json").read_text())
    said = score(reach, str(runs / "whole/policy"), 10, env_kwargs=TIGHT, sandbox="none")["outcomes"]
    assert evaluated["per_task"][0]["metrics"]["successes"] == said
    assert 0 < sum(said) < 10  # so the outcomes say which start is which


def test_what_learnt_at_a_station_is_evaluated_in_simulation(runs):
    simulated, station = (
        json.loads((runs / f"{at} dataset/meta/info.json").read_text())["features"] for at in SHOWN_AT.values()
    )
    for name in ("observation.state", "observation.images.pixels", "action"):
        assert simulated[name] == station[name]
    evaluated = json.loads((runs / "elsewhere/eval_info.json").read_text())
    assert evaluated["per_task"][0]["metrics"]["successes"] == [False]  # in nine steps


def test_what_is_missing_is_said(reach, shown, tmp_path, monkeypatch):
    for program, words in ((sys.executable, "it has no lerobot"), ("/nowhere/python", "No such file")):
        monkeypatch.setenv(lerobot_place.PROGRAM, program)
        with pytest.raises(
            UserError, match=f"{program} cannot train LeRobot's policies .*{words}.*make .tools/.lerobot.*pip install"
        ):
            train("act", reach, tmp_path / "run", demos=[shown])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (act, "execute=3", "goes with ensemble=false"),
        (act, "dim=36", "multiple of"),
        (diffusion, "execute=16", "at most horizon - observed"),
        (diffusion, "horizon=12", "multiples of 8"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(module, settings, words):
    module.check(module.Settings())
    with pytest.raises(UserError, match=words):
        module.check(parse_settings(module.Settings, [settings]))
