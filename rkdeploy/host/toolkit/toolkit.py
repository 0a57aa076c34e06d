"""The interface of the vendor's toolkit: build a `.rknn`, and simulate the NPU on this PC.

rknn-toolkit2 is never imported here.  It runs in a child process (`worker.py`), possibly with another
interpreter; its output goes to a log file, and every failure becomes one `ToolkitError`.

An int8 build goes through the toolkit's two hybrid quantization steps.  Without changes between them, their simulated
outputs are bit for bit those of its plain `build`; layers that stay float16 are chosen between them.
Step 1's files are all that step 2 needs: kept next to the `.rknn`, they open the simulator again later, without the
calibration images.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rkdeploy.contract.spec import Quantization, TensorDtype
from rkdeploy.errors import CalibrationError, ToolkitError
from rkdeploy.host.toolkit.error_analysis import LayerError, parse_error_analysis
from rkdeploy.host.toolkit.process import PYTHON_VARIABLE, ToolkitProcess

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

Progress = Callable[[str], None]
_DTYPE_NAMES = {"int8": "w8a8"}  # our name -> the toolkit's; all others are the toolkit's own
_FLOAT = "fp16"
_GRID_STEPS = 1e-3  # largest distance of a simulated value from the grid, in addition to its rounding to float32
_FLOAT32_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class ToolkitOptions:
    """Options of a model for the toolkit.  Target, dtype, algorithm and method are checked by the toolkit itself.

    Attributes:
        target: chip, for example `rk3588`.
        dtype: `int8` or `fp16`; or one of the toolkit's own names (`w8a16`, `w16a16i_dfp`, `w4a16`), each for a few
            targets only.
        algorithm: search of the ranges: `normal`, `mmse`, `kl_divergence`.
        method: `channel` or `layer`: one weight scale per output channel or per layer.
        optimization_level: 0 to 3.
        mean, std: per channel, in pixel values: the network's input is (pixel - mean) / std.
        custom_string: under 1,024 characters, readable on the board.
    """

    target: str
    dtype: str
    algorithm: str = "normal"
    method: str = "channel"
    optimization_level: int = 3
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    custom_string: str = ""

    def __post_init__(self) -> None:
        """Check values that the toolkit would silently change or fail on late.

        Raises:
            ToolkitError: naming the value.
        """
        if self.optimization_level not in (0, 1, 2, 3):  # the toolkit warns and takes 3
            raise ToolkitError(f"optimization_level is {self.optimization_level}, expected 0, 1, 2 or 3.")
        if len(self.custom_string) >= 1024:
            raise ToolkitError(f"custom_string has {len(self.custom_string)} characters, expected fewer than 1024.")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ToolkitError(
                f"mean {self.mean} and std {self.std}: expected three values each, and every std above 0."
            )

    @property
    def quantized(self) -> bool:
        """True if calibration is needed."""
        return self.dtype != _FLOAT

    def toolkit_config(self) -> dict[str, Any]:
        """The arguments of the toolkit's `config`."""
        config: dict[str, Any] = {
            "target_platform": self.target,
            "mean_values": [list(self.mean)],
            "std_values": [list(self.std)],
            "optimization_level": self.optimization_level,
        }
        if self.quantized:
            config["quantized_dtype"] = _DTYPE_NAMES.get(self.dtype, self.dtype)
            config["quantized_algorithm"] = self.algorithm
            config["quantized_method"] = self.method
        if self.custom_string:
            config["custom_string"] = self.custom_string
        return config


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

        Raises:
            CalibrationError: no or unusable calibration images.
            ToolkitError: the toolkit refused, failed, crashed, was killed or did not answer in time.
        """
        if not onnx.is_file():
            raise ToolkitError(f'The ONNX file "{onnx}" does not exist.')
        started = time.monotonic()
        self._open = None
        dataset = self._write_dataset(calibration) if options.quantized else None
        answer = self._ask_with_reasons(
            "build",
            _build_request(onnx, options, dataset, float16, propose=propose_float16),
        )
        return self._opened(answer, out, _published(answer, onnx, out, keep), started)

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
        kept = _published(answer, out, out, keep)
        built = self._opened(answer, out, kept, started)
        if previous is not None:
            built = self._open = replace(built, disabled_rules=previous.disabled_rules)
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

    def analyze(self, image: NDArray[np.uint8]) -> tuple[LayerError, ...]:
        """Compare every layer of the open quantized model with the float model, on one image.

        Args:
            image: (1, H, W, 3) uint8, as for `simulate`.

        Raises:
            ToolkitError: no quantized model is open, or the toolkit failed.
        """
        if self._open is None:
            raise ToolkitError("No model is open in the toolkit.", "Call build or open_kept first.")
        payload = np.ascontiguousarray(image).tobytes()
        _, blob = self._process.request("analyze", {"shape": list(image.shape)}, payload)
        return parse_error_analysis(blob.decode("utf-8", "replace"))

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
                others = ", ".join(name for name in self.dtypes if name not in _DTYPE_NAMES.values())
                hint = f"rknn-toolkit2 {self.version} knows fp16, int8, {others}, not all of them for every target."
            raise ToolkitError(error.message, f"{hint} {error.hint}".strip()) from None

    def _write_dataset(self, calibration: Iterable[Path | NDArray[np.uint8]]) -> str:
        """Write the toolkit's list of calibration files, by names without spaces, each a `.npy` of (1, 3, H, W)."""
        folder = self._process.work_dir / "calibration"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = []
        for index, item in enumerate(calibration):
            file = folder / f"{index:05d}.npy"
            if isinstance(item, Path):
                if item.suffix != ".npy" or not item.is_file():
                    raise CalibrationError(
                        f'The calibration file "{item}" is not an existing .npy file.',
                        "The toolkit stretches images instead of letterboxing them: give arrays.",
                    )
                file.symlink_to(item.absolute())
            else:
                np.save(file, _nchw(item, index))
            files.append(file)
        if not files:
            raise CalibrationError("There are no calibration images; a quantized build needs them.")
        dataset = folder / "dataset.txt"
        dataset.write_text("".join(f"{file}\n" for file in files))
        return str(dataset)

    def _opened(self, answer: dict[str, Any], rknn: Path | None, kept: KeptFiles | None, started: float) -> BuiltModel:
        inputs = [_tensor(entry) for entry in answer["inputs"]]
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ToolkitError(f"The model has inputs {inputs}, expected one image input (1, C, H, W).")
        self._open = BuiltModel(
            rknn=rknn,
            kept=kept,
            input=inputs[0],
            outputs=tuple(_tensor(entry) for entry in answer["outputs"]),
            toolkit_version=self.version,
            disabled_rules=tuple(answer["disabled_rules"]),
            float16=tuple(answer["float16"]),
            seconds=time.monotonic() - started,
            log=self._process.log,
        )
        return self._open


