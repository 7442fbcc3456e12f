"""The README shows the house as it is: its picture holds the rooms and their own first lines, and the paths on its pages exist."""

import ast
import re
import runpy
from pathlib import Path

import pytest
from test_rooms import FLOORS, PACKAGE, ROOT

#: Below the harness, from the one that knows the other to the one that knows none.
PACKAGES = ("real/enpire_real", "envs/enpire_envs")
PAGES = (
    "README.md",
    "envs/README.md",
    "real/README.md",
    "benchmarks/README.md",
    "tests/hostile/README.md",
    "leaderboards/CONTRIBUTING.md",
    *sorted(str(page.relative_to(ROOT)) for kind in ("*.md", "api/*.md") for page in (ROOT / "docs").glob(kind)),
)
FOLDERS = ("autoenvbench", "benchmarks", "docs", "envs", "examples", "leaderboards", "real", "scripts", "tests")


def _first_line(path: Path) -> str:
    """The first line of the docstring of a package or module."""
    docstring = ast.get_docstring(
        ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    )
    assert docstring, f"{path} has no docstring"
    return docstring.split("\n")[0]


def picture() -> str:
    """Floor by floor, what each room is for. Rooms of one floor share a number."""
    lines = ["autoenvbench/"]
    for number, rooms in zip(range(len(FLOORS), 0, -1), FLOORS, strict=True):
        lines += [f"{'' if k else number:>4}  {room:<11}{_first_line(PACKAGE / room)}" for k, room in enumerate(rooms)]
    for package in PACKAGES:
        lines += [f"{package}/", f"      {_first_line(ROOT / package)}"]
    return "\n".join(lines)


def test_the_readme_draws_the_house_as_it_is():
    blocks = re.findall(r"^```\w*\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    drawn = [block for block in blocks if block.startswith("autoenvbench/\n")]
    assert drawn == [picture()], f"under 'Where things are' in README.md has to stand\n\n```\n{picture()}\n```\n"
    rooms = re.findall(r"^(?: +\d+ | {5}) (\w+) ", drawn[0].partition("\nreal/")[0], re.MULTILINE)
    on_disk = [p.stem for p in PACKAGE.iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"]
    assert sorted(rooms) == sorted(set(on_disk) - {"__init__", "__main__", "data"})


def test_every_benchmark_is_on_its_page():
    page = (ROOT / "benchmarks/README.md").read_text()
    programs = [p for p in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in p.read_text()]
    assert [p.name for p in programs if f"python benchmarks/{p.name}" not in page] == []


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_how_the_film_of_a_run_is_made_can_be_typed(page):
    (typed,) = re.findall(r"`python docs/pictures\.py ([^`]*)`", (ROOT / page).read_text())
    parser = runpy.run_path(str(ROOT / "docs/pictures.py"))["make_parser"]()
    assert parser.parse_args(typed.split()).which == "climb"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_on_a_page_exists(page):
    text, here = (ROOT / page).read_text(), (ROOT / page).parent
    paths = re.findall(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w/?", text)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in links if not (here / link).exists()] == []
