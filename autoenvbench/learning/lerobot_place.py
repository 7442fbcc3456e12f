"""Where LeRobot is: it caps PyTorch below what is used here, and so lives in an environment of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import autoenvbench
from autoenvbench.errors import UserError

PROGRAM = "AUTOENVBENCH_LEROBOT"  # an interpreter that has LeRobot
_LOOK = """
import sys
from importlib.util import find_spec
if missing := [name for name in ("lerobot", "torch", "onnx") if find_spec(name) is None]:
    sys.exit("it has no " + ", ".join(missing))
print(sys.prefix, sys.base_prefix, sep="\\n")
"""
_HOW = (
    "make it in a checkout by `make .tools/.lerobot`, or anywhere by `python -m venv lerobot_env && "
    f"lerobot_env/bin/pip install 'autoenvbench[lerobot]'`, and then say {PROGRAM}=lerobot_env/bin/python"
)


def find() -> Path:
    """An interpreter that has LeRobot. Raises UserError with what to type."""
    said = os.environ.get(PROGRAM)
    if said is not None:
        look(said)
        return Path(said).absolute()
    if importlib.util.find_spec("lerobot") is not None:
        return Path(sys.executable)
    made = Path(autoenvbench.__file__).parents[1] / ".tools" / "lerobot" / "bin" / "python"
    if made.is_file():
        look(str(made))
        return made
    raise UserError(f"LeRobot is not installed here, and it wants another PyTorch than training does: {_HOW}")


def look(python: str) -> tuple[Path, ...]:
    """The folders that this interpreter needs. Raises UserError where it has no LeRobot, or nothing to write networks with."""
    try:
        done = subprocess.run([python, "-sP", "-c", _LOOK], capture_output=True, text=True, timeout=60)
        said, code = (done.stderr.strip().splitlines() or [""])[-1], done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        said, code = str(error), 1
    if code:
        raise UserError(f"{python} cannot train LeRobot's policies ({said or 'no message'}): {_HOW}")
    return tuple(map(Path, done.stdout.splitlines()))
