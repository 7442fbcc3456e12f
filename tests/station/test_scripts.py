"""Script policies: the tools work from cameras and proprioception alone, what fails is told apart, what is gated stays shut."""

import json
from pathlib import Path

import numpy as np
import pytest
from enpire_envs.cell import CellFault
from enpire_envs.episode_file import EpisodeWriter
from enpire_envs.remote.venvs import ROBOCASA
from enpire_envs.tools.config import ToolsConfig
from enpire_real.motors import MotorFault

from autoenvbench.make_env import make_env
from autoenvbench.station.policy_process import PolicyLimits, PolicyProcess
from autoenvbench.station.script_rollout import ScriptSettings, run_script_episode
from autoenvbench.station.scripts import is_script
from autoenvbench.study.score import score

pytestmark = pytest.mark.cage
EXAMPLES = Path(__file__).parents[2] / "examples"
LIMITS = PolicyLimits(act_cpu_s=0.3, act_wall_s=20.0, script_cpu_s=20.0, memory_mb=1024)


@pytest.fixture(scope="module")
def pusht():
    env = make_env("ENPIRE/PushT-v0")
    yield env
    env.close()


@pytest.fixture
def run(pusht, policy_dir):
    """Runs a script's body on Push-T: run(body, **tools) -> (outcome, what it printed)."""

    def go(body, env=None, limits=LIMITS, ask=None, record=None, **tools):
        source = "import numpy as np\n\ndef run(tools):\n" + "\n".join(
            f"    {line}" for line in body.strip().splitlines()
        )
        env = env or pusht
        settings = ScriptSettings(ToolsConfig.of(tools), ask)
        with PolicyProcess(
            policy_dir(source), env.observation_space, env.action_space, limits, "bwrap", "open"
        ) as process:
            outcome = run_script_episode(env, process, 5, {}, settings, record=record)
            return outcome, process.output()

    return go


@pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")
@pytest.mark.parametrize(
    ("env_id", "script", "episodes", "needed"),
    [
        ("ENPIRE/Robosuite-Lift-v0", "lift", 3, 2),
        ("ENPIRE/Robosuite-Door-v0", "door", 2, 1),
        ("ENPIRE/RoboCasa-OpenDrawer-v0", "open_drawer", 1, 1),
    ],
)
def test_example_scripts_solve_from_cameras_alone(env_id, script, episodes, needed, tmp_path):
    """A few episodes here; README has the command and the figures of many."""
    result = score(
        env_id, str(EXAMPLES / "scripts" / script), episodes, seed=4, sandbox="bwrap", trajectories=tmp_path / "t"
    )
    assert result["successes"] >= needed, (result["failures"], result["failure_details"])
    calls = [json.loads(line) for line in next((tmp_path / "t").glob("*.calls.jsonl")).read_text().splitlines()]
    assert {"close_gripper", "open_gripper"} <= {call["tool"] for call in calls}
    assert not any(call["group"] == "gated" for call in calls)
    assert any((tmp_path / "t").glob("*.mp4"))


def test_every_call_takes_time_and_all_of_it_goes_through_step(run):
    record = EpisodeWriter()
    outcome, said = run(
        """
times = [tools.get_robot_state()["time"] for _ in range(3)]
tools.get_camera_image()
before = tools.get_robot_state()
moved = tools.move_eef(before["position"] + np.array([0.04, 0.0, 0.0]))
after = tools.get_robot_state()
print(times, moved["reached"], np.round(after["position"] - before["position"], 3).tolist())
""",
        record=record,
    )
    assert not outcome.success
    assert outcome.steps == len(record) == sum(call["steps"] for call in outcome.calls)
    assert all(call["steps"] >= 1 for call in outcome.calls)
    assert "[0.0, 0.1, 0.2] True [0.04" in said
    assert outcome.reason == "predicate"


def test_fine_tasks_are_moved_finely(run):
    """Pin insertion's hand steps 0.3 mm: a nudge of one millimetre goes that far, within a tenth."""
    env = make_env("ENPIRE/PinInsertion-v0")
    _, said = run(
        """
before = tools.get_robot_state()["position"]
tools.nudge([0.001, 0, 0])
print(float((tools.get_robot_state()["position"] - before)[0]))
""",
        env=env,
    )
    env.close()
    assert abs(float(said) - 0.001) < 3e-4


