"""A board survives whatever lies in its folder: scores, broken files, markup."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from board import verified, verify_all, write_run

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard, ranking
from autoenvbench.record.events import TokensEvent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run-0")


def bad_files(folder, run):
    good = json.loads((run / "result.json").read_text())

    def variant(**changes):
        return json.dumps({**good, **changes})

    texts = {
        "tokens": variant(tokens={"calls": "many"}), "tokens2": variant(tokens=[1]), "tokens3": variant(tokens={"calls": 1}),
        "verified": variant(verification="verified"), "version": variant(version=1), "extra": variant(stars=5),
        "times": variant(to_threshold={"0.8": {"time_s": None}}), "infinite": variant(robot_s=0).replace('"robot_s": 0', '"robot_s": 1e999'),
        "nan": variant(mtu=1).replace('"mtu": 1', '"mtu": NaN'), "rate": variant(held_out={**good["held_out"], "success_rate": 1.0}),
        "streak": variant(held_out={**good["held_out"], "streak": 500}), "path": variant(run_id="../../x"), "deep": "[" * 200_000,
        "empty": "", "list": "[]", "null": "null", "date": variant(date="yesterday"), "renamed": variant(run_id="another"),
        "long": '{"version": ' + "9" * 10_000 + "}", "huge": " " * (5 << 20),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text)
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    return {*texts, "binary", "folder", "pipe", "loop", "zero"}


def test_one_bad_submission_never_breaks_the_board(run, tmp_path):
    board = tmp_path / "board"
    leaderboard.add(run, board)
    bad = bad_files(board / "submissions", run)
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "leaderboard", "build", "--dir", board],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    page = (board / "README.md").read_text()
    assert "| cem 1.0 | 1 | 75.0 % |" in page
    listed = page[page.index("## Broken submissions") :]
    for name in bad:
        assert f"{name}.json" in listed
        assert f"left out {name}.json: " in done.stderr


MARKUP = "<img src=x onerror=alert(1)>[x](javascript:alert(1)) `y` | z \x1b[31m \u202e <!-- \n# head"


def test_what_submitters_wrote_does_nothing_on_a_page(tmp_path):
    board = tmp_path / "board"
    for k in range(3):
        call = TokensEvent(model=MARKUP, status=200, input=10, output=5)
        leaderboard.add(
            write_run(tmp_path / f"run-{k}", number=k, env="ENPIRE/Robosuite-Lift-v0", agent=MARKUP, effort=MARKUP, agent_args=[MARKUP], regime=MARKUP, goal="success>=1",
                      base_url=MARKUP, env_kwargs={MARKUP: MARKUP}, calls=[call], started={"compute_class": MARKUP, "fingerprint": MARKUP}), board,
        )  # fmt: skip
    (board / "submissions/<b>x|y.json").write_text("no")
    verify_all(board)
    leaderboard.build(board)
    for name in ("README.md", "index.html"):
        page = (board / name).read_text()
        assert "onerror" in page  # it is shown ...
        assert not re.search(
            "<img|<b>x|<!--|javascript:alert\\(1\\)\\)[^<]*</a|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page
        )
    page = (board / "README.md").read_text()
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]", page)
    table = [line for line in page.splitlines() if line.startswith("| 1 gold ")]
    assert len(table) == 1
    assert len(re.findall(r"(?<!\\)\|", table[0])) == 13


def test_the_boards_pages_are_what_its_submissions_give(tmp_path):
    """The repository's own."""
    own = Path(__file__).parents[2] / "leaderboards"
    board = tmp_path / "board"
    shutil.copytree(own, board)
    _, broken = leaderboard.build(board)
    assert broken == {}
    for name in ("README.md", "index.html", "result.schema.json"):
        assert (board / name).read_text() == (own / name).read_text(), (
            f"type: autoenvbench leaderboard build, and commit {name}"
        )


# -- scores ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def score():
    from autoenvbench.study.score import score

    return json.loads(json.dumps(score("ENPIRE/PushT-v0", "random", 6)))


def test_a_score_is_filed_as_self_reported_and_never_ranked(score, tmp_path):
    file = tmp_path / "score.json"
    for seed in range(3):
        file.write_text(json.dumps({**score, "seed": seed, "policy": "mine"}))
        leaderboard.add(file, tmp_path / "board")
    found = leaderboard.read(tmp_path / "board").results.values()
    # Even if its file is edited in the board's folder to claim that nothing is against it.
    claimed = [r.model_copy(update={"unranked_because": []}) for r in found]
    (section,) = ranking.sections(claimed, verified(claimed))
    assert section.tables == {}
    assert "no ledger bears them out" in section.unranked[0].note


def test_a_score_that_contradicts_itself_or_claims_more_is_refused(score, tmp_path):
    file = tmp_path / "score.json"
    for change in ({"successes": 6}, {"success_rate": 1.0}, {"wilson95": [0.9, 1.0]}, {"streak": 6}, {"pass_at_8": 1.0}, {"episodes": 7},
                   {"outcomes": [True] * 6}, {"failures": {}}, {"score": 1.5}, {"score": "nan"}, {"kind": "better"}, {"verification": "verified"},
                   {"unranked_because": []}, {"policy_tokens": -1}, {"fingerprint": None}, {"scenes": []}):  # fmt: skip
        file.write_text(json.dumps({**score, **change}))
        with pytest.raises(UserError, match="not what `autoenvbench score"):
            leaderboard.add(file, tmp_path / "board")
    for name in score:
        file.write_text(json.dumps({k: v for k, v in score.items() if k != name}))
        with pytest.raises(UserError, match="not what `autoenvbench score"):
            leaderboard.add(file, tmp_path / "board")
