"""Arithmetic of the accuracy bench on made matches: pairing, intervals, resuming, and which pictures may calibrate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.accuracy.bootstrap import image_weights
from rkdeploy.accuracy.truth_matching import IOU_THRESHOLDS, ClassMatches
from tests.benchmarks import accuracy_runs
from tests.benchmarks.accuracy_figures import Pictures, Resampled, mean_of, paired, precision_of, spread
from tests.benchmarks.accuracy_pictures import PictureSplit, require_apart, split
from tests.benchmarks.accuracy_runs import Job, result_of
from tests.benchmarks.accuracy_store import BenchStore, Measured
from tests.benchmarks.accuracy_table import table, tabled
from tests.benchmarks.bench_accuracy import Variant

LEVELS = len(IOU_THRESHOLDS)
PICTURES = 5


def picture(found: int, objects: int, levels: int = LEVELS) -> tuple[ClassMatches, ...]:
    """A picture of one class: `found` of its objects, right up to the given number of IoU thresholds."""
    hits = np.zeros((LEVELS, found), np.bool_)
    hits[:levels] = True
    return (ClassMatches(np.full(found, 0.9), hits, np.ones_like(hits), objects), ClassMatches(*_NONE, 0))


_NONE = (np.zeros(0), np.zeros((LEVELS, 0), np.bool_), np.zeros((LEVELS, 0), np.bool_))
PERFECT = [picture(4, 4)] * PICTURES
ONE_LOST = [picture(0, 4), *PERFECT[1:]]


def test_precision_by_hand() -> None:
    """All found at the first four thresholds of ten: AP 0.4, AP50 1, in every resample."""
    half = precision_of([picture(4, 4, levels=4)] * PICTURES)
    assert half.ap.whole == pytest.approx(0.4)
    assert half.ap50.whole == 1
    assert half.ap.interval() == pytest.approx((0.4, 0.4))
    none = precision_of([picture(1, 0)] * PICTURES)
    assert np.isnan([none.ap.whole, *none.ap.interval()]).all()


def test_differences_are_paired_by_picture() -> None:
    """Only resamples with the lost picture differ, by its share of the objects, however the precision is read."""
    base, variant = precision_of(PERFECT).ap, precision_of(ONE_LOST).ap
    difference = variant.minus(base)
    lost = image_weights(PICTURES)[:, 0] / PICTURES
    assert difference.drawn[lost == 0] == pytest.approx(0)
    assert difference.drawn == pytest.approx(-lost, abs=0.01)  # 101 recalls
    assert difference.whole == pytest.approx(-0.2, abs=0.01)
    low, high = difference.interval()
    assert low < -0.2 < high <= 0
    assert base.minus(base).interval() == (0, 0)


def test_differences_are_paired_by_sample() -> None:
    """A calibration sample that one of them lacks does not count; without a common one there is no difference."""
    flat = {name: Resampled(value, np.full(200, value)) for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.9))}
    found = paired({0: flat["b"], 2: flat["c"]}, {0: flat["a"], 1: flat["c"]})
    assert found is not None
    assert found.whole == pytest.approx(0.1)
    assert paired({0: flat["a"]}, {1: flat["a"]}) is None
    assert mean_of([flat["a"], flat["c"]]).whole == pytest.approx(0.7)


def test_median_and_worst() -> None:
    """Of the finite figures."""
    found = spread({"a": 0.9, "b": 0.2, "c": 0.8, "d": np.nan})
    assert found is not None
    assert (found.median, found.worst, found.model) == (0.8, 0.2, "b")
    assert spread({"d": np.nan}) is None


def test_pictures_are_told_apart_by_content(tmp_path: Path) -> None:
    """A copy under another name is the same picture, and a labeled one never calibrates."""
    for i in range(9):
        (tmp_path / f"{i}.jpg").write_bytes(bytes([i]))
    (tmp_path / "copy.jpg").write_bytes(bytes([3]))
    labeled = tmp_path / "elsewhere.jpg"
    labeled.write_bytes(bytes([5]))
    found = split(tmp_path.glob("?*.jpg"), 30, [labeled])
    assert len(found.measured) == 3  # a third of the nine
    assert not found.pool.keys() & found.measured.keys()
    assert bytes([5]) not in [file.read_bytes() for file in found.pool.values()]
    assert len(found.pool) in (5, 6)  # the labeled one may be among those that measure
    require_apart(found.pool, found.measured)
    with pytest.raises(ValueError, match="1 pictures that measure were calibrated on"):
        require_apart([*found.pool, min(found.measured)], found.measured)
    with pytest.raises(ValueError, match="too few"):
        split([labeled], 30)


def job(tmp_path: Path, variant: str = "default", draw: int = 0) -> Job:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    options = () if variant == "default" else (variant,)
    return Job(model, (), variant, options, draw, 20, PictureSplit({"p": tmp_path}, {"q": tmp_path}), ())


def made(facts: dict[str, object], found: Pictures) -> Measured:
    return Measured({"predicted_ms": 2.0, "seconds": 5.0, **facts}, found, found, PERFECT)


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results kept whole are not built again; another seed, variant or state of the code is, and a damaged result."""
    built: list[tuple[str, int]] = []

    def build(one: Job, store: BenchStore, code: str, scratch: Path) -> Measured:
        assert (scratch.is_dir(), isinstance(store, BenchStore), len(code)) == (True, True, 2)
        built.append((one.variant, one.draw))
        return made({"model": one.model.name, "variant": one.variant, "draw": one.draw}, ONE_LOST)

    monkeypatch.setattr(accuracy_runs, "_measured", build)
    store = BenchStore(tmp_path / "state")
    first, again = (result_of(job(tmp_path), store, "c1") for _ in range(2))
    assert built == [("default", 0)]
    assert again.facts == first.facts
    assert precision_of(again.found).ap.whole == precision_of(first.found).ap.whole
    assert precision_of(again.float_labeled).ap.whole == 1
    for one, code in ((job(tmp_path, draw=1), "c1"), (job(tmp_path, "x"), "c1"), (job(tmp_path), "c2")):
        result_of(one, store, code)
    assert built[1:] == [("default", 1), ("x", 0), ("default", 0)]
    for part in ("msgpack", "json"):
        (tmp_path / "state" / f"{job(tmp_path).key('c1')}.{part}").write_bytes(b"\x81")
        result_of(job(tmp_path), store, "c1")
    assert len(built) == 6