def integers_from_real(values: NDArray[np.float32], quantization: Quantization) -> NDArray[Any]:
    """The exact integers behind simulated real values, which are (integer - zero_point) * scale to float precision.

    A real value is rounded to float32, and so may be the scale: 2 eps of its size, which for int16 is more than the
    thousandth of a step that is allowed in addition.

    Raises:
        ToolkitError: when the values do not lie on that grid, within that tolerance.
    """
    steps = values.astype(np.float64) / float(np.float32(quantization.scale))
    integers = np.rint(steps)
    distances = np.abs(steps - integers)
    on_grid = bool(np.all(distances <= _GRID_STEPS + 2 * _FLOAT32_EPS * np.abs(steps)))  # False for NaN
    off = float(distances.max(initial=0.0))
    integers += quantization.zero_point
    bounds = np.iinfo(quantization.dtype)
    if not on_grid or integers.min(initial=0) < bounds.min or integers.max(initial=0) > bounds.max:
        raise ToolkitError(
            f"Simulated values lie {off:.3g} steps off the grid of scale {quantization.scale} and zero point "
            f"{quantization.zero_point}, from {integers.min(initial=0)} to {integers.max(initial=0)}, "
            f"expected {quantization.dtype} values within {_GRID_STEPS} steps and float32 precision."
        )
    exact: NDArray[Any] = integers.astype(quantization.dtype)
    return exact


def _build_request(
    onnx: Path, options: ToolkitOptions, dataset: str | None, float16: Sequence[str], *, propose: bool = False
) -> dict[str, Any]:
    return {
        "onnx": str(onnx.absolute()),
        "config": options.toolkit_config(),
        "dataset": dataset,
        "float16": list(float16),
        "propose": propose,
    }


def _published(answer: dict[str, Any], onnx: Path, out: Path, keep: Path | None) -> KeptFiles | None:
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


def _tensor(entry: dict[str, Any]) -> ModelTensor:
    quantization = None
    if "scale" in entry:
        quantization = Quantization(cast("TensorDtype", entry["dtype"]), entry["scale"], entry["zero_point"])
    return ModelTensor(entry["name"], tuple(entry["shape"]), quantization)


def _nchw(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """One calibration image as (1, 3, H, W)."""
    plane = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    first, last = plane.shape[0] == 3, plane.shape[-1] == 3
    if image.dtype != np.uint8 or plane.ndim != 3 or first == last:
        raise CalibrationError(
            f"Calibration image {index} is {image.dtype} {image.shape}, expected uint8 (H, W, 3) or (3, H, W)."
        )
    return np.ascontiguousarray((plane if first else plane.transpose(2, 0, 1))[None])


def _publish(source: Path, out: Path) -> None:
    """Copy next to the destination and rename: the destination is written whole or not at all."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(out)
    except OSError as error:
        raise ToolkitError(f'The file "{out}" cannot be written: {error.strerror}.') from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