def test_the_time_limit_ends_a_script_wherever_it_is(run):
    outcome, said = run("while True:\n    tools.get_robot_state()")
    assert outcome.steps == 300
    assert outcome.reason == "time_limit"
    assert outcome.detail is None
    outcome, said = run("""
while True:
    try:
        tools.get_robot_state()
    except Exception as error:
        if "time_limit" in str(error):
            print(type(error).__name__, error, flush=True)
""")  # it does not take no for an answer: it is stopped
    assert outcome.steps == 300
    assert "EpisodeOver the episode is over: time_limit" in said


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        ("tools.detect_object('pink elephant')", "perception", "nothing like"),
        ("tools.fly()", "tool_error", "there is no tool 'fly' here; there are: get_robot_state"),
        ("tools.move_eef([1, 2])", "tool_error", "expected 3 finite numbers"),
        ("tools.nudge([1.0, 0, 0])", "tool_error", "at most 0.1 m"),
        ("tools.move_eef(postion=[0, 0, 0])", "tool_error", "unexpected keyword argument 'postion'"),
        ("tools.move_eef(np.array(['a', 'b', 'c']))", "policy_error", "cannot be sent"),
        ("tools.nudge({'a': [1, {'b': None}]})", "tool_error", "nudge"),
        ("tools.set_gripper(float('inf'))", "tool_error", "there is no tool"),
        ("tools.get_camera_image('left')", "tool_error", "there are: top"),
        ("1 / 0", "policy_error", "ZeroDivisionError"),
        ("while True: pass", "run_cpu_limit", "CPU time"),
    ],
)
def test_failures_are_told_apart(run, body, reason, detail):
    outcome, _ = run(body, limits=PolicyLimits(act_cpu_s=0.3, script_cpu_s=1.0, memory_mb=1024))
    assert outcome.reason == reason
    assert detail in outcome.detail


@pytest.mark.parametrize(
    "call",
    [
        "tools.move_eef([1.5e308] * 3)", "tools.move_eef([1e308] * 3, [0.0] * 4)", "tools.rotate_gripper_in_place(float('nan'))",
        "tools.nudge([0.01, 0, 0], timeout=float('nan'))", "tools.move_eef([0, 0, 0], tolerance='x')",
        "tools.freespace_move(np.zeros(3, 'S3'))", "tools.detect_object(np.array([{}][:0]), 3)", "tools.nudge([[0.01, 0, 0]])",
    ],
)  # fmt: skip
def test_what_no_tool_is_made_for_is_the_scripts_own_outcome(run, call):
    outcome, _ = run(f"try:\n    {call}\nexcept tools.ToolError:\n    pass\ntools.get_robot_state()")
    assert outcome.reason in ("predicate", "tool_error", "perception")
    assert (outcome.detail, outcome.success, outcome.infrastructure) == (None, False, False)
    assert json.dumps(outcome.calls)


def test_a_caught_tool_error_is_no_failure_of_the_policy(run):
    outcome, said = run("""
try:
    tools.detect_object("pink elephant")
except tools.ToolError as error:
    print("missed", error)
tools.nudge([0.02, 0, 0])
""")
    assert "missed nothing like 'pink elephant' in top; look at get_camera_image" in said
    assert outcome.detail is None
    assert outcome.reason == "perception"  # its last trouble, which is what a reader wants to know


def test_perception_finds_the_t_where_it_lies(run, pusht):
    """Against the truth, in the frame of everything else."""
    _, said = run("print([float(x) for x in tools.detect_object('red T')[0]['position'][:2]])")
    found = json.loads(said.strip().splitlines()[-1])
    block = pusht.unwrapped.cell.read().block
    assert np.hypot(found[0] - block[0], found[1] - block[1]) < 0.03  # the median of its pixels is not its centroid


