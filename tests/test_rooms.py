"""The house stands: each room of `autoenvbench/` imports only what stands below it, and the README draws it as it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autoenvbench"

#: Top to bottom. Rooms of one floor do not know of one another.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("verify",),
    ("study",),
    ("research",),
    ("agents",),
    ("learning",),
    ("workspace",),
    ("station",),
    ("publish",),
    ("evolution",),
    ("make_env",),
    ("gateway",),
    ("record",),
    ("sandbox",),
    ("errors", "text"),
)
LEVEL = {room: level for level, rooms in enumerate(reversed(FLOORS)) for room in rooms}
#: Distributions, from the one that knows all to the one that knows none of the others.
PACKAGES = ("autoenvbench", "enpire_real", "enpire_envs")


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _room(parts: tuple[str, ...]) -> str | None:
    """The room of a module, by its path or dotted name below the package; None for the package itself."""
    return (
        parts[0].removesuffix(".py")
        if parts and parts[0] not in ("__init__.py", "__main__.py", "__version__")
        else None
    )


def upward_imports(package: Path) -> list[str]:
    """Every import from a lower room into a higher one, as file:line and what is wrong with it."""
    wrong = []
    for file in sorted(package.rglob("*.py")):
        if "templates" in file.parts or "baselines" in file.parts:  # an agent's files, not the harness's
            continue
        here = _room(file.relative_to(package).parts)
        if here is None:
            continue
        for line, name in _imported(ast.parse(file.read_text())):
            top, *below = name.split(".")
            there = _room(tuple(below)) if top == "autoenvbench" else None
            if there is None or there == here or there not in LEVEL:
                continue
            if LEVEL[there] >= LEVEL[here]:
                wrong.append(
                    f"{file.relative_to(package.parent)}:{line}: {here}/ imports {name}, and {there}/ is not below it"
                )
    return wrong


def test_every_module_is_in_a_room():
    found = {_room(p.relative_to(PACKAGE).parts) for p in PACKAGE.rglob("*.py")} - {None, "data"}
    assert found == set(LEVEL)


def test_no_room_imports_what_stands_above_it():
    assert upward_imports(PACKAGE) == []


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("from autoenvbench.study.score import score", True),
        ("import autoenvbench.cli.main", True),
        ("def f():\n    from autoenvbench.publish import report", True),
        ("from autoenvbench.record.ledger import Ledger", False),
        ("from autoenvbench import __version__", False),
    ],
)
def test_an_upward_import_is_named_with_its_line(tmp_path, line, refused):
    package = tmp_path / "autoenvbench"
    (package / "gateway").mkdir(parents=True)
    (package / "gateway" / "new.py").write_text(line + "\n")
    found = upward_imports(package)
    assert bool(found) == refused
    assert all(f.startswith(f"autoenvbench/gateway/new.py:{line.count(chr(10)) + 1}: ") for f in found)


def test_the_suite_and_the_robots_know_nothing_of_the_harness():
    for package, folder in (("enpire_real", ROOT / "real/enpire_real"), ("enpire_envs", ROOT / "envs/enpire_envs")):
        higher = PACKAGES[: PACKAGES.index(package)]
        for file in folder.rglob("*.py"):
            for line, name in _imported(ast.parse(file.read_text())):
                assert name.split(".")[0] not in higher, f"{file.relative_to(ROOT)}:{line} imports {name}"


def test_the_tests_mirror_the_rooms():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name not in ("__pycache__", "data")}
    tested = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= tested | {"workspace"}


def test_test_modules_have_names_of_their_own():
    """Their folders are no packages, so pytest would not collect the second of a name."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
