"""An agent's queue of jobs: what it keeps to, and who tries to get round it."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoenvbench.agents import forward
from autoenvbench.errors import UserError
from autoenvbench.station.client import CREDENTIALS
from autoenvbench.workspace import job_runner, jobs

PATIENCE_S = 120.0  # of a test on a busy machine


@pytest.fixture
def workspace(repo, tmp_path, monkeypatch):
    """A repository, in which this process works; whatever is started in it is over in the end."""
    home = tmp_path / "home"
    home.mkdir()
    (home / CREDENTIALS).write_text(json.dumps({"socket": str(home / "none.sock"), "token": "t"}))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(repo)
    yield repo
    if (repo / "jobs").is_dir():
        jobs.stop(repo, [job.name for job in jobs.listed(repo)])
        until(lambda: not jobs.runner_lives(repo / "jobs"))


def until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def aeb(*args):
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench.workspace.aeb", *args], capture_output=True, text=True, timeout=PATIENCE_S
    )
    return done.returncode, done.stdout, done.stderr


def shell(text):
    return ["sh", "-c", text]


def states(workspace):
    return {job.name: job.status()["state"] for job in jobs.listed(workspace)}


def runner_pid(workspace):
    """Of the process that keeps this workspace's queue."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and jobs.ticks(int(path.name)) is not None:
            line = (path / "cmdline").read_bytes().split(b"\0")
            if b"autoenvbench.workspace.job_runner" in line and str(workspace).encode() in line:
                return int(path.name)
    return None


# -- what it keeps to ------------------------------------------------------------------------------------------------
def test_a_job_survives_the_shell_that_asked_for_it_and_its_exit_code_is_told(workspace):
    line = f"{sys.executable} -m autoenvbench.workspace.aeb job start late -- sh -c 'sleep 1; echo $OMP_NUM_THREADS; nice; exit 3'"
    subprocess.run(["sh", "-c", line], check=True, start_new_session=True)
    code, out, _ = aeb("job", "wait", "late", "--json")
    assert code == 1
    (row,) = json.loads(out)["jobs"]
    assert (row["state"], row["code"], row["last"]) == ("failed", 3, str(low := min(os.nice(0) + 10, 19)))
    assert aeb("job", "tail", "late")[1] == f"1\n{low}\n"
    code, out, _ = aeb("job", "list")
    assert (code, "failed with exit code 3" in out) == (0, True)


def test_no_more_run_at_a_time_than_there_are_cores(workspace, monkeypatch):
    """As many begin as may; the others begin when those have ended, oldest first."""
    for k in range(5):
        jobs._put(
            workspace,
            f"j{k}",
            shell(f"echo b{k} >> order; while ! test -e go{k}; do sleep 0.02; done; echo e{k} >> order"),
            False,
            None,
        )
    runner = job_runner.Runner(workspace, cores=2, devices=0)
    runner.turn()
    assert list(states(workspace).values()) == ["running", "running", "queued", "queued", "queued"]
    runner.turn()
    assert list(states(workspace).values()).count("running") == 2
    for k in range(5):
        (workspace / f"go{k}").touch()
    until(lambda: not runner.turn())
    assert set(states(workspace).values()) == {"done"}
    running, most = 0, 0
    for line in (workspace / "order").read_text().split():
        running += 1 if line[0] == "b" else -1
        most = max(most, running)
    assert most == 2


def test_jobs_for_gpus_run_one_on_each_and_see_no_other(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "gpus", lambda: 2)
    for k in range(3):
        jobs._put(
            workspace, f"g{k}", shell("echo $CUDA_VISIBLE_DEVICES; while ! test -e go; do sleep 0.02; done"), True, None
        )
    runner = job_runner.Runner(workspace, cores=1, devices=2)
    runner.turn()
    assert list(states(workspace).values()) == ["running", "running", "queued"]
    until(lambda: [jobs.Job(workspace / "jobs" / name).tail(1) for name in ("g0", "g1")] == ["0", "1"])
    (workspace / "go").touch()
    until(lambda: not runner.turn())
    monkeypatch.setattr(jobs, "gpus", lambda: 0)
    with pytest.raises(UserError, match="no GPU here"):
        jobs.start(workspace, "g", ["true"], gpu=True)


