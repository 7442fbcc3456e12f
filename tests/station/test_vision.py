"""Agents that see nothing but numbers (`--vision none`): each way to a picture is tried, and the same tries find some with `native`."""

import json

import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.episode_file import read_episode

from autoenvbench.cli.main import make_parser
from autoenvbench.cli.run_arguments import run_config_from_args
from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.vision import check_vision
from autoenvbench.station.batch import Keep
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.workspace.bundling import send_head
from autoenvbench.workspace.make_workspace import make_workspace

HEADS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"ftyp")  # of PNG, JPEG and MP4
SCRIPT = "def run(tools):\n    print(tools.get_images())\n"
SEES = pytest.mark.parametrize("bench", [{"track": "station"}], indirect=True)
BLIND = pytest.mark.parametrize("bench", [{"track": "station", "vision": "none"}], indirect=True)


def pictures(bench) -> list[str]:
    """Files an agent sees that hold a picture, by what they begin with, contain, or name as a column."""
    found = []
    for path in (path for path in (bench.run_dir / "data").rglob("*") if path.is_file()):
        columns = read_episode(path).columns if path.suffix == ".episode" else ()
        if any(head in path.read_bytes() for head in HEADS) or any("evidence" in name for name in columns):
            found.append(path.name)
    return found


def frame(client, folder) -> bytes:
    """What the station's camera sees now."""
    client.download("/frames/top", folder / "frame.png", 1 << 20)
    return (folder / "frame.png").read_bytes()


def practise(bench, **asked):
    digest = send_head(bench.client(), bench.repo).digest
    return bench.client().job("/practice", {"digest": digest, "n": 1, "sheets": 5, **asked})


@SEES
def test_with_eyes_the_same_ways_lead_to_pictures(bench, tmp_path):
    assert practise(bench)["pictures"]
    assert frame(bench.client(), tmp_path).startswith(HEADS[0])
    assert pictures(bench)
    with pytest.raises(UserError, match="its agents see pictures themselves"):
        bench.client().job("/ask", {"question": "where is it?"})


@BLIND
def test_no_way_leads_to_a_picture(bench, tmp_path):
    agent = bench.client()
    with pytest.raises(UserError, match="frames are withheld"):
        frame(agent, tmp_path)
    with pytest.raises(UserError, match="answers about pictures are withheld"):
        agent.job("/ask", {"question": "where is it?"})
    with pytest.raises(UserError, match="films are withheld"):
        practise(bench, video=True)
    made = practise(bench)  # a failure, which leaves pictures otherwise
    assert (made["pictures"], made["successes"], made["videos"]) == (False, 0, [])
    assert len(list((bench.run_dir / "data/practice").glob("*.episode"))) == 1
    (bench.repo / "data").symlink_to(bench.run_dir / "data")
    code, _, said = bench.aeb("episodes", made["evaluation"], "--sheet")
    (bench.repo / "data").unlink()
    assert code == 2
    assert "has no pictures" in said
    bench.commit(SCRIPT)
    for path, more in (("/practice", {"n": 1}), ("/evaluate", {"n": 1})):
        with pytest.raises(UserError, match="scripts, whose tools have cameras, are withheld"):
            agent.job(path, {"digest": send_head(agent, bench.repo).digest, **more})
    assert pictures(bench) == []
    assert frame(bench.client(bench.admin_token), tmp_path).startswith(HEADS[0])  # people look on


def test_a_file_takes_no_evidence_from_a_cell_that_has_some(env, ledger, policy_dir, tmp_path):
    """Cameras of arms give a view of every episode, whether or not somebody asks for pictures."""
    cell, bundle = LocalCell(env, sandbox="none", track="open"), Bundle("c", "d", "", policy_dir(ZERO_POLICY))
    for sees in (True, False):
        keep = Keep(tmp_path / str(sees), secret=False, pictures=sees)
        judge(cell, ledger, bundle, "practice", 1, keep=keep, sheets=1)
        (file,) = keep.folder.iterdir()
        assert ("evidence.view" in read_episode(file).columns) is sees


def blind(*line, env="ENPIRE/PushT-v0"):
    line = ["eval", "--agent", "cem", "--env", env, "--vision", "none", *line]
    return run_config_from_args(make_parser().parse_args(line))


@pytest.mark.parametrize(("line", "sandbox", "why"), [
    (["--track", "open"], "bwrap", "say --track station"),
    (["--track", "station"], "none", "takes a cage"),
    (["--track", "station", "--regime", "tools"], "bwrap", "choose another regime"),
    (["--track", "station", "--env-arg", "obs_type=pixels"], "bwrap", "policies see pictures"),
])  # fmt: skip
def test_where_pictures_could_be_had_beside_the_door_no_run_begins(line, sandbox, why):
    config = blind(*line)
    env = make_env(config.env, config.env_kwargs)
    with pytest.raises(UserError, match=why):
        check_vision(config, env, sandbox)
    check_vision(config.model_copy(update={"vision": "native"}), env, sandbox)
    env.close()


def test_the_task_says_so(tmp_path):
    config = RunConfig(**json.loads(blind("--track", "station").model_dump_json()))
    env = make_env(config.env, config.env_kwargs)
    check_vision(config, env, "bwrap")
    told = []
    for name, run in (("blind", config), ("sees", config.model_copy(update={"vision": "native"}))):
        make_workspace(tmp_path / name, "cem-1", run, env)
        told.append("**No pictures.**" in (tmp_path / name / "TASK.md").read_text())
        assert (tmp_path / name / "TASK.md").read_text().count("def run(tools)") == (name == "sees")
    assert told == [True, False]
    env.close()
