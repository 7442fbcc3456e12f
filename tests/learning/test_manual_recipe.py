"""docs/add_a_recipe.md, as it stands: its algorithm is named, learns from a hundred demonstrations, and solves the example task."""

import importlib.util
import sys

from manual import run_page, write_files

from autoenvbench.learning import train

PAGE = "docs/add_a_recipe.md"


def test_a_reader_adds_an_algorithm(reach, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(PAGE, tmp_path)
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos/reach").symlink_to(shown)
    name = "autoenvbench.learning.ridge"
    spec = importlib.util.spec_from_file_location(name, tmp_path / "ridge.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(train, "ALGORITHMS", (*train.ALGORITHMS, "ridge"))
    run_page(PAGE)
