"""docs/add_an_agent.md, as it stands: its files are written, its class is registered, its run is made."""

import json

import pytest
from manual import blocks, run_page, write_files

from autoenvbench.agents.registry import AGENTS

PAGE = "docs/add_an_agent.md"


@pytest.mark.cage
def test_a_reader_adds_an_agent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_files(PAGE, tmp_path)
    (script,) = (block.text for block in blocks(PAGE) if block.language == "json")
    (tmp_path / "script.json").write_text(json.dumps(json.loads(script)))
    try:
        run_page(PAGE)
    finally:
        AGENTS.pop("my-cli", None)
