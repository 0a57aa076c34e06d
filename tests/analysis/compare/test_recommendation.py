"""The Pareto front and the advice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.analysis.compare.comparison import BuildFigures, Row
from rkdeploy.analysis.compare.recommendation import advice, pareto_front
from rkdeploy.contract.agreement import FoundShare, MapAgreement
from tests.analysis.compare.compare_rows import agreement, failed, row


def front(*rows: Row) -> set[str]:
    return {f"{v.target} {v.input_hw[0]}" for v in pareto_front(rows)}


def test_slower_and_worse_is_not_on_the_front() -> None:
    """Of a fast one, a good one, and one that is slower than the fast and no better, the last is beaten."""
    assert front(row("fast", 3, 0.95), row("good", 9, 0.99), row("beaten", 5, 0.95)) == {"fast 640", "good 640"}


def test_equal_builds_are_both_on_the_front() -> None:
    """Neither beats the other where time and agreement are the same; a tie in one is decided by the other."""
    assert front(row("a", 3, 0.95), row("b", 3, 0.95)) == {"a 640", "b 640"}
    assert front(row("a", 3, 0.95), row("b", 3, 0.96)) == {"b 640"}
    assert front(row("a", 4, 0.95), row("b", 3, 0.95)) == {"b 640"}


def test_sizes_are_compared_by_accuracy_only() -> None:
    """Agreement is with the float model at the same size, so a small input cannot beat a large one by it; accuracy
    can.
    """
    small, large = row("small", 3, 0.99, size=320), row("large", 9, 0.98)
    assert front(small, large) == {"small 320", "large 640"}
    assert front(row("small", 3, 0.90, 0.78, size=320), row("large", 9, 0.99, 0.77)) == {"small 320"}
    assert front(row("small", 3, 0.99, 0.70, size=320), row("large", 9, 0.98, 0.77)) == {"small 320", "large 640"}


def test_all_accuracies_count() -> None:
    """A pose model is beaten only where boxes and keypoints are both no better."""
    assert front(row("a", 3, 0.9, (0.8, 0.7)), row("b", 9, 0.9, (0.8, 0.9))) == {"a 640", "b 640"}
    assert front(row("a", 3, 0.9, (0.8, 0.9)), row("b", 9, 0.9, (0.8, 0.9))) == {"a 640"}


def test_without_a_time_or_a_quality_there_is_no_place_on_the_front() -> None:
    """fp16 has no predicted time, a build without images no agreement, a failed one nothing."""
    assert front(row("half", None, 1.0, dtype="fp16"), row("blind", 3, None), failed("broken", "why")) == set()
    assert front() == set()


def test_fp16_is_beaten_only_beyond_its_interval() -> None:
    """A build as good and faster beats FP16's where the intervals do not overlap, and on one chip another FP16 one."""
    fast, near, half = row("a", 5, 0.99), row("b", 9, 0.99), row("c", 10, 0.99, dtype="fp16")
    assert front(fast, half) == {"a 640"}
    assert front(near, half) == {"b 640", "c 640"}
    small, large = (row("c", ms, 0.99, 0.7, dtype="fp16", size=size) for ms, size in ((10, 320), (11, 640)))
    assert front(small, large) == {"c 320"}
    assert front(half, row("d", 19, 0.99)) == {"c 640", "d 640"}
    assert front(half, row("d", 23, 0.99)) == {"c 640"}


def test_the_advice_says_by_which_formula() -> None:
    """FP16's time is distinguished from INT8's, and the candidates that its interval reaches are named."""
    fastest, closest = advice([row("a", 9, 0.95), row("c", 10, 1.0, dtype="fp16")], 0.9)
    assert "9.0 ms predicted (111 frames/s)" in fastest
    assert "Within the predictions' intervals of it: c fp16 640x640." in fastest
    assert "c fp16 640x640, agreement 100.0% in the simulator, 10.0 ms predicted by INT8's formula" in closest