def test_a_sweep_is_a_job_for_each_combination(workspace):
    command = ["sh", "-c", "echo {name} {lr} {hidden}"]
    made = jobs.sweep(workspace, "s", command, ["lr=1e-3,3e-4", "hidden=8,16"])
    jobs.wait(workspace, ["s-*"], PATIENCE_S)
    assert [job.tail(1) for job in made] == ["s-1 1e-3 8", "s-2 1e-3 16", "s-3 3e-4 8", "s-4 3e-4 16"]
    assert made[1].status()["values"] == {"lr": "1e-3", "hidden": "16"}
    for over, words in ((["lr"], "cannot sweep over 'lr'"), (["name=1"], "cannot sweep"), (["seed=1,2"], "nowhere in the command"), ([], "at least one key"),
                        (["lr=" + ",".join(map(str, range(300)))], "a sweep of 300 jobs")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            jobs.sweep(workspace, "t", ["echo", "{lr}"], over)
    with pytest.raises(UserError, match="a job s-1 already"):
        jobs.sweep(workspace, "s", command, ["lr=1", "hidden=2"])
    assert len(jobs.listed(workspace)) == 4  # what is refused queues nothing


def test_what_cannot_be_started_has_the_exit_code_of_a_shell(workspace):
    (workspace / "plain").write_text("no program")
    jobs.start(workspace, "none", ["no-such-program"])
    jobs.start(workspace, "plain", ["./plain"])
    jobs.wait(workspace, ["none", "plain"], PATIENCE_S)
    none, plain = jobs.listed(workspace)
    assert (none.status()["code"], plain.status()["code"]) == (127, 126)
    assert "cannot start ['no-such-program']" in none.tail(1)
    (workspace / "jobs/none/job.json").write_text('{"at": "soon", "command": 7}')  # nonsense stops nobody
    (workspace / "jobs/none/ended.json").unlink()
    (workspace / "jobs/none/started.json").unlink()
    jobs.start(workspace, "after", ["true"])
    jobs.wait(workspace, ["*"], PATIENCE_S)
    assert states(workspace) == {"none": "failed", "plain": "failed", "after": "done"}


# -- who tries to get round it ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["../out", "a/b", "/tmp/x", ".", "..", ".runner", "", "a b", "-x", "ä", "x" * 41, "a\n"]
)
def test_a_name_is_no_path(workspace, name):
    before = sorted(workspace.parent.rglob("*"))
    with pytest.raises(UserError, match="is no job's name"):
        jobs.start(workspace, name, ["true"])
    assert sorted(workspace.parent.rglob("*")) == before


def test_of_two_with_one_name_one_is_queued(workspace):
    began, errors = threading.Barrier(8), []

    def ask(k):
        began.wait()
        try:
            jobs._put(workspace, "same", shell(f"echo {k}"), False, None)
        except UserError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 7
    assert all("there is a job same already" in words for words in errors)
    assert [job.name for job in jobs.listed(workspace)] == ["same"]
    assert not list((workspace / "jobs").glob(".*.part"))


def test_there_is_one_runner_however_many_ask(workspace):
    asked = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "autoenvbench.workspace.aeb",
                "job",
                "start",
                f"n{k}",
                "--",
                "sh",
                "-c",
                "echo x >> ran",
            ]
        )
        for k in range(3)
    ]
    assert [process.wait(PATIENCE_S) for process in asked] == [0, 0, 0]
    jobs.wait(workspace, ["*"], PATIENCE_S)
    assert set(states(workspace).values()) == {"done"}
    assert (workspace / "ran").read_text() == "x\n" * 3


def test_a_killed_runner_takes_its_jobs_along_and_says_so(workspace):
    jobs.start(workspace, "long", shell("setsid sleep 1000 & echo up; sleep 1000"))
    (long,) = jobs.listed(workspace)
    until(lambda: len(jobs.processes(long)) >= 3)
    until(lambda: long.read("started"))
    os.kill(runner_pid(workspace), signal.SIGKILL)
    until(lambda: long.status()["state"] == "lost")
    assert "nobody saw how it ended" in long.status()["words"]
    jobs.start(workspace, "next", ["true"])  # its runner ends what is left, and goes on
    jobs.wait(workspace, ["next"], PATIENCE_S)
    assert states(workspace) == {"long": "lost", "next": "done"}
    assert jobs.processes(long) == []


def test_what_is_stopped_ends_with_all_that_it_started(workspace):
    jobs.start(
        workspace, "deaf", shell("trap '' INT; setsid setsid sleep 1000 & echo up; while true; do sleep 0.1; done")
    )
    (deaf,) = jobs.listed(workspace)
    until(lambda: len(jobs.processes(deaf)) >= 2)
    began = time.monotonic()
    jobs.stop(workspace, ["deaf"])
    assert jobs.processes(deaf) == []
    assert time.monotonic() - began < PATIENCE_S
    until(lambda: deaf.status()["state"] == "stopped")
    jobs._put(workspace, "waiting", ["touch", "ran"], False, None)
    jobs.stop(workspace, ["waiting"])
    jobs.ensure_runner(workspace)
    assert states(workspace)["waiting"] == "stopped"
    assert not (workspace / "ran").exists()


