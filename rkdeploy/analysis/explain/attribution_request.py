"""Request of an attribution: the images with the float model's outputs, and the options whose gain is estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.chips import has_float16
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.compared_tensors import float_tensors
from rkdeploy.host.graph.depthwise_parts import uneven_depthwise
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from rkdeploy.host.toolkit.emulated_model import EmulatedLayer, Emulation
from rkdeploy.host.toolkit.files import FOUND_BY_SENSITIVITY
from rkdeploy.host.toolkit.float16 import module_name, tensors_of
from rkdeploy.images.fit import LetterboxTransform


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image with the float model's outputs.

    Attributes:
        values: the network input, (1, C, H, W) float32.
        transform: from source pixels to it.
        float_outputs: the float model's, in the contract's order.
    """

    values: NDArray[np.float32]
    transform: LetterboxTransform
    float_outputs: tuple[HeadTensor, ...]


@dataclass(frozen=True, slots=True)
class AttributionRequest:
    """Material that the loss is attributed by.

    Attributes:
        spec: contract of the model.
        images: images that calibration did not see; one or more.
        calibration: network inputs, (1, C, H, W) float32 each, for remedies that are fitted.
        module_of: name for `--float16-layers` of an emulated layer's module; empty if there is none.
        remedies: options of a build, with their emulation; None for one that is not emulated.
        seconds: time limit; a run that has begun is ended first.
        on_progress: called with the progress.
    """

    spec: ModelSpec
    images: Sequence[ExplainedImage]
    calibration: Sequence[NDArray[np.float32]]
    module_of: Callable[[EmulatedLayer], str]
    remedies: Mapping[str, Emulation | None]
    seconds: float
    on_progress: Callable[[str], None]


def attribution_request(
    bundle: Bundle,
    graph: onnx.ModelProto,
    images: Sequence[tuple[NDArray[np.uint8], LetterboxTransform]],
    calibration: Sequence[NDArray[np.float32]],
    *,
    seconds: float,
    on_progress: Callable[[str], None],
) -> AttributionRequest:
    """Request for a bundle.

    Args:
        bundle: a quantized one.
        graph: its float cut graph.
        images: images that calibration did not see, (1, H, W, 3) uint8, each with the transform from source pixels.
        calibration: network inputs of other images.
        seconds: time limit.
        on_progress: called with the progress.

    Raises:
        GraphError: when onnxruntime fails.
    """
    spec, session, view = bundle.spec, Session(graph), GraphView(graph)
    float16 = has_float16(bundle.model.target)

    def module_of(layer: EmulatedLayer) -> str:
        name = module_name(layer.tensors[0])
        try:
            return name if float16 and tensors_of([name], view, spec) else ""
        except RkdeployError:  # the toolkit's own name
            return ""

    explained = [
        ExplainedImage(network_input(pixels, spec), transform, tuple(float_tensors(session, spec, pixels)))
        for pixels, transform in images
    ]
    return AttributionRequest(spec, explained, calibration, module_of, _remedies(bundle, graph), seconds, on_progress)


def _remedies(bundle: Bundle, graph: onnx.ModelProto) -> dict[str, Emulation | None]:
    """Options that the bundle was built without."""
    record = bundle.record.toolkit
    corrected = record.bias_correction is not None
    searched = record.algorithm == FOUND_BY_SENSITIVITY
    found: dict[str, Emulation | None] = {}
    if not corrected:
        found["--bias-correction"] = Emulation(bias_correction=True)
    if not searched:
        found[f"--algorithm {FOUND_BY_SENSITIVITY}"] = Emulation(search_ranges=True)
    if not corrected and not searched:
        found[f"--algorithm {FOUND_BY_SENSITIVITY} --bias-correction"] = Emulation(True, True)
    if uneven_depthwise(graph):
        found["--depthwise-parts 3"] = None
    return found
