"""The proof that the contract reads the network right: two ways to the same boxes must agree.

One way is the trained model's own decode inside the full graph.  The other is the cut graph's raw tensors put through
the numpy decode that runs on the board, with the contract's anchors, strides, roles and activations.  A wrong anchor,
stride, order or activation cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.errors import VerificationError
from rkdeploy.graph.session import Session
from rkdeploy.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.record import Verification
from rkdeploy.runtime.protocol import HeadTensor
from rkdeploy.spec import ModelSpec

BOX_TOLERANCE_PX = 1e-3
SCORE_TOLERANCE = 1e-4
_REWRITE_TOLERANCE = 1e-5


def verify(
    full: onnx.ModelProto,
    decoded: str,
    row_levels: tuple[int, ...],
    cut: onnx.ModelProto,
    spec: ModelSpec,
    images: Iterable[tuple[str, NDArray[np.uint8]]],
) -> Verification:
    """Compare the full graph's decode with the contract's decode of the cut graph.

    Args:
        full: the network with the decode that its trainer exported.
        decoded: its output with rows x, y, w, h, objectness, classes.
        row_levels: the order in which those rows list the levels.
        cut: the cut graph.
        spec: the contract.
        images: (name, (1, height, width, 3) uint8 in the contract's colour order).

    Raises:
        VerificationError: when they differ by more than the tolerances, saying in what.
    """
    full_session, cut_session = Session(full), Session(cut)
    decoder = AnchorDecoder(spec)
    starts = _row_starts(spec, row_levels)
    names: list[str] = []
    rows = 0
    errors = np.zeros(3)
    for name, image in images:
        x = network_input(image, spec)
        expected = full_session.run({spec.input.name: x})[decoded][0]
        tensors = cut_session.run({spec.input.name: x})
        dense = decoder.decode_dense([HeadTensor(tensors[o.name]) for o in spec.outputs])
        got = np.concatenate((dense.xywh, dense.objectness[:, None], dense.class_probabilities), axis=1)
        got = np.concatenate([got[start:end] for start, end in starts])
        if got.shape != expected.shape:
            raise VerificationError(
                f"The full graph decodes {expected.shape} rows and fields, the contract {got.shape}."
            )
        difference = np.abs(got.astype(np.float64) - expected)
        errors = np.maximum(errors, [difference[:, :2].max(), difference[:, 2:4].max(), difference[:, 4:].max()])
        rows += len(expected)
        names.append(name)
    if not names:
        raise VerificationError("There is no image to verify the contract with.")
    result = Verification(
        images=len(names),
        image_names=tuple(names),
        rows=rows,
        max_xy_error_px=float(errors[0]),
        max_wh_error_px=float(errors[1]),
        max_score_error=float(errors[2]),
        box_tolerance_px=BOX_TOLERANCE_PX,
        score_tolerance=SCORE_TOLERANCE,
    )
    _require(result)
    return result


def verify_rewrite(
    trained: onnx.ModelProto,
    rewritten: onnx.ModelProto,
    decoded: str,
    spec: ModelSpec,
    images: Iterable[tuple[str, NDArray[np.uint8]]],
) -> float:
    """Prove that a graph written in another form decodes to the same boxes; returns the largest difference.

    float32 sums another way round differ in their last digits, and decoding multiplies that by the size of a box:
    allowed are `BOX_TOLERANCE_PX` plus 1e-5 of the figure itself.

    Args:
        trained: the graph as it was trained.
        rewritten: the graph in the form that is built.
        decoded: output of both with rows x, y, w, h, objectness, classes.
        spec: the contract, for the input.
        images: as for `verify`.

    Raises:
        VerificationError: when a figure differs by more.
    """
    sessions = Session(trained), Session(rewritten)
    worst = 0.0
    for name, image in images:
        x = network_input(image, spec)
        a, b = (s.run({spec.input.name: x})[decoded].astype(np.float64) for s in sessions)
        difference = np.abs(a - b)
        if not (difference <= BOX_TOLERANCE_PX + _REWRITE_TOLERANCE * np.abs(a)).all():
            raise VerificationError(
                f'The rewritten graph differs from the trained by up to {difference.max():.3g} on "{name}", allowed '
                f"are {BOX_TOLERANCE_PX} plus {_REWRITE_TOLERANCE:g} of the figure.",
                "Build with --stem trained and report the model.",
            )
        worst = max(worst, float(difference.max()))
    return worst


def network_input(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """(1, H, W, 3) uint8 to the graph's (1, 3, H, W) float32, (pixel - mean) / std."""
    mean, std = np.array(spec.input.mean, np.float32), np.array(spec.input.std, np.float32)
    return np.ascontiguousarray(((image.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def _row_starts(spec: ModelSpec, row_levels: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where the decoder's rows (finest level first) of each level of the full graph's order begin and end."""
    assert spec.anchors is not None
    cells = {o.level: o.shape[2] * o.shape[3] * spec.anchors.per_level for o in spec.outputs}
    bounds = np.cumsum([0, *(cells[level] for level in sorted(cells))])
    return [(int(bounds[level]), int(bounds[level + 1])) for level in row_levels]


def _require(result: Verification) -> None:
    wrong = []
    if not result.max_xy_error_px <= BOX_TOLERANCE_PX:
        wrong.append(f"box centres differ by {result.max_xy_error_px:.3g} px (strides or order)")
    if not result.max_wh_error_px <= BOX_TOLERANCE_PX:
        wrong.append(f"box sizes differ by {result.max_wh_error_px:.3g} px (anchors)")
    if not result.max_score_error <= SCORE_TOLERANCE:
        wrong.append(f"scores differ by {result.max_score_error:.3g} (activation or order)")
    if wrong:
        raise VerificationError(
            f"The contract does not read this network right: {'; '.join(wrong)}; allowed are {BOX_TOLERANCE_PX} px and "
            f"{SCORE_TOLERANCE}.",
            "Nothing was written. If the anchors came from --weights, they belong to another model.",
        )
