"""From the cut graph to a `.rknn`: the step that a build and a trial of `rkdeploy tune` share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.embedded_contract import custom_string
from rkdeploy.contract.record import ToolkitSettings
from rkdeploy.contract.spec import ModelSpec, NpuModel
from rkdeploy.errors import ToolkitError
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.quantization import float16_word
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.toolkit.built_model import BuiltModel
from rkdeploy.host.toolkit.error_analysis import mean_over_images
from rkdeploy.host.toolkit.float16 import default_float16, tensors_of, worst_layers
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions

_LOG = logging.getLogger(__name__)

ANALYZED_IMAGES = 4

CalibrationInput = Callable[[], Iterator[NDArray[np.uint8]]]
"""Returns a new iterator over the calibration images at each call: (1, 3, H, W) uint8, the network's input."""


def toolkit_settings_of(options: BuildOptions) -> ToolkitSettings:
    """The toolkit's settings for a build; a float build quantizes by no algorithm and no method."""
    quantized = options.dtype != FLOAT_DTYPE
    return ToolkitSettings(
        target=options.target,
        dtype=options.dtype,
        algorithm=options.algorithm if quantized else None,
        method=options.method if quantized else None,
        optimization_level=options.optimization_level,
    )


def toolkit_options_of(options: BuildOptions, spec: ModelSpec) -> ToolkitOptions:
    """The toolkit's options for a build."""
    return ToolkitOptions(
        **asdict(toolkit_settings_of(options)),
        mean=spec.input.mean,
        std=spec.input.std,
        custom_string=custom_string(spec),
    )


def build_npu_model(
    toolkit: Toolkit,
    options: BuildOptions,
    spec: ModelSpec,
    graph: tuple[Path, onnx.ModelProto],
    calibration: CalibrationInput,
    rknn: Path,
    keep: Path,
    detail: Callable[[str], None],
    given: Mapping[str, tuple[float, int]] | None = None,
) -> tuple[BuiltModel, ModelSpec]:
    """Build the `.rknn` and leave it open for the simulator.

    Args:
        toolkit: open.
        options: of the build.
        spec: the contract of the cut graph.
        graph: the cut graph, as a file and as read.
        calibration: the images; used by quantized builds only.
        rknn: file to write.
        keep: folder for the files that open the simulator again, of quantized builds only.
        detail: called with the progress.
        given: see `Toolkit.build`.

    Returns:
        The model, and the contract with its quantization and its name.

    Raises:
        RkdeployError: the toolkit failed, or its tensors differ from the contract's.
    """
    file, model = graph
    toolkit_options = toolkit_options_of(options, spec)
    quantized = toolkit_options.quantized
    float16 = options.float16 if options.float16 is not None else default_float16(spec, options.target, options.dtype)
    _LOG.debug(
        "float16 layers: %s, %s",
        "as given" if options.float16 is not None else "by default",
        float16_word(float16),
    )
    built = toolkit.build(
        file,
        toolkit_options,
        calibration() if quantized else (),
        rknn,
        keep if quantized else None,
        float16=tensors_of(float16.layers, GraphView(model), spec),
        propose_float16=float16.auto,
        bias_correction=options.bias_correction,
        given=given,
    )
    if float16.worst:
        worst = _worst(toolkit, calibration, float16.worst, detail)
        built = toolkit.change_float16(worst, rknn, keep)
    return built, replace(_with_quantization(spec, built), model=NpuModel(rknn.name, options.target, options.dtype))


def _worst(
    toolkit: Toolkit, calibration: CalibrationInput, count: int, detail: Callable[[str], None]
) -> tuple[str, ...]:
    """The layers with the largest standalone error on the first calibration images."""
    analyses = []
    for number, image in enumerate(islice(calibration(), ANALYZED_IMAGES), 1):
        detail(f"layer errors, image {number}")
        analyses.append(toolkit.analyze(np.ascontiguousarray(image.transpose(0, 2, 3, 1))))
    return worst_layers(mean_over_images(analyses), count)


def _with_quantization(spec: ModelSpec, model: BuiltModel) -> ModelSpec:
    """The contract with the toolkit's scales and zero points, after checking that the tensors are the same."""
    got = [(o.name, o.shape) for o in model.outputs]
    expected = [(o.name, o.shape) for o in spec.outputs]
    if got != expected:
        raise ToolkitError(f"The quantized model has the outputs {got}, expected {expected}.")
    outputs = tuple(
        replace(output, quantization=tensor.quantization)
        for output, tensor in zip(spec.outputs, model.outputs, strict=True)
    )
    return replace(spec, outputs=outputs)
