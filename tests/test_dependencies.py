"""What is imported is declared in pyproject.toml, and what is declared there is used."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "autoenvbench": ROOT / "autoenvbench",
    "enpire_envs": ROOT / "envs/enpire_envs",
    "enpire_real": ROOT / "real/enpire_real",
}

#: The distribution that a module comes with, where it has another name.
DISTRIBUTION = {
    "PIL": "pillow",
    "can": "python-can",
    "cv2": "opencv-python-headless",
    "pydantic_core": "pydantic",
    "stable_baselines3": "stable-baselines3",
    "yaml": "pyyaml",
}
#: Used, though no line of ours imports it.
USED_OTHERWISE = {
    "pyarrow": "pandas writes Parquet with it",
    "pyserial": "python-can opens serial adapters with it",
    "pytest-timeout": "plugin",
    "pytest-xdist": "plugin",
    "pytest-rerunfailures": "plugin",
    "ruff": "make lint",
    "sphinx": "make docs",
    "myst-parser": "make docs",
    "furo": "make docs",
    "mypy": "make lint",
}
#: Rooms whose modules may import PyTorch at their top: those that do, nothing outside imports but a function that needs it.
TORCH_ROOMS = ("learning",)
_ROOMS = tuple(f"autoenvbench.{room}" for room in TORCH_ROOMS)
#: Modules of simulators that run in interpreters of their own (`autoenvbench setup`).
ELSEWHERE = {"gym_pusht", "ompl", "robocasa", "robosuite"}


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower()


CORE = {_name(r) for r in PROJECT["dependencies"]}
EXTRAS = {name: {_name(r) for r in listed} for name, listed in PROJECT["optional-dependencies"].items()}


def _modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of everything that is imported below a node, also by pytest.importorskip."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
            yield node.lineno, ast.literal_eval(node.args[0])


def _on_import(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What is imported as soon as the module is: not inside functions, and not for type checkers alone."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        for inner in [node, *ast.walk(node)] if not isinstance(node, ast.FunctionDef | ast.ClassDef) else []:
            if isinstance(inner, ast.Import | ast.ImportFrom):
                yield from _modules(inner)


@cache
def _brings_torch(module: str) -> bool:
    """Whether importing a module of a PyTorch room imports PyTorch, by itself or through others of the room."""
    file = ROOT / Path(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    names = [name for _, name in _on_import(ast.parse(file.read_text()))] if file.exists() else []
    return "torch" in {name.partition(".")[0] for name in names} or any(
        name != module and name.startswith(_ROOMS) and _brings_torch(name) for name in names
    )


def _foreign(modules: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Line and distribution of what is neither Python's own nor ours."""
    for line, module in modules:
        top = module.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in PACKAGES and top not in ELSEWHERE:
            yield line, DISTRIBUTION.get(top, top)


def undeclared(folder: Path) -> list[str]:
    """Every import of a package that its installation does not bring, as file:line and what is wrong with it."""
    optional, wrong = set().union(*(names for extra, names in EXTRAS.items() if extra != "dev")), []
    for file in sorted(folder.rglob("*.py")):
        tree, place = ast.parse(file.read_text()), file.relative_to(folder.parent)
        for line, name in _foreign(_modules(tree)):
            if name not in CORE | optional:
                wrong.append(f"{place}:{line}: {name} is imported and not declared in pyproject.toml")
        if {"lerobot_robot", "lerobot_env", "templates"} & set(file.parts):  # plug-ins that LeRobot loads; an agent's own program
            continue
        of_torch = file.relative_to(folder).parts[0] in TORCH_ROOMS
        if not of_torch:
            wrong += [
                f"{place}:{line}: {module} imports PyTorch: import it where it is used"
                for line, module in _on_import(tree)
                if module.startswith(_ROOMS) and _brings_torch(module)
            ]
        for line, name in _foreign(_on_import(tree)):
            if name in optional - CORE and not (of_torch and name == "torch"):
                wrong.append(f"{place}:{line}: {name} belongs to an extra: import it where it is used")
    return wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_declared(package):
    assert undeclared(PACKAGES[package]) == []


def test_what_is_declared_is_used():
    ours = [file for folder in PACKAGES.values() for file in folder.rglob("*.py")]
    tests = list((ROOT / "tests").rglob("*.py"))
    by_packages, by_tests = ({name for file in files for _, name in _foreign(_modules(ast.parse(file.read_text())))} for files in (ours, tests))  # fmt: skip
    assert sorted(CORE - by_packages - set(USED_OTHERWISE)) == []
    for extra in set(EXTRAS) - {"all"}:
        assert sorted(EXTRAS[extra] - by_packages - by_tests - set(USED_OTHERWISE)) == [], extra
    declared = CORE.union(*EXTRAS.values())
    assert sorted(set(USED_OTHERWISE) - declared) == []
    own = {file.parent.name if file.name == "__init__.py" else file.stem for file in [*tests, *(ROOT / "docs").glob("*.py")]}
    assert sorted(by_tests - declared - own) == []


def test_all_is_every_extra_that_can_live_beside_the_others():
    (everything,) = PROJECT["optional-dependencies"]["all"]
    named = re.fullmatch(r"autoenvbench\[(.*)\]", everything)
    assert named
    assert set(named[1].split(",")) == set(EXTRAS) - {"all", "lerobot"}  # LeRobot caps torch


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("import numpy as np", None),
        ("import requests", "not declared"),
        ("def f():\n    import viser", None),
        ("import viser", "where it is used"),
        ("import torch", "where it is used"),
        ("from autoenvbench.learning.buffer import Buffer", "where it is used"),
        ("def f():\n    from autoenvbench.learning.buffer import Buffer", None),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import viser", None),
        ("try:\n    import viser\nexcept ImportError:\n    pass", "where it is used"),
    ],
)
def test_a_missing_declaration_is_named_with_its_line(tmp_path, line, wrong):
    (tmp_path / "new.py").write_text(line + "\n")
    found = undeclared(tmp_path)
    assert bool(found) == (wrong is not None)
    assert all(wrong in f for f in found)


@pytest.mark.parametrize(
    ("program", "not_yet"),
    [
        ("workspace.aeb", {"pydantic", "aiohttp", "cv2", "scipy", "pandas", "mujoco"}),
        ("station.policy_host", {"pydantic", "aiohttp", "cv2", "scipy", "pandas", "mujoco"}),
        ("station.cell_worker", {"aiohttp", "can", "mujoco", "scipy", "pandas", "matplotlib"}),
        ("station.door", {"can", "cv2", "mujoco", "scipy", "pandas", "matplotlib"}),
        ("research.run", {"can", "mujoco", "scipy", "pandas", "matplotlib"}),
    ],
)
def test_a_program_starts_without_what_it_may_never_need(program, not_yet):
    """Somebody waits for each of them, some a thousand times in a run: what takes long to import is imported where it is used."""
    line = f"import sys, autoenvbench.{program}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, timeout=120)
    assert not_yet & set(done.stdout.split()) == set()
