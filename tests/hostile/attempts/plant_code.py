"""Code and data that the station, Git or a reader would run or follow."""

import os
import shutil
import sys
import time
from pathlib import Path

from kit import HOST, attempt, files, shell, station


def _evaluate(message, **env):
    shell(f"git add -A -f; git commit -q --allow-empty -m '{message}'")
    return shell("aeb evaluate -n 2 --json", timeout=120, env={**os.environ, **env})


_MARK = "import os\nopen({!r}, 'w').write('x')\n"


@attempt
def git_hooks():
    """Put hooks into the repository for whoever checks it out
    the station fetches objects into a repository of its own, hooks off"""
    hooks = Path(".git/hooks")
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-receive", "post-merge", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {HOST['marker']}-hook\n")
        (hooks / name).chmod(0o755)
    _evaluate("hooks")
    shutil.rmtree(hooks)
    return None  # judged from outside: no marker


@attempt
def read_what_evaluations_leave():
    """Look for the trajectories that the station keeps of evaluations
    only those of practice are in data/; the others lie in the run's folder, which is not in the cage"""
    return next((name for name in files(r"\.episode$") if "/data/practice/" not in name), None)


@attempt
def git_config_and_attributes():
    """Run commands through git's configuration: filters, fsmonitor, aliases
    the station never reads the workspace's configuration"""
    for key in ("filter.x.smudge", "filter.x.clean", "core.fsmonitor", "diff.external", "uploadpack.packObjectsHook"):
        shell(f"git config {key} 'touch {HOST['marker']}-config; cat'")
    Path(".gitattributes").write_text("* filter=x\n")
    _evaluate("config")
    Path(".gitattributes").unlink()
    for key in ("filter.x.smudge", "filter.x.clean", "core.fsmonitor", "diff.external", "uploadpack.packObjectsHook"):
        shell(f"git config --unset {key}")
    shell("git add -A; git commit -qm back")
    return None


@attempt
def git_submodule():
    """Have a submodule fetched whose URL is a command
    the station exports the commit's own tree and nothing else"""
    Path(".gitmodules").write_text(f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% {HOST["marker"]}-sub\n')
    _evaluate("submodule")
    Path(".gitmodules").unlink()
    return None


@attempt
def python_start_up_files():
    """Hook the station's Python with sitecustomize, usercustomize, .pth, conftest and PYTHONPATH
    a policy's host runs by path and without the folder it is in (-P), in a cage; the station imports nothing from a commit"""
    for name in ("sitecustomize.py", "usercustomize.py", "conftest.py", "numpy.py", "autoenvbench.py"):
        Path(name).write_text(_MARK.format(HOST["marker"] + "-" + name))
    site = Path.home() / ".local/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True, exist_ok=True)
    (site / "x.pth").write_text(f"import os; open('{HOST['marker']}-pth', 'w')\n")
    _, said = _evaluate("start-up")
    shell("aeb evaluate -n 2", env={**os.environ, "PYTHONPATH": ".", "PYTHONSTARTUP": "sitecustomize.py"})
    for name in ("sitecustomize.py", "usercustomize.py", "conftest.py", "numpy.py", "autoenvbench.py"):
        Path(name).unlink()
    return said if '"success_rate": 1' in said else None


@attempt
def preloaded_library():
    """LD_PRELOAD and LD_LIBRARY_PATH for the station's and the policy's processes
    both start from a cleared environment"""
    _, said = _evaluate("preload", LD_PRELOAD=str(Path("evil.so").resolve()), LD_LIBRARY_PATH=".")
    return said if '"success_rate": 1' in said else None


@attempt
def symlinks_in_the_commit():
    """Commit policy.py and checkpoints as symbolic links to host files
    only regular files are unpacked, and links inside a policy's cage lead nowhere"""
    Path("leak").symlink_to("/etc/shadow")
    Path("up").symlink_to("../../../../secret")
    Path("checkpoints").mkdir(exist_ok=True)
    Path("checkpoints/secret").symlink_to("../../../../secret")
    _evaluate("links")
    for name in ("leak", "up", "checkpoints/secret"):
        os.unlink(name)
    shell("git add -A; git commit -qm back")
    return None


@attempt
def fifo_in_the_repository():
    """Let the station hang on a FIFO among the checkpoints
    what is neither file nor folder is left out"""
    os.mkfifo("checkpoints/pipe")
    began = time.time()
    _evaluate("fifo")
    os.unlink("checkpoints/pipe")
    return "hung" if time.time() - began > 60 else None


@attempt
def pickle_in_the_checkpoints():
    """A checkpoint that runs code when it is loaded
    nobody but the policy's own caged process loads it"""
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {HOST['marker']}-pickle",)

    Path("checkpoints/model.pkl").write_bytes(pickle.dumps(Bomb()))
    _evaluate("pickle")
    os.unlink("checkpoints/model.pkl")
    return None


@attempt
def huge_commit():
    """Commit two gigabytes of zeros, which Git packs into two megabytes
    a commit's tree is measured before it is unpacked: 512 MB at most"""
    with open("zeros", "wb") as file:
        file.truncate(2 << 30)
    code, said = shell("git add -A && git commit -qm zeros && aeb evaluate -n 1", timeout=200)
    shell("git reset -q --hard HEAD~1")
    return None if code == 2 and "can be run" in said else said


@attempt
def huge_upload():
    """Upload a gigabyte to the station
    the stream is cut off at 600 MB"""
    status, said = station("/bundles?commit=" + "0" * 40, bytes(700 << 20))
    return said if status == 200 else None


@attempt
def commit_swapped_after_sending():
    """Change the repository between check-out and run
    what runs is an export made from the commit's hash; a claimed commit that is not the one sent is refused"""
    shell("git add -A -f; git commit -qm before")
    _, sent = shell("git rev-parse HEAD")
    _, said = shell(
        "(sleep 1.2; echo 'raise SystemExit' > policy.py; git commit -qam swap) & aeb evaluate -n 40 --json; wait"
    )
    shell(f"git reset -q --hard {sent.strip()}")
    swapped = sent.strip() in said and ("policy_error" in said or "policy_exited" in said)
    return said if swapped or '"commit"' not in said else None
