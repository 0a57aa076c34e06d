"""Heads with several boxes per cell: SSD's with anchors (RetinaFace, UltraFace), and SCRFD's without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout, PointFormula, PriorFormula
from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Activation, Anchors, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.decoder import Candidates
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from tests.device.postprocess.both_ways import ODD_LAYOUTS, assert_same, both_ways
from tests.device.postprocess.tensor_layouts import as_nhwc, as_packed

GRIDS, STRIDES = ((4, 6), (2, 3)), (16, 32)
HW = (60, 96)
PRIORS = Anchors((((10.0, 20.0), (30.0, 40.0), (25.0, 15.0)), ((60.0, 50.0), (70.0, 80.0))))
STEPS = PriorFormula(steps_px=((15.5, 15.0), (32.0, 92 / 3)))


@dataclass(frozen=True)
class SeveralHead:
    """Two levels.

    Attributes:
        classes: number of classes.
        per_cell: boxes per cell of each level.
        priors: formula of a head with anchors; None for one that measures distances (SCRFD).
        softmax: whether scores share a softmax with the background.
        activation: of the scores.
    """

    classes: int = 1
    per_cell: tuple[int, int] = (3, 2)
    priors: PriorFormula | None = STEPS
    softmax: bool = False
    activation: Activation = "linear"

    @property
    def channels(self) -> dict[OutputRole, int]:
        """Channels per box."""
        return {"ltrb_boxes" if self.priors is None else "prior_boxes": 4, "scores": self.classes, "keypoint_xy": 4}

    @property
    def spec(self) -> ModelSpec:
        """The contract."""
        outputs = [
            HeadOutput(
                f"{role}.{level}", role, level, STRIDES[level], (1, count * self.per_cell[level], *GRIDS[level]),
                self.activation if role == "scores" else "linear",
            )
            for level in range(2)
            for role, count in self.channels.items()
        ]  # fmt: skip
        of_priors = self.priors is not None
        points = PointFormula(0.0, per_cell=self.per_cell[0])
        return ModelSpec(
            family="x",
            task="pose",
            class_names=tuple(str(number) for number in range(self.classes)),
            input=InputSpec("images", *(HW if of_priors else (64, 96))),
            outputs=tuple(outputs),
            anchors=PRIORS if of_priors else None,
            keypoints=KeypointLayout(2, False, 0.1, 0.5, True) if of_priors else KeypointLayout(2, False, 1.0, 0.0),
            points=PointFormula(score="softmax") if self.softmax else None if of_priors else points,
            prior_formula=self.priors,
        )

    def random(self, seed: int) -> list[NDArray[np.float32]]:
        """Values of the outputs."""
        rng = np.random.default_rng(seed)
        values = [rng.normal(0.5, 1.5, output.shape).astype(np.float32) for output in self.spec.outputs]
        return [np.abs(v) if o.role == "ltrb_boxes" else v for v, o in zip(values, self.spec.outputs, strict=True)]

    def reference(self, values: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        """The formulas in double, box by box."""
        rows: dict[str, list[Any]] = {"xy": [], "wh": [], "scores": [], "keypoint_xy": []}
        for level in range(2):
            boxes, scores, points = (v[0].astype(np.float64) for v in values[3 * level : 3 * level + 3])
            for y in range(GRIDS[level][0]):
                for x in range(GRIDS[level][1]):
                    for place in range(self.per_cell[level]):
                        box = boxes[4 * place : 4 * place + 4, y, x]
                        pairs = points[4 * place : 4 * place + 4, y, x].reshape(2, 2)
                        logits = scores[self.classes * place : self.classes * (place + 1), y, x]
                        self._box(rows, level, (x, y, place), box, pairs)
                        rows["scores"].append(self._score(logits))
        return {name: np.array(of) for name, of in rows.items()}

    def _box(self, rows: dict[str, list[Any]], level: int, at: tuple[int, int, int], box: Any, pairs: Any) -> None:
        x, y, place = at
        if self.priors is None:
            stride = STRIDES[level]
            low, high = np.array((x - box[0], y - box[1])), np.array((x + box[2], y + box[3]))
            rows["xy"].append((low + high) / 2 * stride)
            rows["wh"].append((high - low) * stride)
            rows["keypoint_xy"].append(((pairs + np.array((x, y))) * stride).ravel())
            return
        step = self.priors.steps_px[level] if self.priors.steps_px else (STRIDES[level],) * 2
        size, middle = np.array(PRIORS.levels_px[level][place]), (np.array((x, y)) + 0.5) * step
        rows["xy"].append(box[:2] * self.priors.center_gain * size + middle)
        rows["wh"].append(np.exp(box[2:] * self.priors.size_gain) * size)
        rows["keypoint_xy"].append((pairs * 0.1 * size + middle).ravel())

    def _score(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.activation == "sigmoid":
            return logits
        if not self.softmax:
            return np.asarray(1 / (1 + np.exp(-logits)))
        return np.asarray(np.exp(logits) / (1 + np.exp(logits).sum()))


HEADS = {
    "one class": SeveralHead(),
    "one class, sigmoid in the graph": SeveralHead(activation="sigmoid"),
    "sigmoids of two classes": SeveralHead(classes=2),
    "softmax of four classes": SeveralHead(classes=4, softmax=True),
    "strides that divide the input": SeveralHead(priors=PriorFormula(0.2, 0.3)),
    "distances (SCRFD)": SeveralHead(per_cell=(2, 2), priors=None),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_all_rows_follow_the_formula(head: SeveralHead) -> None:
    values = head.random(1)
    expected = head.reference(values)
    for dense in both_ways(lambda: PointDecoder(head.spec).decode_dense([HeadTensor(v) for v in values])):
        assert {field.name for field in dense} == set(expected)
        for field in dense:
            np.testing.assert_allclose(field.values, expected[field.name], rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_found_by_numpy_and_c_in_any_layout(head: SeveralHead, dtype: str) -> None:
    """The rows whose best class passes, from tensors as an NPU lays them out; landmarks with them."""
    scale = 0.02 if dtype == "int8" else 1.0
    tensors = [HeadTensor((v / scale).clip(-128, 127).astype(dtype), scale) for v in head.random(2)]
    dense = {field.name: field.values for field in PointDecoder(head.spec).decode_dense(tensors)}
    best = dense["scores"].argmax(axis=1)
    rows = np.flatnonzero(dense["scores"].max(axis=1) > np.float32(0.6))
    assert 5 < len(rows) < len(best)
    layouts = {"nchw": lambda t: t, "nhwc": as_nhwc, "4 lanes": lambda t: as_packed(t, 4), **ODD_LAYOUTS}
    for lay in layouts.values():
        laid, limits = [lay(tensor) for tensor in tensors], np.full(head.classes, 0.6, np.float32)

        def found(laid: list[HeadTensor] = laid, limits: Any = limits) -> tuple[Candidates, Any]:
            decoder = PointDecoder(head.spec)
            candidates = decoder.candidates(laid, limits)
            return candidates, decoder.details(laid, candidates.rows[::-1])

        (by_numpy, numpy_points), (by_c, c_points) = both_ways(found)
        assert_same(by_c, by_numpy, largest_px=1000)
        np.testing.assert_array_equal(by_c.rows, rows)
        np.testing.assert_array_equal(by_c.class_ids, best[rows])
        np.testing.assert_array_equal(c_points.keypoints, numpy_points.keypoints)
        np.testing.assert_allclose(
            by_c.xyxy[:, 2:] - by_c.xyxy[:, :2], dense["wh"][rows], rtol=1e-4, atol=1e-3 * dense["wh"].max()
        )
        np.testing.assert_allclose(
            c_points.keypoints[::-1, :, :2].reshape(len(rows), -1), dense["keypoint_xy"][rows], rtol=1e-5, atol=1e-4
        )


def test_a_share_needs_more_than_its_logit() -> None:
    """Two classes with equal logits share: each passes alone, together neither has more than a half."""
    head = SeveralHead(classes=2, softmax=True)
    values = [np.full(output.shape, -20.0, np.float32) for output in head.spec.outputs]
    values[1][0, 0:2, 1, 1] = 4.0, 4.0
    values[1][0, 2:4, 1, 1] = 4.0, 0.0
    tensors = [HeadTensor(v) for v in values]
    for found in both_ways(lambda: PointDecoder(head.spec).candidates(tensors, np.full(2, 0.6, np.float32))):
        assert (found.rows.tolist(), found.class_ids.tolist()) == ([(1 * 6 + 1) * 3 + 1], [0])
        np.testing.assert_allclose(found.scores, [np.exp(4) / (1 + np.exp(4) + 1)], rtol=1e-6)


GOOD = SeveralHead().spec


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (replace(GOOD, anchors=None), "relative to anchors, of which it has none"),
        (replace(SeveralHead(per_cell=(2, 2), priors=None).spec, anchors=PRIORS), "an anchor-free head"),
        (replace(GOOD, anchors=Anchors(PRIORS.levels_px[:1])), "anchors for 1 levels"),
        (replace(GOOD, prior_formula=PriorFormula(steps_px=((16.0, 15.0),))), "and 1 steps, but outputs for 2"),
        (replace(GOOD, keypoints=KeypointLayout(2, False, 0.1, 0.0, True)), "expected 0.5"),
        (replace(GOOD, input=InputSpec("images", 90, 96)), "expected"),
        (replace(SeveralHead(classes=2, softmax=True, activation="sigmoid").spec), "expected linear for scores"),
    ],
)
def test_contracts_that_do_not_fit(spec: ModelSpec, said: str) -> None:
    with pytest.raises(RkdeployError, match=said):
        PointDecoder(spec)