def test_table() -> None:
    """Means over calibration samples, differences from the first variant, refusals, and the summary over models."""
    results = [
        made({"model": model, "variant": variant, "draw": draw}, found)
        for draw in (0, 1)
        for model in ("a.pt", "b.pt")
        for variant, found in (("default", PERFECT), ("kl", ONE_LOST if model == "b.pt" else PERFECT))
    ]
    results.append(Measured({"model": "c.pt", "variant": "default", "draw": 0, "refused": "Error: no", "seconds": 1.0}))
    rows = tabled(results)
    lost = rows[3]
    assert (lost["model"], lost["variant"], lost["draws"], lost["objects"]) == ("b.pt", "kl", 2, 20)
    assert lost["ap_difference"] == lost["map_difference"] == lost["map_loss"] == pytest.approx(-0.2, abs=0.01)
    assert lost["ap_difference_interval"][0] < -0.2 < lost["ap_difference_interval"][1]
    assert rows[0]["ap_difference"] is None
    json.dumps(rows, allow_nan=False)
    text = table(rows)
    assert "| a.pt | kl | 2 | 5, 20 | 1.000 (1.000 to 1.000) | 1.000 | +0.000 (+0.000 to +0.000) |" in text
    assert "| c.pt | default | 0 | Error: no |" in text
    assert "- kl, AP to float: median 0.901, worst 0.802 (b.pt)" in text
    assert "- default, not built: c.pt" in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(columns) == 1


def test_variants() -> None:
    """For all models, or for those that are named."""
    assert Variant.parse("default") == Variant("default", (), ())
    one = Variant.parse("parts@a.onnx,b.onnx=--depthwise-parts 3 --names='a b'")
    assert one == Variant("parts", ("--depthwise-parts", "3", "--names=a b"), ("a.onnx", "b.onnx"))
    assert one.fits("a.onnx")
    assert not one.fits("c.onnx")
    assert Variant.parse("kl=--algorithm kl_divergence").fits("c.onnx")
