"""What is concluded of runs."""

from __future__ import annotations

import pytest

from qlot.benchmarks.report.facts import (
    compared,
    line_over_steps,
    lines_over_landmarks,
    peak_of,
    rates,
    rows,
    usual_steps,
    within,
)
from tests.benchmarks.made import data, network, result, series, subject


def test_an_iteration_is_the_slope() -> None:
    line = line_over_steps(result().subjects[0], "frame")
    assert line is not None
    assert line.a.value == pytest.approx(1, abs=0.1) and line.b.value == pytest.approx(1, abs=0.05)
    assert line.b.low < line.b.value < line.b.high


def test_two_points_are_no_line() -> None:
    timed = [series("frame", k, 1.0 + k) for k in (1, 2)]
    assert line_over_steps(result(subject(series=timed)).subjects[0], "frame") is None


def test_a_landmark_is_the_slope_over_bundles_that_differ_in_nothing_else() -> None:
    several = [subject(f"of {n}", n) for n in (36, 68, 98, 478)]
    other = subject("other weights", 200)
    other["bundle"] |= {"checkpoint_sha256": "d" * 64}
    (found,) = lines_over_landmarks(result(*several, other))
    assert found.counts == (36, 68, 98, 478)
    assert found.line.b.value == pytest.approx(1 / 98, rel=0.05)
    assert not list(lines_over_landmarks(result(*several[:2])))


def test_a_user_gets_the_bundles_own_steps() -> None:
    own = subject()
    own["bundle"] |= {"steps": 2}
    assert usual_steps(result(own).subjects[0]) == 2
    own["bundle"] |= {"steps": 3}  # not measured
    assert usual_steps(result(own).subjects[0]) == 1


def test_subjects_of_a_run_are_compared_in_pairs() -> None:
    found = {(c.part, c.iterations): c for c in within(result(subject("old"), subject("new", speed=1.1)))}
    assert set(found) >= {("frame", k) for k in (1, 2, 4)}
    assert found["frame", 2].ratio.value == pytest.approx(1.1, rel=1e-3)
    assert found["frame", 2].verdict == "10.0% slower"
    same = next(iter(within(result(subject("old"), subject("same")))))
    assert same.verdict == "no difference shown"


def test_a_bundle_is_set_beside_a_peer_by_its_network_alone() -> None:
    (found,) = within(result(subject(), network("a peer", 4.0)))  # of one call: no slope to compare
    assert (found.below, found.part, found.iterations) == ("a peer", "network", 1)
    assert found.ratio.value == pytest.approx(0.25, rel=0.05)
    steps = network("one graph", 1.0) | {"series": [series("network", k, 1 + 2 * k, 3) for k in (1, 2, 4)]}
    by_part = {(c.part, c.iterations): c.ratio.value for c in within(result(subject(), steps))}
    assert by_part["an iteration", 0] == pytest.approx(0.25, rel=0.1)
    assert by_part["network", 4] == pytest.approx(2.5 / 9, rel=0.05)


def test_runs_apart_are_compared_without_pairs() -> None:
    old, new = result(number=1), result(subject(speed=2.0), number=2)
    found = next(compared(new.subjects[0], old.subjects[0], paired=False))
    assert found.ratio.value == pytest.approx(2, rel=0.05) and "slower" in found.verdict


def test_achieved_arithmetic_is_over_the_peak_of_the_same_run() -> None:
    found = result(subject(), network("GEMM peak", 2.0, "yardstick", 10**9))
    assert peak_of(found) == pytest.approx(1000, rel=0.05)
    extractor, refiner = rates(found.subjects[0], found)
    assert extractor.gflops == pytest.approx(2 * 0.03 / 0.25e-3, rel=0.05)
    assert extractor.share == pytest.approx(0.24, rel=0.1) and refiner.share == pytest.approx(0.08, rel=0.1)
    alone = result()
    assert peak_of(alone) is None and next(rates(alone.subjects[0], alone)).share is None


def test_yardsticks_are_no_rows() -> None:
    found = rows([result(subject(), network("GEMM peak", 2.0, "yardstick", 10**9), network("a peer", 4.0))])
    assert [row.subject.name for row in found] == ["a bundle", "a peer"]
    assert found[0].frame and found[0].frame.p50 == pytest.approx(2, rel=0.05) and found[1].frame is None


def test_a_pasted_result_says_the_same() -> None:
    from qlot.benchmarks.results.paste import from_text, to_text

    sent = result(subject("old"), subject("new", speed=1.1))
    came = from_text(to_text(sent), "x")
    for one, other in zip(within(sent), within(came), strict=True):
        assert other.ratio.value == pytest.approx(one.ratio.value, rel=2e-3)
    assert data()["valid"]
