"""Explanation of one bundle: the toolkit's analysis and the float model's own ranges over a few images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.analysis.explain.attribute_loss import ATTRIBUTION_SECONDS, attribute_loss
from rkdeploy.analysis.explain.attribution_request import attribution_request
from rkdeploy.analysis.explain.causes import find_causes
from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.analysis.explain.tensor_ranges import measure_ranges
from rkdeploy.contract.bundle import Bundle
from rkdeploy.datasets.calibration import CalibrationImage
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.weight_loss import measure_weights
from rkdeploy.host.graph.verify import network_input
from rkdeploy.host.toolkit.error_analysis import LayerError, mean_over_images
from rkdeploy.host.toolkit.simulator import kept_files
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.images.fit import Letterboxed, LetterboxTransform, image_fit

_LOG = logging.getLogger(__name__)


def explain(
    bundle: Bundle,
    images: Sequence[CalibrationImage],
    *,
    calibration: Sequence[CalibrationImage] = (),
    seconds: float = ATTRIBUTION_SECONDS,
    toolkit_python: Path | None = None,
    on_progress: Callable[[str], None] = lambda _text: None,
) -> Explanation:
    """Analyze a quantized bundle on images that calibration did not see.

    Args:
        bundle: with the files that the toolkit left in it.
        images: one or more.
        calibration: other images, for options that are fitted to images in the emulation.
        seconds: time limit of the attribution by layers; 0 leaves it out.
        toolkit_python: interpreter that has rknn-toolkit2; None is this one.
        on_progress: called with the progress, for example `2/4`.

    Raises:
        RkdeployError: a float bundle, no images, or another failure.
    """
    kept, options = kept_files(bundle)
    if not options.quantized:
        raise RkdeployError(
            f'"{bundle.folder}" was built in {options.dtype}: there is no quantization to explain.',
            "Build it with --dtype int8.",
        )
    if not images:
        raise RkdeployError("There is no image to explain the model on.", "Give some with --data.")
    fit = image_fit(bundle.spec.input)
    boxed = [_boxed(fit(image.read())) for image in images]
    pixels = [image for image, _ in boxed]
    graph = onnx.load(str(bundle.cut_onnx))
    attribution = None
    with (
        tempfile.TemporaryDirectory(prefix="rkdeploy-explain-") as folder,
        Toolkit(log=Path(folder) / "toolkit.log", python=toolkit_python) as toolkit,
    ):
        on_progress("opening the model")
        _LOG.debug("%d images, toolkit %s", len(pixels), toolkit.version)
        toolkit.open_kept(kept, options)
        analyses = _analyses(toolkit, pixels, on_progress)
        calibrated = toolkit.ranges()
        figures_from = f"simulator (rknn-toolkit2 {toolkit.version})"
        if seconds > 0:
            fitted = [network_input(fit(image.read()).image, bundle.spec) for image in calibration]
            request = attribution_request(bundle, graph, boxed, fitted, seconds=seconds, on_progress=on_progress)
            attribution = attribute_loss(toolkit, request)
    layers = mean_over_images(analyses)
    ranges = measure_ranges(
        graph,
        calibrated,
        bundle.spec.input.name,
        ((image.path, network_input(shown, bundle.spec)) for image, shown in zip(images, pixels, strict=True)),
    )
    record = bundle.record
    weights = measure_weights(graph, bundle.spec, boxed, on_progress)
    return Explanation(
        bundle=bundle.folder.name,
        figures_from=figures_from,
        images=tuple(image.path for image in images),
        layers=layers,
        ranges=tuple(ranges.values()),
        outputs=record.agreement.outputs if record.agreement is not None else (),
        causes=find_causes(layers, ranges, record.calibration, record.agreement, weights),
        weights=weights,
        attribution=attribution,
    )


def _boxed(fitted: Letterboxed) -> tuple[NDArray[np.uint8], LetterboxTransform]:
    """A network input, (1, H, W, 3) uint8, copied from the buffer that the next image reuses, and its transform."""
    return fitted.image.copy(), fitted.transform


def _analyses(
    toolkit: Toolkit, pixels: Sequence[NDArray[np.uint8]], on_progress: Callable[[str], None]
) -> list[tuple[LayerError, ...]]:
    """The toolkit's analysis of each image."""
    analyses = []
    for number, image in enumerate(pixels):
        on_progress(f"{number + 1}/{len(pixels)}")
        analyses.append(toolkit.analyze(image))
    return analyses
