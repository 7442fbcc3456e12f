"""Results of real stations take ranks by certified verifiers alone; labs meet on one board with their stations named."""

from __future__ import annotations

import json

import pytest
from board import result_of, verified, write_run
from certificates import CODE, ENV, STATION, rows

from autoenvbench.publish import leaderboard, ranking
from autoenvbench.publish.ranking import sections
from autoenvbench.record.certificate import certificate_of
from autoenvbench.record.events import CanaryEvent, VerifierEvent


def judge(lines=None, *, station="lab", sha=STATION, **other) -> VerifierEvent:
    certificate = None if lines is None else json.loads(certificate_of(lines).model_dump_json())
    return VerifierEvent(
        **{"name": station, "station_sha256": sha, "verifier": CODE, "certificate": certificate, **other}
    )


def run(folder, *seen, kind="twin", **more):
    return result_of(write_run(folder, cell=kind, seen=seen, env=ENV, track="station", **more))


@pytest.mark.parametrize("kind", ["twin", "real"])
def test_only_certified_stations_are_ranked(tmp_path, kind) -> None:
    good = run(tmp_path / "good", judge(rows()), kind=kind)
    assert ranking.unranked_because(good) == []
    assert good.corrected.success_rate == pytest.approx(0.75)
    for name, event, why in (
        ("none", judge(None), "not certified for station lab"),
        ("short", judge(rows(200)), "true-positive rate"),
        ("code", judge(rows(), verifier="0" * 64), "another code"),
        ("moved", judge(rows(), sha="0" * 64), "calibration"),
        ("lab", judge(rows(), station="other"), "another station"),
        ("task", judge(rows(env="ENPIRE/PinInsertion-real-v0")), "another environment"),
    ):
        result = run(tmp_path / name, event, kind=kind)
        assert why in " ".join(ranking.unranked_because(result)), name
        assert why in " ".join(result.unranked_because)
        assert result.corrected is None
    assert "nothing says which verifier" in ranking.unranked_because(run(tmp_path / "silent", kind=kind))[0]
    both = run(tmp_path / "both", judge(rows()), judge(None), kind=kind)  # it was certified, and then calibrated anew
    assert ranking.unranked_because(both) != []


def test_in_simulation_nothing_needs_a_certificate(tmp_path) -> None:
    result = result_of(write_run(tmp_path / "sim"))
    assert ranking.unranked_because(result) == []
    assert (result.judges, result.corrected) == ([], None)


def test_an_alarm_or_a_canary_that_never_sang_stops_ranking(tmp_path) -> None:
    good, bad = (CanaryEvent(probe="known_bad", seed=1, success=success) for success in (False, True))
    assert ranking.unranked_because(run(tmp_path / "sang", judge(rows()), good, canary_every=100)) == []
    early = run(tmp_path / "early", judge(rows()), good, canary_every=25)
    assert "was silent for too long" in ranking.unranked_because(early)[0]
    alarmed = run(tmp_path / "alarm", judge(rows()), good, bad, good, canary_every=25)
    assert "raised an alarm: a scene that was just reset was called a success" in ranking.unranked_because(alarmed)[0]
    silent = run(tmp_path / "silent", judge(rows()), canary_every=25)
    assert "never came to a verdict in 200 judged episodes" in ranking.unranked_because(silent)[0]


def test_two_labs_meet_in_one_section_and_each_names_its_station(tmp_path) -> None:
    other = "9" * 64
    labs = [
        run(tmp_path / "a", judge(rows()), env_kwargs={"station": "a.yaml", "confirm_motion": True}, kind="real"),
        run(
            tmp_path / "b", judge(rows(station="far", station_sha256=other), station="far", sha=other), number=1, kind="real",
            env_kwargs={"station": "/elsewhere/b.yaml", "confirm_motion": True},
        ),
    ]  # fmt: skip
    (section,) = sections(labs, verified(labs))
    assert "station" not in section.title
    (row,) = section.unranked  # two of the three runs that a rank takes
    assert row.note == "2 of the 3 runs that a rank takes"
    assert "75.0 % (corrected for its verifier 75.0 % [" in row.claimed
    assert f"on lab {STATION[:8]}" in row.claimed
    assert "on far 99999999" in row.claimed


def test_a_result_whose_judge_was_edited_is_refused(tmp_path) -> None:
    folder = write_run(tmp_path / "run", cell="twin", seen=[judge(rows(200))], env=ENV, track="station")
    given = json.loads((folder / "result.json").read_text())
    given["judges"][0]["certificate"]["perturbations"]["none"]["right_success"] = 900
    (folder / "result.json").write_text(json.dumps(given))
    with pytest.raises(leaderboard.UserError, match=r"judges\.0\.certificate"):
        leaderboard.check_run(folder)
