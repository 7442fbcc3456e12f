"""A finished run of the example task with a real answer and real held-out episodes, its archive, and ways to tamper with that."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from enpire_envs.fingerprint import fingerprint

from autoenvbench.make_env import make_env
from autoenvbench.record.clock import RunClock
from autoenvbench.record.compute import compute_class, hardware
from autoenvbench.record.events import CommitEvent, ContentsEvent, IdeaEvent, RunEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result, versions
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.bundles import BundleStore, look_through
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate

#: Goes straight to the mark, with the chance RATE by what its host seeds; else stays where it is. WHERE may change its mind.
POLICY = """
import random
import numpy as np

RATE = {rate}

class Policy:
    def __init__(self, observation_space, action_space):
        self.gain = float(open("checkpoints/gain.txt").read())
    def reset(self, observation):
        self.goes = random.random() < RATE
        {where}
    def act(self, observation):
        return np.clip((observation[2:] - observation[:2]) * self.gain, -1, 1) * self.goes
"""


def make_run(
    folder: Path, env_id: str, *, rate=1.0, where="pass", n=24, secret=bytes(32), sandbox="bwrap", seed=0
) -> Path:
    """A run's folder, with what `leaderboard pack` needs of it; its ledger says that a cage was used, whatever was."""
    (folder / "bundles").mkdir(parents=True)
    store = BundleStore(folder / "bundles")
    commit, upload = _upload(folder / "scratch", POLICY.format(rate=rate, where=where))
    bundle = store.receive(upload, commit)
    env = make_env(env_id)
    streams = StartStreams(secret)
    config = RunConfig(agent="cem", env=env_id, budget_s=60, sandbox="bwrap", held_out=n, seed=seed)
    ledger = Ledger(folder / "ledger.sqlite", RunClock.start(60))
    ledger._db.execute("PRAGMA synchronous=OFF")
    ledger.append(
        RunEvent(
            phase="started", run_id=folder.name, config=config.model_dump(exclude={"held_out_secret"}), members={"cem-1": "cem"},
            secret_sha256=streams.commitment, known_starts=False, prices={}, fingerprint=fingerprint(env), cell="sim", versions=versions(),
            hardware=hardware(), compute_class=compute_class(),
        )
    )  # fmt: skip
    ledger.append(CommitEvent(phase="starter", commit="c0", digest="d0"))
    ledger.append(IdeaEvent(id="I1", title="an idea"), agent="cem-1")
    sent = {"commit": commit, "digest": bundle.digest, "content": bundle.content}
    for phase in ("received", "submitted"):
        ledger.append(CommitEvent(phase=phase, **sent), agent="cem-1")
    ledger.append(RunEvent(phase="agents_stopped", detail="deadline"))
    ledger.append(ContentsEvent(digest=bundle.digest, contents=look_through(bundle)))
    cell = LocalCell(env, sandbox=sandbox, track="open")
    evaluate([cell], Batch("held-out", "heldout", bundle, n, draw_starts(streams, "heldout", 0, n)), ledger)
    env.close()
    ledger.append(RunEvent(phase="finished", secret=secret.hex()))
    result = Result.from_events(list(ledger.events()))
    ledger.close()
    (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return folder


def _upload(folder: Path, policy: str) -> tuple[str, Path]:
    """(commit, the tar that an agent sends): a policy, an executable, a link, and weights that are in no commit."""
    repo = folder / "repo"
    repo.mkdir(parents=True)
    (repo / "policy.py").write_text(policy)
    (repo / "tools").mkdir()
    (repo / "tools/run.sh").write_text("#!/bin/sh\n")
    (repo / "tools/run.sh").chmod(0o755)
    (repo / "link").symlink_to("policy.py")
    (repo / "näme.txt").write_text("a name that is not ASCII\n")

    def git(*args: str) -> str:
        line = ["git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@t.invalid", *args]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "a policy")
    git("bundle", "create", "--quiet", str(folder / "commit.bundle"), "HEAD")
    (folder / "gain.txt").write_text("8.0")
    with tarfile.open(folder / "upload.tar", "w") as tar:
        tar.add(folder / "commit.bundle", "commit.bundle")
        tar.add(folder / "gain.txt", "checkpoints/gain.txt")
    return git("rev-parse", "HEAD"), folder / "upload.tar"


# -- tampering -------------------------------------------------------------------------------------------------------
def members_of(archive: Path) -> dict[str, bytes]:
    """What an archive holds, by name."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def archive_of(
    members: dict[str, bytes], path: Path, *more: tarfile.TarInfo, executable=("answer/tree/tools/run.sh",)
) -> Path:
    """An archive that holds this, whatever it is; `more` are members without contents."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name in executable else 0o644
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    return path


def forged(archive: Path, path: Path, edit) -> Path:
    """An archive whose ledger was edited by `edit(kind, payload)`, event by event, and whose result.json follows from it."""
    from autoenvbench.verify.archive import _events

    members, lines = members_of(archive), []
    for line in members["ledger.jsonl"].splitlines():
        *head, text = json.loads(line)
        payload = json.loads(text)
        edit(head[3], payload)
        lines.append(json.dumps([*head, json.dumps(payload)]).encode())
    members["ledger.jsonl"] = b"\n".join(lines) + b"\n"
    scratch = path.with_suffix(".jsonl")
    scratch.write_bytes(members["ledger.jsonl"])
    members["result.json"] = Result.from_events(list(_events(scratch))).model_dump_json().encode()
    return archive_of(members, path)


def luckiest(count: int, n: int, rate: float) -> tuple[bytes, list[int]]:
    """The best of so many secrets for a policy of this rate, as its owner finds it without running anything; and how each would do."""
    import random

    secrets = [hashlib.sha256(f"secret {k}".encode()).digest() for k in range(count)]
    wins = [
        sum(random.Random(StartStreams(s).policy_seed("heldout", k)).random() < rate for k in range(n)) for s in secrets
    ]
    return secrets[max(range(count), key=wins.__getitem__)], wins