def test_fastest_that_agrees() -> None:
    """The fastest whose agreement is enough, not the fastest of all; the figures in the sentence are its own."""
    first = advice([row("bad", 2, 0.5), row("slow", 20, 0.99), row("taken", 8, 0.93)], 0.9)[0]
    assert first == (
        "Fastest that keeps 90% agreement: taken int8 640x640, 8.0 ms predicted (125 frames/s), agreement 93.0% in "
        "the simulator."
    )


def test_what_lies_within_the_interval_is_named() -> None:
    """A build whose interval reaches into the fastest one's may be as fast, and is named."""
    first = advice([row("first", 8, 0.99), row("near", 9, 0.99), row("far", 20, 0.99)], 0.9)[0]
    assert "Within the predictions' intervals of it: near int8 640x640." in first
    assert "far" not in first


def test_none_agrees() -> None:
    """If no candidate is accurate enough, the message says so, with the closest one."""
    first = advice([row("a", 3, 0.5), row("b", 4, 0.6)], 0.9)[0]
    assert (
        first == "None whose time is predicted keeps 90% agreement with the float model; "
        "b int8 640x640 comes closest with 60.0%."
    )


def test_false_detections_cost_agreement() -> None:
    """As in a build, objects that the quantized model finds and the float model does not also count."""
    one = row("a", 3, 1.0)
    assert one.figures is not None
    assert one.figures.agrees(0.9)
    many = replace(agreement(1.0), precision=FoundShare(0.25, 0.05, 0.5, 2000, 0.5, (0.45, 0.55)))
    assert not replace(one.figures, agreement=many).agrees(0.9)


def test_most_accurate_with_labeled_images() -> None:
    """The highest accuracy, whatever its agreement; if its time is unknown, the best with a time is named too."""
    rows = [row("a", 8, 0.99, 0.75), row("half", None, 1.0, 0.78, dtype="fp16"), row("b", 9, 0.91, 0.77)]
    last = advice(rows, 0.9)[-1]
    assert last.startswith(
        "Most accurate: half fp16 640x640, mAP50-95 (boxes) 0.780, agreement 100.0% in the simulator"
    )
    assert "time not predicted. With a predicted time: b int8 640x640, mAP50-95 (boxes) 0.770" in last


def test_among_equals_the_fastest_is_most_accurate() -> None:
    """Chips that simulate alike differ in time only."""
    assert "Most accurate: b int8" in advice([row("a", 8, 0.99, 0.75), row("b", 3, 0.99, 0.75)], 0.9)[-1]


def test_without_labeled_images_each_size_has_its_closest() -> None:
    """Agreement says nothing across sizes, and the advice says so."""
    found = advice([row("a", 8, 0.99), row("a", 3, 0.97, size=320)], 0.9)
    assert [text.split(":")[0] for text in found] == [
        "Fastest that keeps 90% agreement",
        "Closest to the float model at 640x640",
        "Closest to the float model at 320x320",
        "Agreement is with the float model at the same size",
    ]


def test_nothing_known_no_advice() -> None:
    """Failed builds and builds without images give no advice, rather than a wrong one."""
    assert advice([failed("a", "why"), row("b", 3, None)], 0.9) == ()


@pytest.mark.parametrize(("share", "expected"), [(None, 0.7), (0.5, 0.5)])
def test_agreement_of_other_tasks(share: float | None, expected: float) -> None:
    """A classifier's share of first classes, and the least IoU of class maps, stand where there are no detections."""
    base = row("a", 3, 1.0).figures
    assert isinstance(base, BuildFigures)
    found = agreement(share or 0.0, 1000 if share is not None else 0)
    maps = (MapAgreement("lane", 0.99, 0.7), MapAgreement("area", 0.99, 0.9))
    assert replace(base, agreement=replace(found, class_maps=maps)).agreement_share == expected
    assert replace(base, agreement=replace(agreement(0, 0), same_first_class=0.8)).agreement_share == 0.8
