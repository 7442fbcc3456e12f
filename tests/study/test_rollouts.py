"""`autoenvbench compare RUN_A RUN_B`: the answers of runs from the same starts, on a page that is played by keyboard, and in a picture."""

import hashlib
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from conftest import ZERO_POLICY

from autoenvbench.cli.main import main
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import CommitEvent, RunEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.bundles import policy_digest

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\u202egnp"
SMALL = {"visualization_width": 48, "max_episode_steps": 24}  # pictures take most of the time
PUSHING = ZERO_POLICY.replace("np.zeros(self.shape)", "np.full(self.shape, 0.5)")


def write_run(folder, agent, policy, **config):
    """A run whose answer is this policy."""
    tree = folder / "bundles/made/tree"
    tree.mkdir(parents=True)
    (tree / "policy.py").write_text(policy)
    digest = policy_digest(tree)
    (tree.parent / "commit").write_text(f"{'c' * 40}\nanswer")
    tree.parent.rename(folder / "bundles" / digest)
    ledger = Ledger(folder / "ledger.sqlite", RunClock.start(3600))
    about = RunConfig(**{"agent": agent, "env": "ENPIRE/TieZipTie-v0", "env_kwargs": SMALL, "budget_s": 60, **config})
    ledger.append(RunEvent(phase="started", run_id=folder.name, config=about.model_dump(), fingerprint="0" * 16))
    ledger.append(CommitEvent(phase="starter", commit="c" * 40, digest=digest))
    ledger.close()
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [str(write_run(root / "still", HOSTILE, ZERO_POLICY)), str(write_run(root / "pushes", "cem", PUSHING))]


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    assert main(["compare", *runs, "--starts", "2", "--out", str(out), "--sandbox", "none"]) == 0
    return out


def test_a_picture_has_a_row_a_start_and_a_column_an_answer(made):
    picture = cv2.imread(str(made / "compare.png"))
    assert picture.shape[0] > 4 * 100
    assert picture.shape[1] > 2 * 300
    assert np.std(picture) > 10


def test_answers_are_shown_from_the_same_starts(made):
    page = (made / "compare.html").read_text()
    assert re.findall(r'<section id="([a-z]+-\d)"', page) == ["id-1", "id-2", "ood-1", "ood-2"]
    sheets = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert len(sheets) == 8
    digests = [hashlib.sha256(sheet.encode()).digest() for sheet in sheets]
    assert len(set(digests)) == 8  # no start is that of another, and the two policies move differently
    assert page.count("made with another version of the environment") == 2


def test_a_film_is_opened_at_a_moment_and_played_by_keyboard(made, browser):
    for width, dark in ((1280, False), (390, True)):
        browser.open((made / "compare.html").resolve().as_uri() + "?episode=ood-2&t=0.6", width, dark)
        chosen = "document.querySelector('section.chosen')"
        assert browser.run(f"{chosen}.id") == "ood-2"
        assert browser.run("document.querySelector('#now').textContent") == "0.6 s"
        frames = (
            f"[...{chosen}.querySelectorAll('canvas')].map(c => [Number(c.dataset.shown), Number(c.dataset.frames)])"
        )
        shown = browser.run(frames)
        assert len(shown) == 2
        assert all(0 < k < n - 1 for k, n in shown)
        browser.shoot(f"compare-{width}")
        browser.press("ArrowUp")
        browser.wait(f"{chosen}.id === 'ood-1'")
        browser.press(" ", text=" ")
        browser.wait(
            f"{frames}.every(([k, n]) => k === n - 1) && document.querySelector('#play').textContent === 'Play'"
        )
        assert browser.run("document.querySelector('#link').search").startswith("?episode=ood-1&t=")
        drawn = f"[...{chosen}.querySelectorAll('canvas')].map(c => new Set(c.getContext('2d').getImageData(0, 0, 40, 40).data).size)"
        assert min(browser.run(drawn)) > 5
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert "</script><img src=x" in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('img').length") == 8
    assert browser.said == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{0} reference", "is a run and reference is none"),
        ("{0} {0}", "named twice"),
        ("{0} {1} -n 5", "leave -n out"),
        ("{0} {other}", "starts can be shared by runs of one environment alone"),
        ("{0} {empty}", "without it nothing can be run again"),
        ("reference naive random", "a comparison is of two"),
        ("reference naive random", "runs are folders with a ledger.sqlite, and none of these is one"),
        ("reference naive --starts 3", "--starts and --out are of runs"),
        ("reference naive --starts 3", "runs are folders with a ledger.sqlite, and none of these is one"),
        ("{asks}", "its tools reach servers (segmenter_url, vlm), which are not asked on a stranger's word"),
        ("{opens}", "arguments task_file are more than numbers and words; where you know who made it, add --trust"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, tmp_path, capsys, line, why):
    other = write_run(tmp_path / "other", "cem", ZERO_POLICY, env="ENPIRE/PushT-v0")
    empty = write_run(tmp_path / "empty", "cem", ZERO_POLICY)
    (empty / "bundles").rename(empty / "elsewhere")
    servers = {"vlm": "gpt-5.5", "segmenter_url": "http://169.254.169.254/"}
    asks = write_run(tmp_path / "asks", "cem", ZERO_POLICY, tools=servers)
    opens = write_run(tmp_path / "opens", "cem", ZERO_POLICY, env_kwargs={"task_file": "../secret"})
    words = line.format(*runs, other=other, empty=empty, asks=asks, opens=opens).split()
    assert (
        main(["compare", *words, "--out", str(tmp_path / "out")] if "random" not in words else ["compare", *words]) == 2
    )
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_run_alone_is_shown_and_told_as_json(runs, tmp_path, capsys):
    assert main(["compare", runs[1], "--starts", "1", "--out", str(tmp_path), "--sandbox", "none", "--json"]) == 0
    (side,) = json.loads(capsys.readouterr().out)["runs"]
    assert (side["run"], side["id"]["episodes"], side["ood"]["episodes"]) == ("pushes", 1, 1)


def test_folders_that_are_neither_runs_nor_policies_are_said_to_be_neither(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "no"), str(tmp_path / "no2"), "--sandbox", "none"]) == 2
    said = capsys.readouterr().err
    assert "does not exist" in said
    assert "none of these is one" in said


def test_who_trusts_a_run_has_its_answer_run_and_copies_of_a_run_are_two_sides(tmp_path, capsys):
    tools = {"segmenter_url": "http://127.0.0.1:9/"}
    short = {**SMALL, "max_episode_steps": 4}
    run = write_run(tmp_path / "run", "cem", ZERO_POLICY, tools=tools, env_kwargs=short)
    copy = shutil.copytree(run, tmp_path / "elsewhere/run")
    line = ["compare", str(run), str(copy), "--starts", "1", "--out", str(tmp_path), "--sandbox", "none", "--json"]
    assert main([*line, "--trust"]) == 0
    sides = json.loads(capsys.readouterr().out)["runs"]
    assert [(side["run"], side["id"]["episodes"], side["ood"]["episodes"]) for side in sides] == [("run", 1, 1)] * 2
