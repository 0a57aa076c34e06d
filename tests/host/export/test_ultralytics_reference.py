"""The exported graphs against what the ultralytics package itself computed (tests/data/ultralytics)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import ultralytics
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data" / "ultralytics"
CASES = sorted(p.stem for p in DATA.glob("*.pt"))
TASKS = ("detect", "segment", "pose", "obb", "classify", "semantic", "depth")


def run(case: str, **changes: bool) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any], dict[str, Any]]:
    """The graph's outputs for the recorded input, the record, and its meta data."""
    recorded = dict(np.load(DATA / f"{case}.npz"))
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    info = replace(ultralytics.describe(checkpoint), **changes)  # type: ignore[arg-type]  # bool fields only
    image = recorded["input"]
    exported = ultralytics.export(checkpoint, info, image.shape[2], image.shape[3])
    return (
        Session(exported.model).run({"images": image.astype(np.float32) / 255}),
        recorded,
        json.loads(str(recorded["meta"])),
    )


def test_the_reference_set_is_complete() -> None:
    """Every task, and every generation with a head or blocks of its own, was recorded."""
    tasks = {json.loads(str(np.load(DATA / f"{case}.npz")["meta"]))["task"] for case in CASES}
    assert tasks == set(TASKS)
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_the_package(case: str) -> None:
    """Pixels within 1e-3 (and float32's digits), scores within 1e-5 of the package, prototypes within 1e-4."""
    outputs, recorded, meta = run(case)
    info = ultralytics.describe(read_checkpoint(DATA / f"{case}.pt"))
    assert info.task == meta["task"]
    names = meta["names"]
    if info.task in ("semantic", "depth"):
        difference = np.abs(outputs["output0"][0] - recorded["map"])
        # Logits, and meters of up to exp(4.7): float32 carries seven digits.
        assert (difference < 1e-4 + 1e-5 * np.abs(recorded["map"])).all()
        return
    assert list(info.class_names) == [names[key] for key in sorted(names, key=int)]
    if info.task == "classify":
        assert np.abs(outputs["output0"][0] - recorded["probs"]).max() < 1e-5
        return
    assert list(info.strides) == recorded["strides"].tolist()
    expected = recorded["pred_one2one" if info.end_to_end else "pred"]
    difference = np.abs(outputs["output0"][0] - expected)
    first_extra = 4 + len(info.class_names)
    # float32 carries seven digits: some of these untrained boxes are thousands of pixels wide.
    assert (difference[:4] < 1e-3 + 1e-6 * np.abs(expected[:4]).max(axis=0)).all()
    assert difference[4:first_extra].max() < 1e-5
    assert difference[first_extra:].max(initial=0) < (1e-3 if info.task == "pose" else 1e-4)
    if info.task == "segment":
        assert np.abs(outputs["output1"][0] - recorded["proto"]).max() < 1e-4


def test_maps_in_the_contract() -> None:
    """Classes, formula and preparation of the maps: one class has a background, depth is calibrated and stretched."""
    heads = {}
    for case in ("v26_sem", "v26_sem_one", "v26_depth"):
        checkpoint = read_checkpoint(DATA / f"{case}.pt")
        info = ultralytics.describe(checkpoint)
        assert info.strides == ((32,) if case == "v26_depth" else (16,))
        heads[case] = ultralytics.export(checkpoint, info, 64, 96)
    (many,), (one,) = heads["v26_sem"].head.class_maps, heads["v26_sem_one"].head.class_maps
    assert (many.class_names, many.background) == (("bolt", "nut", "washer", "screw", "pin"), False)
    assert (one.class_names, one.background) == (("background", "bolt"), True)
    assert heads["v26_sem_one"].head.taps[0].shape == (1, 1, 8, 12)
    formula = heads["v26_depth"].head.depth
    assert formula is not None
    assert (formula.kind, formula.exponential, formula.corners) == ("metric", True, True)
    assert (formula.low, formula.high) == (-4.0, 5.0)
    assert (formula.gain, formula.offset) == pytest.approx((0.9, 0.2), abs=1e-3)  # of half precision
    assert (heads["v26_depth"].input.fit, heads["v26_depth"].input.antialias) == ("stretch", False)


def test_other_families_are_not_taken() -> None:
    """A YOLOv5 checkpoint is YOLOv5's, and one of the package is the package's."""
    assert family_of(read_checkpoint(DATA / f"{CASES[0]}.pt")) is ultralytics
    assert not ultralytics.recognize(read_checkpoint(DATA.parent / "yolov5" / "v7_n.pt"))
    assert not ultralytics.recognize(read_checkpoint(DATA.parent / "yolov5" / "cls.pt"))
