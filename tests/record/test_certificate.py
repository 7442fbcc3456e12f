"""A certificate follows from an audit's rows, holds for one verifier at one station, and fails closed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from certificates import AT, CODE, STATION, rows

from autoenvbench.record.certificate import Case, Certificate, certificate_of, uncertified_because
from autoenvbench.record.certificate_store import find, store, store_folder
from autoenvbench.record.statistics import lower_bound, rogan_gladen


def wanting(lines: list[str]) -> str:
    return "; ".join(certificate_of(lines).shortcomings())


def test_what_certifies_and_what_does_not() -> None:
    assert wanting(rows()) == ""
    found = certificate_of(rows())
    assert min(found.bounds) == pytest.approx(0.05 ** (1 / 299))
    assert found.frame_ms_p95 == 19.0
    assert "true-positive rate is at least 0.989998, and 0.99" in wanting(rows(298))
    assert "true-negative rate" in wanting(rows(400, wrong=1))  # an error more wants 473 of each
    assert wanting(rows(472, wrong=1)) == ""
    assert "598 of 1000 cases are done" in wanting(rows(planned=1000))
    assert "near misses" in wanting(rows(margin=30.0))
    assert "the true-positive rate is at least 0.000000" in wanting(rows(margin=1.5))  # all in the guard band
    assert "guard band" in wanting(rows(guard_mm=3.0))
    assert "drawn" in wanting(rows(twins="drawn"))
    assert "abstained on 40 of 638" in wanting(rows(abstained=20))
    assert wanting(rows(abstained=10)) == ""
    assert certificate_of(rows(1, abstained=1, margin=0.5)).guard.abstained == 2


def test_rows_that_were_left_out_or_written_in_are_seen() -> None:
    lines = rows()
    for bad in (lines[:5] + lines[6:], [lines[0], *lines[2:]], [*lines, lines[-1]], lines[1:], [], [*lines, "{}"]):
        with pytest.raises(ValueError, match=r"numbered|it is empty|validation error"):
            certificate_of(bad)
    with pytest.raises(ValueError, match="is none of a success"):
        Case(case=0, perturbation="none", truth=True, margin_mm=-1.0, verdict=True)


def test_a_certificate_holds_for_one_code_at_one_station_and_as_it_was_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOENVBENCH_CERTIFICATES", str(tmp_path))
    other = hashlib.sha256(b"other").hexdigest()
    assert find(CODE, STATION) == (None, None)
    assert "not certified for station lab" in uncertified_because(None, **AT)[0]
    text = "\n".join(rows()) + "\n"
    file = store(certificate_of(text.splitlines()), text)
    found, problem = find(CODE, STATION)
    assert problem is None
    assert uncertified_because(found, **AT) == []
    assert find(other, STATION)[0] is None
    for what, value in (
        ("env", "ENPIRE/PinInsertion-real-v0"),
        ("verifier", other),
        ("station", "another"),
        ("station_sha256", other),
    ):
        assert "is of another" in uncertified_because(found, **{**AT, what: value})[0]

    # A file that was renamed for another station says itself whose it is.
    for suffix in (".json", ".jsonl"):
        (tmp_path / f"{CODE[:16]}-{other[:16]}{suffix}").write_bytes(file.with_suffix(suffix).read_bytes())
    moved, _ = find(CODE, other)
    assert "calibration of the station" in uncertified_because(moved, **{**AT, "station_sha256": other})[0]

    bad = certificate_of(rows(200, wrong=5))
    data = json.loads(bad.model_dump_json())
    data["perturbations"]["none"] |= {
        "missed_success": 0,
        "false_success": 0,
        "right_success": 400,
        "right_failure": 400,
    }
    assert uncertified_because(Certificate.model_validate(data), **AT) != []  # more cases than were planned
    for certificate, lines in (
        (json.dumps(data), "\n".join(rows(200, wrong=5))),
        (file.read_text(), text.replace('"verdict":false', '"verdict":true', 1)),
        (file.read_text(), ""),
        ("[]", text),
        ("no json", text),
        (file.read_text()[:-30], text),
    ):
        file.write_text(certificate)
        file.with_suffix(".jsonl").write_text(lines)
        nothing, problem = find(CODE, STATION)
        assert nothing is None
        assert "does not count" in problem
    file.with_suffix(".jsonl").unlink()
    assert find(CODE, STATION)[0] is None


def test_certificates_are_kept_outside_of_what_cages_show(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("AUTOENVBENCH_CERTIFICATES", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "autoenvbench" / "certificates"


def test_a_bound_is_exact() -> None:
    from scipy.stats import binomtest

    for k, n in ((299, 299), (472, 473), (10, 20), (1, 1)):
        wanted = binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
        assert lower_bound(k, n) == pytest.approx(wanted)
    assert lower_bound(0, 0) == lower_bound(0, 9) == 0.0


def test_a_rate_is_corrected_for_its_judge_and_its_interval_covers() -> None:
    # By hand: (0.60 + 0.90 - 1) / (0.95 + 0.90 - 1)
    assert rogan_gladen((60, 100), (95, 100), (90, 100))[0] == pytest.approx(0.5 / 0.85)
    rate, low, high = rogan_gladen((150, 200), (500, 500), (500, 500))
    assert rate == 0.75
    assert low < 0.69
    assert 0.80 < high < 0.82
    assert rogan_gladen((5, 10), (4, 10), (5, 10)) is None  # no better than a coin
    assert rogan_gladen((0, 0), (9, 10), (9, 10)) is None
    rng = np.random.default_rng(0)
    for truth, se, sp, judged in ((0.8, 0.97, 0.98, 300), (0.95, 0.995, 0.99, 400), (0.1, 0.9, 0.95, 150)):
        covered = 0
        for _ in range(600):
            seen = rng.binomial(200, truth * se + (1 - truth) * (1 - sp))
            made = rogan_gladen((seen, 200), (rng.binomial(judged, se), judged), (rng.binomial(judged, sp), judged))
            covered += made[1] <= truth <= made[2]
        assert 0.92 < covered / 600 <= 0.99
