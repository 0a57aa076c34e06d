"""Predictions for a model on several chips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rkdeploy.analysis.estimate.board_factor import measured_models, on_board
from rkdeploy.analysis.estimate.estimate_source import EstimateSource, compiled_models, is_bundle
from rkdeploy.analysis.estimate.latency import latency_model, predict, require_predictable
from rkdeploy.analysis.estimate.prediction import Estimate, Prediction
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.contract.chips import canonical_dtype, canonical_target


def estimate(
    source: EstimateSource,
    targets: Sequence[str] | None = None,
    dtype: str = "int8",
    progress: Callable[[str], None] = lambda _: None,
    profiles: Sequence[Path] = (),
) -> Estimate:
    """Predict NPU time, rate and memory.

    Args:
        source: a checkpoint, an ONNX file or a bundle.
        targets: SoCs; None takes the bundle's own, of a file all that can be predicted.
        dtype: `int8`, or with less certainty `fp16`; without targets a bundle's own counts.
        progress: called with the step in words.
        profiles: files of `rkdeploy profile` from one board, for which the times are predicted; without targets its own
            SoC counts.

    Raises:
        RkdeployError: a profile is not usable (see `rkdeploy.analysis.estimate.board_factor`), an SoC or type is
            unknown or cannot be predicted, or the file, the bundle or the toolkit failed.
    """
    own_folder = [source.model.parent] if is_bundle(source.model) else []
    measured = measured_models(profiles, [source.built, *own_folder])
    if measured and targets is None and not own_folder:
        targets = [measured[0].target]
    chosen = tuple(dict.fromkeys(map(canonical_target, targets or latency_model().chips)))
    dtype = canonical_dtype(dtype)
    if is_bundle(source.model) and targets is None:
        own = read_bundle(source.model).model
        chosen, dtype = (own.target,), own.dtype
    for chip in chosen:
        require_predictable(chip, dtype)
    predictions: list[Prediction] = []
    input_hw = (0, 0)
    for compiled in compiled_models(source, chosen, dtype, progress):
        found = predict(compiled.model, compiled.target, dtype, compiled.origin)
        predictions.append(on_board(found, measured) if measured else found)
        input_hw = compiled.input_hw
    return Estimate(source.model.name, input_hw, tuple(predictions))
