"""A lost cell is started again, also where the machine cannot start anything at that moment, and given up after some tries."""

import time

import pytest

from autoenvbench.record.run_config import RunConfig
from autoenvbench.station import fleet
from autoenvbench.station.config import ADMIN, StationConfig


class Worker:
    """A cell worker as its fleet knows it."""

    lost = None

    def __init__(self, name):
        self.name, self.told, self.fingerprint, self.lost = name, [], None, None

    def wait_ready(self, seconds):
        self.told.append("ready")

    def resume(self, epoch):
        self.told.append("resumed")


@pytest.mark.parametrize("failures", [2, fleet.RESTARTS])
def test_a_cell_that_cannot_be_forked_is_tried_again_a_few_times(ledger, tmp_path, monkeypatch, failures):
    config = RunConfig(agent="cem*2", team=2, own_stations=True, cells=2, env="ENPIRE/PushT-v0", budget_s=60)
    started = StationConfig(
        run_dir=tmp_path, socket=tmp_path / "s.sock", config=config, sandbox="none", secret_hex="00" * 32,
        clock_epoch=ledger.clock.epoch, tokens={"0": ADMIN, "1": "cem-1", "2": "cem-2"}, cells=2,
    )  # fmt: skip
    ends, tries, again = [], [], Worker("again")
    made = fleet.Fleet(started, ledger, ends.append)
    for place in range(2):
        made.pool.put(place, Worker(place))

    def open_cell(config, ledger, place, on_lost, *, patience_s):
        tries.append(place)
        if len(tries) <= failures:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return again

    monkeypatch.setattr(fleet, "open_cell", open_cell)
    monkeypatch.setattr(fleet, "_AGAIN_S", 0.0)
    made._lost(1, "cell 2 is gone")
    waits = made.pool.open("cem-2", "a job of who works on that one alone")
    until = time.monotonic() + 60
    while made.pool.cells.get(1) is not again and waits.places & made.pool._away:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert ends == []  # the other goes on
    notes = [e.payload.text for e in ledger.events("note")]
    assert notes[0] == "cell 2 is gone; the other cells go on, and it is started again"
    if failures < fleet.RESTARTS:
        assert (tries, again.told) == ([1, 1, 1], ["ready", "resumed"])
        assert waits.poll() is again
    else:
        assert len(tries) == fleet.RESTARTS
        with pytest.raises(fleet.UserError, match="every cell is lost on which cem-2 works"):
            waits.take(lambda: False)