def test_images_depth_and_calibration_agree(run, pusht):
    """The fingertip's own position, projected into the image by the tools' matrices, has the table's depth or less."""
    _, said = run(
        """
k, pose, depth = tools.get_camera_intrinsics(), tools.get_camera_extrinsics(), tools.get_camera_depth()
image = tools.get_camera_image()
tip = tools.get_robot_state()["position"]
seen = (np.append(tip[:2], 0.0) - pose[:3, 3]) @ pose[:3, :3]
u, v = k[0, 0] * seen[0] / seen[2] + k[0, 2], k[1, 1] * seen[1] / seen[2] + k[1, 2]
print(image.shape, depth.shape, bool(0 < u < 320 and 0 < v < 240), float(seen[2] - depth[int(round(v)), int(round(u))]))
""",
        width=320,
        height=240,
    )
    assert said.startswith("(240, 320, 3) (240, 320) True ")
    assert 0.005 < float(said.split()[-1]) < 0.3  # the tool stands between


GATED = ("get_task_info", "reset_env", "reset_to_initial", "get_oracle_targets")


@pytest.mark.parametrize(("mode", "open_"), [("canonical", ()), ("interactive", GATED[:3]), ("oracle", GATED)])
def test_what_is_gated_is_answered_by_mode(run, mode, open_):
    outcome, said = run(
        f"""
for name in {GATED}:
    assert name not in tools
    try:
        print(name, "OPEN", getattr(tools, name)())
    except tools.ToolError as error:
        print(name, "SHUT", error)
""",
        mode=mode,
    )
    for name in GATED:
        assert f"{name} {'OPEN' if name in open_ else 'SHUT'}" in said
    shut = [call for call in outcome.calls if not call["ok"]]
    assert [call["kind"] for call in shut] == ["gated"] * (4 - len(open_))


def test_a_study_takes_eyes_away_at_the_station(run):
    blind = ("get_camera_image", "get_camera_depth", "detect_object", "segment_object", "vlm_query")
    _, said = run(f"print([name in tools for name in {blind}])\ntools.get_camera_image()", vision="none")
    assert "[False, False, False, False, False]" in said
    asked = []

    def ask(question, image):
        asked.append((question, image.shape))
        return "to the left"

    _, said = run(
        f"print([name in tools for name in {blind}], tools.vlm_query('where is it?'))", ask=ask, vision="vlm", vlm="m"
    )
    assert "[False, False, False, False, True] to the left" in said
    assert asked == [("where is it?", (240, 320, 3))]


def test_prompts_are_reworded_where_a_study_says_so(run):
    asked = []

    def ask(question, image):
        asked.append((question, image))
        return "red T"

    _, said = run("print(len(tools.detect_object('the letter to push')))", ask=ask, prompts="rewritten", vlm="m")
    assert int(said) >= 1
    assert "the letter to push" in asked[0][0]
    assert asked[0][1] is None


def test_a_fault_of_the_cell_in_the_middle_of_a_call_ends_the_episode(run, pusht, monkeypatch):
    """A device that failed is the machine's fault; a simulator that cannot go on followed from what it was told."""
    cell = pusht.unwrapped.cell
    good = cell.apply
    for cause, infrastructure in ((MotorFault("a cable came loose"), True), (None, False)):

        def lost(command, cause=cause):
            raise CellFault("it failed") from cause

        monkeypatch.setattr(cell, "apply", lost)
        outcome, _ = run("tools.nudge([0.02, 0, 0])")
        assert (outcome.reason, outcome.infrastructure, outcome.success) == ("cell_fault", infrastructure, False)

    def broken(command):
        raise ZeroDivisionError("nobody thought of that")

    monkeypatch.setattr(cell, "apply", broken)
    outcome, _ = run("tools.nudge([0.02, 0, 0])")
    assert (outcome.reason, outcome.infrastructure, outcome.success) == ("env_error", False, False)
    assert "nobody thought of that" in outcome.detail
    monkeypatch.setattr(cell, "apply", good)
    assert run("tools.nudge([0.02, 0, 0])")[0].detail is None


def test_what_a_script_is(tmp_path):
    file = tmp_path / "policy.py"
    for source, expected in (
        ("def run(tools): pass", True),
        ("class Policy: pass", False),
        ("class Policy: pass\ndef run(tools): pass", False),
        ("def run(tools: pass", False),
        ("if True:\n    def run(tools): pass", False),
    ):
        file.write_text(source)
        assert is_script(file) is expected
    assert is_script(tmp_path / "missing.py") is False