def test_a_job_that_was_killed_says_by_what(workspace):
    jobs.start(workspace, "dies", shell("kill -9 $$"))
    (job,) = jobs.wait(workspace, ["dies"], PATIENCE_S)
    assert (job.status()["state"], job.status()["code"]) == ("killed", -9)
    assert "killed by SIGKILL" in job.status()["words"]


def test_no_job_outlives_the_session_that_asked_for_it(workspace):
    """Without a cage there is no namespace that would take them along."""
    begin = f"{sys.executable} -m autoenvbench.workspace.aeb job start left -- sh -c 'setsid sleep 1000 & sleep 1000'; sleep 1000"
    session = subprocess.Popen(
        [sys.executable, "-I", forward.__file__, "-", "--", "sh", "-c", begin], start_new_session=True
    )
    until(lambda: (workspace / "jobs/left/started.json").exists())
    (left,) = jobs.listed(workspace)
    until(lambda: len(jobs.processes(left)) >= 2)
    os.killpg(session.pid, signal.SIGKILL)  # as a run ends an agent without a cage
    session.wait()
    until(lambda: not jobs.processes(left) and not jobs.runner_lives(workspace / "jobs"))
    assert left.status()["state"] == "killed"


def test_a_full_disk_loses_no_exit_code_and_is_said(workspace, monkeypatch):
    real, full = jobs._write, {"ended.json"}

    def write(file, text):
        if file.name in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, text)

    monkeypatch.setattr(jobs, "_write", write)
    jobs._put(workspace, "a", shell("exit 4"), False, None)
    (job,) = jobs.listed(workspace)
    runner = job_runner.Runner(workspace, cores=1, devices=0)
    runner.turn()
    until(lambda: runner.turn() and not jobs.alive(job.read("started")) and runner._unwritten)
    assert job.read("ended") is None
    full.clear()
    until(lambda: not runner.turn())
    assert job.status()["code"] == 4

    def no_room(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(UserError, match="No space left on device; make room first"):
        jobs.start(workspace, "b", ["true"])
    assert [found.name for found in jobs.listed(workspace)] == ["a"]


def test_what_was_asked_wrongly_is_said(workspace):
    for args, words in (
        (("job", "tail", "nope"), "there is no job 'nope'; there are: none yet"),
        (("job", "start", "x"), "say what to run: aeb job start x -- python"),
        (("job", "start", "../x", "--", "true"), "is no job's name"),
        (("sweep", "x", "--over", "lr=1,2", "--", "true"), "nowhere in the command"),
    ):
        code, _, err = aeb(*args)
        assert (code, words in err, "Traceback" in err) == (2, True, False), err


#: Learns by a recipe in the queue, answers with that, and leaves a job behind that would never end.
_RESEARCH = (
    "aeb job start b -- python recipes/bc.py --minutes 1 --set updates=30 --set hidden=16 --set history=0; aeb job wait b || exit 9; "
    "git add policy.py features.py policy.json; git commit -qm bc; aeb evaluate -n 20; aeb submit; "
    "aeb job start left -- sh -c 'setsid sleep 4321 & sleep 4321'; sleep 1; aeb job list > listed"
)


@pytest.mark.cage
def test_in_the_cage_a_recipe_learns_in_the_queue_and_no_job_outlives_the_run(site, tmp_path):
    """The cage holds the interpreter that learns, on the track that hides the simulator."""
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", f"command:sh -c {shlex.quote(_RESEARCH)}", "--env", "Example/Reach-v0", "--track",
         "station", "--demos", "10", "--budget", "3m", "--held-out", "2", "--out", tmp_path / "runs"],
        capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    workspace = run / "agents/command-1/workspace"
    listed = (workspace / "listed").read_text()
    assert "b     done in" in listed
    assert "left  running for" in listed
    assert json.loads((run / "result.json").read_text())["answer"]["how"] == "submitted"
    left = [path for path in Path("/proc").iterdir() if path.name.isdigit() and b"4321" in command_line(path)]
    assert left == []
    task = (workspace / "TASK.md").read_text()
    assert f"{len(os.sched_getaffinity(0))} jobs at a time" in task
    assert "numeric libraries set to one thread" in task
    assert "of CPU time per `act`" in task


def command_line(path):
    try:
        return (path / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
