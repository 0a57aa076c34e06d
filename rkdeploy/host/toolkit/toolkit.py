"""The interface of the vendor's toolkit: build a `.rknn`, and simulate the NPU on this PC.

rknn-toolkit2 is never imported here.  It runs in a child process (`worker.py`), possibly with another
interpreter; its output goes to a log file, and every failure becomes one `ToolkitError`.

An int8 build goes through the toolkit's two hybrid quantization steps.  Without changes between them, their simulated
outputs are bit for bit those of its plain `build`; layers that stay float16 are chosen between them.
Step 1's files are all that step 2 needs: kept next to the `.rknn`, they open the simulator again later, without the
calibration images.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rkdeploy.contract.record import BiasCorrection
from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit.built_model import BuiltModel, GivenCounts, KeptFiles, published, tensor_of
from rkdeploy.host.toolkit.calibration_files import write_dataset
from rkdeploy.host.toolkit.emulated_model import AS_BUILT, EmulatedModel, Emulation
from rkdeploy.host.toolkit.error_analysis import LayerError, parse_error_analysis
from rkdeploy.host.toolkit.files import FOUND_BY_SENSITIVITY
from rkdeploy.host.toolkit.process import PYTHON_VARIABLE, ToolkitProcess
from rkdeploy.host.toolkit.toolkit_options import DTYPE_NAMES, ToolkitOptions

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

Progress = Callable[[str], None]


class Toolkit:
    """The toolkit in its own process: a context manager, with at most one model open at a time.

    Entering starts the child and returns at once: the toolkit's imports (1 to 2 s) run while the caller prepares the
    graph.  The first call that needs an answer waits for them.  Leaving ends the child, whatever its state.

    Args:
        log: file for the toolkit's output; overwritten.
        python: interpreter that has rknn-toolkit2; default is the environment variable RKDEPLOY_TOOLKIT_PYTHON, then
            the running one.
        timeout_s: limit per call in seconds before the child is ended; None waits forever.
        on_progress: called with the stage of a build, for example `calibrating layer 12/142`.
    """

    def __init__(
        self,
        *,
        log: Path,
        python: Path | None = None,
        timeout_s: float | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        chosen = python or Path(os.environ.get(PYTHON_VARIABLE) or sys.executable)
        if len(chosen.parts) > 1:  # not resolved: a venv's python is a link, and its location matters
            chosen = chosen.absolute()
        self._process = ToolkitProcess(chosen, log.absolute(), timeout_s)
        self._on_progress = on_progress
        self._described: dict[str, Any] | None = None
        self._open: BuiltModel | None = None

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    @property
    def version(self) -> str:
        """Version of the installed toolkit, for example `2.5.0`.

        Raises:
            ToolkitError: when it is missing or cannot be imported, saying which pin to install.
        """
        return str(self._process.hello()["version"])

    @property
    def targets(self) -> tuple[str, ...]:
        """The chips that this toolkit knows, with its own names."""
        return tuple(self._describe()["targets"])

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The quantized dtypes that this toolkit knows, with its own names; not every target supports all."""
        return tuple(self._describe()["dtypes"])

    def build(
        self,
        onnx: Path,
        options: ToolkitOptions,
        calibration: Iterable[Path | NDArray[np.uint8]],
        out: Path,
        keep: Path | None = None,
        *,
        float16: Sequence[str] = (),
        propose_float16: bool = False,
        bias_correction: bool = False,
        given: Mapping[str, tuple[float, int]] | None = None,
    ) -> BuiltModel:
        """Build a `.rknn`, and leave the model open for `simulate`.

        Args:
            onnx: the graph, with one (1, 3, H, W) input of (pixel - mean) / std.
            options: options of the model.
            calibration: letterboxed uint8 images in the network's color order: arrays (3, H, W) or (H, W, 3), with or
                without a leading 1, or `.npy` files of (1, 3, H, W).  Read one by one.  Empty for fp16.
            out: the `.rknn`; written whole or not at all.
            keep: folder for the files that open the simulator later, named after `out`; None keeps none.
            float16: tensors of a quantized model whose layers stay float16, by their names in `onnx`.
            propose_float16: True to let the toolkit choose such layers itself; takes longer.
            bias_correction: True to correct the biases of an INT8 model by its calibration images.
            given: scale and zero point of activations of an INT8 model by their names in `onnx`, instead of calibrated
                ones; weights that lie on a grid of 8 bits keep it then.  None calibrates all.

        Raises:
            CalibrationError: no or unusable calibration images.
            ToolkitError: the toolkit refused, failed, crashed, was killed or did not answer in time.
        """
        if not onnx.is_file():
            raise ToolkitError(f'The ONNX file "{onnx}" does not exist.')
        started = time.monotonic()
        self._open = None
        dataset = write_dataset(calibration, self._process.work_dir / "calibration") if options.quantized else None
        answer = self._ask_with_reasons(
            "build",
            {
                **_build_request(onnx, options, dataset, float16),
                "propose": propose_float16,
                "bias_correction": bias_correction,
                "given": dict(given) if given is not None and options.quantized else None,
            },
        )
        return self._opened(answer, out, published(answer, onnx, out, keep), started)

    def change_float16(self, float16: Sequence[str], out: Path, keep: Path | None = None) -> BuiltModel:
        """Build the open quantized model again with these layers in float16, and leave the result open instead.

        Args:
            float16: tensors, by their names in the graph or in `analyze`.
            out: as for `build`.
            keep: as for `build`.

        Raises:
            ToolkitError: no quantized model is open, or the toolkit failed.
        """
        started = time.monotonic()
        previous, self._open = self._open, None
        answer = self._ask("change_float16", {"float16": list(float16)})
        kept = published(answer, out, out, keep)
        built = self._opened(answer, out, kept, started)
        if previous is not None:
            built = self._open = replace(
                built,
                disabled_rules=previous.disabled_rules,
                bias_correction=previous.bias_correction,
                given=previous.given,
            )
        return built

    def open_kept(self, kept: KeptFiles, options: ToolkitOptions) -> BuiltModel:
        """Open a model from the kept files of `build`, for `simulate`.

        The files are read as plain data before the toolkit loads them: its own format is a pickle, which could execute
        code.

        Raises:
            ToolkitError: the files are missing, damaged, unsafe, made with other options, or by a toolkit whose files
                this one cannot read.
        """
        for path in (kept.model, kept.data, kept.config):
            if path is not None and not path.is_file():
                raise ToolkitError(f'The kept file "{path}" does not exist.', "Build the model again.")
        started = time.monotonic()
        self._open = None
        config = options.toolkit_config()
        if kept.data is None or kept.config is None:
            if options.quantized:
                raise ToolkitError(f"A quantized model ({options.dtype}) opens from three kept files, got one.")
            answer = self._ask_with_reasons("build", _build_request(kept.model, options, None, ()))
        else:
            # The toolkit writes next to its input, and cannot handle names with spaces: it gets copies.
            names = {"model": kept.model, "data": kept.data, "quantization.cfg": kept.config}
            copies = {key: self._process.work_dir / f"kept.{key}" for key in names}
            self._process.hello()
            for key, path in names.items():
                shutil.copyfile(path, copies[key])
            expected = {key: config[key] for key in ("target_platform", "mean_values", "std_values", "quantized_dtype")}
            try:
                answer = self._ask("open", {"kept": {k: str(p) for k, p in copies.items()}, "expected": expected})
            except ToolkitError as error:
                message = error.message
                for key, path in names.items():
                    message = message.replace(str(copies[key]), str(path))
                hint = "Build the model again."
                if not message.startswith("The kept file"):
                    hint = f"{hint} Files kept by another toolkit version may not open in {self.version}."
                raise ToolkitError(message, f"{hint} {error.hint}") from None
        return self._opened(answer, None, kept, started)

    def simulate(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run one image through the simulator of the open model.

        Args:
            image: (1, H, W, 3) uint8 in the network's color order; the model applies mean and std.

        Returns:
            Real values (1, C, H, W) float32 of every output by name, in runtime order.  For a quantized output
            they are exactly (integer - zero_point) * scale: see `integers_from_real`.

        Raises:
            ToolkitError: no model is open, the image does not fit it, or the toolkit failed.
        """
        model = self._open
        if model is None:
            raise ToolkitError("No model is open in the toolkit.", "Call build or open_kept first.")
        _, channels, height, width = model.input.shape
        if image.dtype != np.uint8 or image.shape != (1, height, width, channels):
            raise ToolkitError(
                f"The image is {image.dtype} {image.shape}, expected uint8 {(1, height, width, channels)}."
            )
        payload = np.ascontiguousarray(image).tobytes()
        answer, blob = self._process.request("simulate", {"shape": list(image.shape)}, payload)
        shapes = [tuple(shape) for shape in answer["shapes"]]
        if shapes != [output.shape for output in model.outputs]:
            raise ToolkitError(f"The simulator's outputs have shapes {shapes}, expected those of {model.outputs}.")
        arrays: dict[str, NDArray[np.float32]] = {}
        start = 0
        for output in model.outputs:
            size = int(np.prod(output.shape))
            arrays[output.name] = np.frombuffer(blob, np.float32, size, start).reshape(output.shape)
            start += size * 4
        return arrays

    def analyze(self, image: NDArray[np.uint8], tensors: Path | None = None) -> tuple[LayerError, ...]:
        """Compare every layer of the open quantized model with the float model, on one image.

        Args:
            image: (1, H, W, 3) uint8, as for `simulate`.
            tensors: new folder for the toolkit's texts of every tensor, hundreds of MB for an image of 640x640; None
                keeps none.

        Raises:
            ToolkitError: no quantized model is open, or the toolkit failed.
        """
        if self._open is None:
            raise ToolkitError("No model is open in the toolkit.", "Call build or open_kept first.")
        payload = np.ascontiguousarray(image).tobytes()
        kept = None if tensors is None else str(tensors.absolute())
        _, blob = self._process.request("analyze", {"shape": list(image.shape), "tensors": kept}, payload)
        return parse_error_analysis(blob.decode("utf-8", "replace"))

    def emulated(self, settings: Emulation = AS_BUILT, images: Sequence[NDArray[np.float32]] = ()) -> EmulatedModel:
        """Emulate the open quantized model: layers of it can be made float without a build.

        Args:
            settings: what is otherwise than in the open model.
            images: network inputs, (1, C, H, W) float32 each, that those settings need.

        Raises:
            ToolkitError: no quantized model is open, or the graph cannot be emulated.
        """
        return EmulatedModel(self._process, settings, images)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of real values that calibration gave each tensor of the open quantized model, by name.

        Raises:
            ToolkitError: no quantized model is open.
        """
        answer = self._ask("ranges", {})
        return {name: (low, high) for name, (low, high) in answer["ranges"].items()}

    def _describe(self) -> dict[str, Any]:
        if self._described is None:
            self._described = self._ask("describe", {})
        return self._described

    def _ask(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer, _ = self._process.request(op, fields, on_progress=self._on_progress)
        return answer

    def _ask_with_reasons(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Send a request; if the toolkit refused the target or dtype, add the ones that it knows."""
        try:
            return self._ask(op, fields)
        except ToolkitError as error:
            hint = ""
            if "target_platform" in error.message:
                hint = f"rknn-toolkit2 {self.version} knows the targets {', '.join(self.targets)}."
            elif "quantized_dtype" in error.message:
                others = ", ".join(name for name in self.dtypes if name not in DTYPE_NAMES.values())
                hint = f"rknn-toolkit2 {self.version} knows fp16, int8, {others}, not all of them for every target."
            raise ToolkitError(error.message, f"{hint} {error.hint}".strip()) from None

    def _opened(self, answer: dict[str, Any], rknn: Path | None, kept: KeptFiles | None, started: float) -> BuiltModel:
        inputs = [tensor_of(entry) for entry in answer["inputs"]]
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ToolkitError(f"The model has inputs {inputs}, expected one image input (1, C, H, W).")
        correction, given = answer.get("bias_correction"), answer.get("given")
        self._open = BuiltModel(
            rknn=rknn,
            kept=kept,
            input=inputs[0],
            outputs=tuple(tensor_of(entry) for entry in answer["outputs"]),
            toolkit_version=self.version,
            disabled_rules=tuple(answer["disabled_rules"]),
            float16=tuple(answer["float16"]),
            seconds=time.monotonic() - started,
            log=self._process.log,
            bias_correction=BiasCorrection(**correction) if correction else None,
            given=GivenCounts(**given) if given else None,
        )
        return self._open


def _build_request(
    onnx: Path,
    options: ToolkitOptions,
    dataset: Path | None,
    float16: Sequence[str],
) -> dict[str, Any]:
    return {
        "onnx": str(onnx.absolute()),
        "config": options.toolkit_config(),
        "dataset": str(dataset) if dataset is not None else None,
        "float16": list(float16),
        "propose": False,
        "search_ranges": options.quantized and options.algorithm == FOUND_BY_SENSITIVITY,
        "bias_correction": False,
        "given": None,
    }
