"""`aeb` at a real station: what it says, how it ends, and which exit code it gives."""

import json
import os
import subprocess
import sys

from conftest import ZERO_POLICY

from autoenvbench.record.events import EvaluationEvent

BUSY = ZERO_POLICY.replace(
    "return np.zeros(self.shape)",
    "import time\n        began = time.process_time()\n        while time.process_time() < began + 5: pass",
)


def shell(bench, line):
    """A command line in the agent's repository, with `aeb` on its path."""
    aeb = f'aeb() {{ "{sys.executable}" -m autoenvbench.workspace.aeb "$@"; }}; set -o pipefail; '
    return subprocess.run(["bash", "-c", aeb + line], cwd=bench.repo, env={**os.environ, "HOME": str(bench.home)},
                          capture_output=True, text=True, timeout=120)  # fmt: skip


def test_exit_code_5_says_that_the_policy_cannot_run_whatever_stops_it(bench):
    bench.commit(BUSY)
    code, out, _ = bench.aeb("practice", "-n", "2")
    assert code == 5, out
    assert "2 x act_cpu_limit, last stage" in out


def test_after_the_run_every_verb_says_so_in_a_line(bench):
    bench.station.__exit__()
    for verb in (
        ["status"],
        ["idea", "too late"],
        ["practice"],
        ["evaluate"],
        ["submit"],
        ["episodes"],
        ["note", "late"],
    ):
        code, out, err = bench.aeb(*verb)
        assert (code, out) == (3, ""), verb
        assert err == "aeb: the run is over: its station is closed, and nothing more is run or counted\n"
    assert json.loads(bench.aeb("status", "--json")[1])["exit_code"] == 3


def test_interactive_is_for_scripts(bench):
    code, _, err = bench.aeb("practice", "-n", "1", "--interactive")
    assert code == 2
    assert err.count("\n") == 1
    assert "def run(tools)" in err
    assert not list(bench.ledger.events("evaluation"))


def test_who_reads_no_further_ends_no_job_and_sees_no_traceback(bench):
    done = shell(bench, "aeb status | head -1; aeb status | true")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("environment")
    done = shell(bench, "aeb evaluate -n 3 | true")
    assert (done.returncode, done.stderr) == (0, "")
    assert [e.payload.phase for e in bench.ledger.events("evaluation")] == ["started", "finished"]


def test_a_long_idea_is_shortened_and_the_rest_of_the_line_still_runs(bench):
    words = "push " * 60 + "and see"
    done = shell(bench, f"aeb idea '{words}' && aeb evaluate -n 1")
    assert done.returncode == 0, done.stderr
    assert "first 200 of 307 characters" in done.stdout
    (idea,) = [e.payload for e in bench.ledger.events("idea")]
    assert len(idea.title) == 200
    assert words[:190] in idea.title
    (note,) = [e.payload for e in bench.ledger.events("note")]
    assert note.text == f"I1: {words}"
    assert "200 characters" in bench.aeb("idea", "--help")[1]


def test_an_evaluation_registers_the_idea_that_it_is_given_in_words(bench):
    code, out, _ = bench.aeb("evaluate", "-n", "1", "--idea", "Stand still, as a baseline")
    assert code == 0
    assert "I1 registered" in out
    started = next(e.payload for e in bench.ledger.events("evaluation"))
    assert started.idea == "I1"
    order = [e.kind for e in bench.ledger.events("idea", "evaluation")]
    assert order == ["idea", "evaluation", "evaluation"]
    assert bench.aeb("evaluate", "-n", "1", "--idea", "I9")[0] == 2
    bench.aeb("evaluate", "-n", "1", "--idea", "What I knew by then")
    first, second = json.loads(bench.aeb("status", "--json")[1])["ideas"]
    assert first == "I1 Stand still, as a baseline  [recorded before its files ran here]"
    assert second.startswith("I2 What I knew by then  [recorded ")
    assert second.endswith("s after its files first ran here]")


def test_progress_is_a_line_now_and_then_and_failures_are_summed_up(bench):
    code, out, _ = bench.aeb("evaluate", "-n", "12")
    assert code == 0
    assert out.count("episodes so far") <= 2
    assert sum(line.startswith("failed") for line in out.splitlines()) <= 3
    assert "x time_limit, last stage" in out


def test_status_counts_what_was_finished_by_its_purpose(bench):
    bench.aeb("practice", "-n", "1")
    bench.aeb("evaluate", "-n", "1")
    bench.aeb("evaluate", "-n", "1")
    assert json.loads(bench.aeb("status", "--json")[1])["finished"] == {
        "evaluate": 2,
        "confirm": 0,
        "practice": 1,
        "learn": 0,
        "heldout": 0,
    }
    assert "2 evaluations, 0 confirmations, 1 practices, 0 held-out scorings" in bench.aeb("status")[1]


def test_a_candidate_that_beats_nothing_is_confirmed_when_asked_and_once(bench):
    code, out, _ = bench.aeb("evaluate", "-n", "1")
    assert "confirmed" not in out
    code, out, _ = bench.aeb("evaluate", "-n", "1", "--confirm")
    assert code == 0
    assert "As asked, it was confirmed on fresh starts" in out
    (confirmed,) = [
        e.payload
        for e in bench.ledger.events("evaluation")
        if (e.payload.purpose, e.payload.phase) == ("confirm", "finished")
    ]
    assert confirmed.episodes == 4
    assert confirmed.beats == "E2"
    code, out, _ = bench.aeb("evaluate", "-n", "1", "--confirm")
    assert "confirmed already" in out
    indices = [e.payload.index for e in bench.ledger.events("episode")]
    assert indices == list(range(7))  # fresh starts, each once
    assert json.loads(bench.aeb("status", "--json")[1])["finished"]["confirm"] == 1


def test_status_says_what_is_left_when_the_best_is_perfect(bench):
    about = {"phase": "finished", "purpose": "confirm", "commit": "c" * 40, "digest": "d", "planned": 4, "episodes": 4}
    bench.ledger.append(EvaluationEvent(id="E1", content="x", successes=4, **about), agent="codex")
    out = bench.aeb("status")[1]
    assert "100 % of 4 episodes" in out
    assert "4 episodes without a failure show 51.0 % or more" in out
    assert "fewer robot-minutes" in out
    bench.ledger.append(EvaluationEvent(id="E2", content="y", successes=3, **about), agent="codex")  # pools: 7 of 8
    assert "left to do" not in bench.aeb("status")[1]
