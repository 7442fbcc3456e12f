"""A report shows what agents wrote; it does not do what they wrote."""

import re

import pytest

from autoenvbench.cli.printing import print_ledger
from autoenvbench.publish.report import write_report
from autoenvbench.record.events import AgentEvent, IdeaEvent, NoteEvent, RunEvent
from autoenvbench.record.run_config import RunConfig

HOSTILE = "<script>alert(1)</script>\x1b]0;owned\x07\x1b[31m\u202egnp.exe"


@pytest.fixture
def hostile(ledger):
    config = RunConfig(agent=f"command:{HOSTILE}", env="ENPIRE/PushT-v0", budget_s=60)
    ledger.append(RunEvent(phase="started", config=config.model_dump(), secret_sha256="0" * 64))
    ledger.append(IdeaEvent(id="I1", title=HOSTILE, regime=HOSTILE), agent=HOSTILE)
    ledger.append(NoteEvent(text=HOSTILE), agent=HOSTILE)
    ledger.append(AgentEvent(phase="exited", name="x", reason=HOSTILE), agent=HOSTILE)
    return ledger.path.parent


def test_markup_and_escape_sequences_do_not_reach_a_report(hostile):
    page = write_report(hostile).read_text()
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b]0;owned\\x07\\x1b[31m\\u202egnp.exe") >= 4


def test_nor_a_terminal(hostile, capsys):
    print_ledger(hostile, [], None, None)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", capsys.readouterr().out)
