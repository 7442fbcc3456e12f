"""What the figures of a report show."""

from board import episode

from autoenvbench.publish import figures
from autoenvbench.record.starts import StartStreams


def test_episodes_that_violated_a_limit_are_a_share_of_their_own_whatever_stage_they_had_reached(ledger):
    streams = StartStreams(bytes(32))
    for index, violations in enumerate(([], ["force_limit"], ["force_limit"], [])):
        more = {"violations": violations, "score": 0.0, "stage": "tip_in"}
        ledger.append(episode(streams, "E1", "evaluate", index, False, **more))
    (axes,) = figures.stages(list(ledger.events())).axes
    shares = {bars.get_label(): bars[0].get_height() for bars in axes.containers}
    assert shares == {"tip_in": 0.5, "violation": 0.5}
