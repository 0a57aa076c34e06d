"""Built model: what the toolkit says of it, and the files that it leaves in their places."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rkdeploy.contract.record import BiasCorrection
from rkdeploy.contract.spec import Quantization, TensorDtype
from rkdeploy.errors import ToolkitError
from rkdeploy.system.partial_file import PartialFile


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """Files that open the simulator again without the calibration images: step 1's files, or a float model's ONNX.

    The files of a quantized model only open with the toolkit version that wrote them (or, so far, with an older one).

    Attributes:
        model: the float graph.
        data, config: step 1's state and quantization table; None for a floating-point model.
    """

    model: Path
    data: Path | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """One input or output from the `.rknn` itself: (1, C, H, W); quantization is None for floating point."""

    name: str
    shape: tuple[int, ...]
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class GivenCounts:
    """Quantization that an ONNX file brought.

    Attributes:
        activations: number of tensors that the NPU stores as integers, between input and outputs.
        given: number of them with the file's scale and zero point; the others are calibrated.
        weights: number of tensors of weights in INT8.
        exact: number of them whose values lie on grids of 8 bits, which they keep.
    """

    activations: int
    given: int
    weights: int
    exact: int

    @property
    def sentence(self) -> str:
        """The counts, for the user."""
        return (
            f"The ONNX file's own quantization is built: {self.exact} of {self.weights} tensors of weights as they "
            f"are, and its scale and zero point for {self.given} of the {self.activations} tensors that the NPU stores "
            "between input and output; the others are calibrated. --calibration new calibrates all."
        )


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model that is open in the toolkit, and its files.

    Attributes:
        rknn: the file, or None when the model was opened for simulation only.
        kept: files for `Toolkit.open_kept`, or None when none were requested.
        input: the image input of the graph.
        outputs: in runtime order, which is the ONNX graph's.
        toolkit_version: version of rknn-toolkit2.
        disabled_rules: graph optimizations of the toolkit that failed on this graph and were disabled.
        float16: tensors of a quantized model whose layers stayed float16.
        seconds: duration of the whole build.
        log: the toolkit's output, with its per-layer table.
        bias_correction: what the bias correction did; None if it was not asked for, or the model was opened again.
        given: quantization that the ONNX file brought; None if all is calibrated, or the model was opened again.
    """

    rknn: Path | None
    kept: KeptFiles | None
    input: ModelTensor
    outputs: tuple[ModelTensor, ...]
    toolkit_version: str
    disabled_rules: tuple[str, ...]
    float16: tuple[str, ...]
    seconds: float
    log: Path = field(compare=False)
    bias_correction: BiasCorrection | None = None
    given: GivenCounts | None = None


def tensor_of(entry: dict[str, Any]) -> ModelTensor:
    """One input or output out of the worker's answer."""
    quantization = None
    if "scale" in entry:
        quantization = Quantization(cast("TensorDtype", entry["dtype"]), entry["scale"], entry["zero_point"])
    return ModelTensor(entry["name"], tuple(entry["shape"]), quantization)


def published(answer: dict[str, Any], onnx: Path, out: Path, keep: Path | None) -> KeptFiles | None:
    """Move the `.rknn` and the kept files from the worker's folder to their places."""
    _publish(Path(answer["rknn"]), out)
    if keep is None:
        return None
    sources = {key: Path(path) for key, path in answer["kept"].items()} or {"onnx": onnx}
    keep.mkdir(parents=True, exist_ok=True)
    paths = [keep / f"{out.stem}.{key}" for key in sources]
    for source, path in zip(sources.values(), paths, strict=True):
        _publish(source, path)
    return KeptFiles(*paths)


def _publish(source: Path, out: Path) -> None:
    """Copy next to the destination and rename: the destination is written whole or not at all."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with PartialFile(out) as partial:
            shutil.copyfile(source, partial)
    except OSError as error:
        raise ToolkitError(f'The file "{out}" cannot be written: {error.strerror}.') from None
