"""The child process in which the vendor's toolkit runs.  Started by `rkdeploy.host.toolkit.toolkit`, never by hand.

A standalone script, run by its path with the interpreter that has rknn-toolkit2, which need not be rkdeploy's own: it
imports the standard library, the modules next to it that say so, and (late) numpy and the toolkit with its own
requirements.

    python worker.py REQUEST_FD RESPONSE_FD WORK_DIR

Messages travel over two private pipes, because the toolkit prints on stdout and stderr; both of those are the log
file.  One message is two big-endian uint32 lengths, a JSON object, and raw bytes (the arrays of that message, one after
the other).  The first answer is the hello: the toolkit's version, or why it cannot be imported.  Then every request
`{"op": name, ...}` gets one answer, `{"ok": ...}` or `{"error": {"call", "how", "text"}}`.  A new operation is a
method `op_<name>`.

The process ends when the request pipe closes or its parent has died, and then removes its working directory.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # For a script run by path Python puts its folder first: the toolkit must not find our modules under its names.
    _HERE = __file__.rpartition("/")[0]
    sys.path[:] = [entry for entry in sys.path if entry != _HERE]

import ast
import contextlib
import ctypes
import gc
import os
import queue
import re
import shutil
import tempfile
import threading
import time
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from collections.abc import Callable

    from rkdeploy.host.toolkit import (
        bias_correction,
        emulated_operators,
        emulated_variants,
        emulation,
        given_grids,
        input_range,
        late_torch,
        range_search,
        worker_pipes,
    )
    from rkdeploy.host.toolkit import files as toolkit_files
else:

    def _next_to_this(name: str) -> Any:
        spec = spec_from_file_location(f"toolkit_{name}", f"{_HERE}/{name}.py")
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    toolkit_files, late_torch = _next_to_this("files"), _next_to_this("late_torch")
    worker_pipes = _next_to_this("worker_pipes")
    emulated_operators, emulation = _next_to_this("emulated_operators"), _next_to_this("emulation")
    bias_correction, range_search = _next_to_this("bias_correction"), _next_to_this("range_search")
    given_grids, input_range = _next_to_this("given_grids"), _next_to_this("input_range")
    emulated_variants = _next_to_this("emulated_variants")

# End of the toolkit's traceback when one of its graph optimizations fails.  In 2.5.0 the one that makes attention a
# single NPU operation fails if a MatMul goes directly into a Softmax; otherwise it works, and is useful.
FAILED_RULE = re.compile(r"rknn\.api\.rules\.\w+\._p_(\w+)")
# A function may run under the names of several rules; the log advises which one to disable.
ADVISED_RULE = re.compile(rb"disable_rules=\['(\w+)'\]")
LOG_END = 1 << 16  # bytes; one failure writes about 8 KiB
MOST_DISABLED_RULES = 8


class CallFailedError(Exception):
    """A call of the toolkit that returned -1 or None; its own error message is in the log."""


def advised_rules() -> list[str]:
    """Rules that the toolkit advised to disable, the last one last, by the end of this process's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        with Path("/proc/self/fd/1").open("rb") as log:
            log.seek(max(0, os.fstat(1).st_size - LOG_END))
            return [name.decode() for name in ADVISED_RULE.findall(log.read())]
    except OSError:  # not a file
        return []


# ------------------------------------------------------------------------------------------------- the operations


class Worker:
    """One toolkit, at most one open model."""

    def __init__(self, rknn_class: Any, version: str) -> None:
        self._rknn_class = rknn_class
        self.version = version
        self._temporary = os.environ["TMPDIR"]
        self._model: Any = None
        self._runtime_open = False
        self._folder: Path | None = None
        self._kept: dict[str, str] | None = None
        self._variants: Any = None

    def enter_new_folder(self) -> None:
        """Enter an empty working directory for the next model: no file of the last one is read, followed or
        overwritten.
        """
        last, self._folder = self._folder, Path(tempfile.mkdtemp(dir=self._temporary))
        os.chdir(self._folder)
        if last is not None:
            shutil.rmtree(last, ignore_errors=True)  # removes links, not what they point to

    def new(self) -> Any:
        os.environ["TMPDIR"] = self._temporary  # the toolkit unsets it sometimes
        self._runtime_open = False
        return self._rknn_class(verbose=True)

    def op_describe(self, _request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Targets and dtypes that this toolkit knows.  It only lists them when it rejects one."""
        print("# rkdeploy: asking the toolkit for its targets and dtypes by giving it none; the errors are wanted")
        targets = self._listed(lambda: self.new().config(target_platform=None))
        some = targets[0] if targets else "rk3588"
        dtypes = self._listed(lambda: self.new().config(target_platform=some, quantized_dtype="?"))
        return {"targets": targets, "dtypes": dtypes}, b""

    @staticmethod
    def _listed(refused: Callable[[], Any]) -> list[str]:
        try:
            refused()
        except Exception as error:  # noqa: BLE001 - its text is the answer
            found = re.findall(r"\[(?:'[\w{}.-]+'(?:, )?)+\]", str(error))
            return [str(item) for item in ast.literal_eval(found[-1])] if found else []
        return []

    def op_build(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """ONNX to `model.rknn` in the working directory; the model stays open for the simulator.

        An optimization of the toolkit that fails on the graph is disabled, as the toolkit itself advises; the answer
        names it.
        """
        import onnx

        self.enter_new_folder()
        config = dict(request["config"])
        try:
            graph = onnx.load(request["onnx"], load_external_data=False).graph
        except Exception as error:  # noqa: BLE001 - onnx raises what protobuf raises
            message = f'The ONNX file "{request["onnx"]}" cannot be read: {error}.'
            raise toolkit_files.RefusedError(message) from None
        onnx_path = self._link_onnx(Path(request["onnx"]), graph)
        started = time.monotonic()
        rules: list[str] = []
        while True:
            try:
                kept, float16, facts = self._convert(onnx_path, config, request)
                break
            except Exception as error:
                found = FAILED_RULE.findall(str(error))
                if not found or {found[-1], *advised_rules()[-1:]} <= {*rules} or len(rules) >= MOST_DISABLED_RULES:
                    raise
                rules += dict.fromkeys([found[-1], *advised_rules()[-1:]])
                config["disable_rules"] = rules
                print(f"# rkdeploy: the graph rule {found[-1]} failed on this graph; once more without it")
        self._kept = kept or None
        answer = self._describe_model([output.name for output in graph.output], kept)
        facts = {
            **facts,
            "kept": kept,
            "float16": float16,
            "disabled_rules": rules,
            "build_s": time.monotonic() - started,
        }
        return {**answer, **facts}, b""

    def op_change_float16(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Build the open quantized model again with other layers in float16: step 2 alone."""
        import onnx

        if self._kept is None:
            message = "No quantized model is open: build or open one first."
            raise toolkit_files.RefusedError(message)
        started = time.monotonic()
        graph = onnx.load(self._kept["model"])
        float16 = toolkit_files.float16_tensors(set(request["float16"]), graph)
        toolkit_files.write_float16(Path(self._kept["quantization.cfg"]), float16)
        self._step2(self._kept)
        answer = self._describe_model([output.name for output in graph.graph.output], self._kept)
        facts = {"kept": self._kept, "float16": float16, "disabled_rules": [], "build_s": time.monotonic() - started}
        return {**answer, **facts}, b""

    def op_open(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Step 2 alone, from the files of step 1: no calibration images are needed."""
        import onnx

        self.enter_new_folder()
        kept = request["kept"]
        toolkit_files.rewrite_step1_data(kept["data"], request["expected"])
        _, float16 = toolkit_files.read_quantization_table(kept["quantization.cfg"])
        started = time.monotonic()
        self._step2(kept)
        self._kept = kept
        names = [output.name for output in onnx.load(kept["model"]).graph.output]
        answer = self._describe_model(names, kept)
        facts = {"kept": kept, "float16": float16, "disabled_rules": [], "build_s": time.monotonic() - started}
        return {**answer, **facts}, b""

    def op_simulate(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Run one image (1, H, W, 3) uint8 through the simulator; float32 outputs in the model's order."""
        import numpy as np

        if self._model is None:
            message = "No model is open: build or open one first."
            raise toolkit_files.RefusedError(message)
        if not self._runtime_open:
            checked("init_runtime", self._model.init_runtime)
            self._runtime_open = True
        image = np.frombuffer(payload, np.uint8).reshape(request["shape"])
        outputs = self._model.inference(inputs=[image], data_format=["nhwc"])
        if outputs is None:
            message = "inference"
            raise CallFailedError(message)
        arrays = [np.ascontiguousarray(output, np.float32) for output in outputs]
        return {"shapes": [list(array.shape) for array in arrays]}, b"".join(array.tobytes() for array in arrays)

    def op_analyze(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Run one image (1, H, W, 3) uint8 through the toolkit's accuracy analysis; returns the text of its table."""
        import numpy as np

        if self._model is None:
            message = "No model is open: build or open one first."
            raise toolkit_files.RefusedError(message)
        image = np.frombuffer(payload, np.uint8).reshape(request["shape"])
        np.save("analyzed.npy", np.ascontiguousarray(image.transpose(0, 3, 1, 2)))  # it takes .npy as NCHW
        folder = Path.cwd() / "analysis"
        shutil.rmtree(folder, ignore_errors=True)
        checked("accuracy_analysis", self._model.accuracy_analysis, inputs=["analyzed.npy"], output_dir=str(folder))
        text = (folder / "error_analysis.txt").read_text()
        if request["tensors"] is not None:
            shutil.copytree(folder, request["tensors"])
        shutil.rmtree(folder, ignore_errors=True)  # contains every tensor of the network, as text
        return {}, text.encode()

    def op_ranges(self, _request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """The range that calibration gave each tensor: name -> (lowest, highest), integers only."""
        if self._kept is None:
            message = "No quantized model is open: build or open one first."
            raise toolkit_files.RefusedError(message)
        table, _ = toolkit_files.read_quantization_table(self._kept["quantization.cfg"])
        ranges = {
            name: [min(map(float, entry["min"])), max(map(float, entry["max"]))]
            for name, entry in table.items()
            if entry.get("scale") and entry.get("min") and entry.get("max")
        }
        return {"ranges": ranges}, b""

    def op_emulate(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Emulate the open quantized model, with ranges searched or biases corrected on images if that is wanted.

        The payload is those images, (1, C, H, W) float32 each, or none.
        """
        import numpy as np
        import onnx
        import torch

        if self._kept is None:
            message = "No quantized model is open: build or open one first."
            raise toolkit_files.RefusedError(message)
        model, table = onnx.load(self._kept["model"]), toolkit_files.read_step1_data(self._kept["data"])["quant_tab"]
        _, float16 = toolkit_files.read_quantization_table(self._kept["quantization.cfg"])
        operators, run = emulated_operators.operators(), emulation.EmulatedRun
        given = np.frombuffer(payload, np.float32).reshape(request["shape"])
        images = [torch.from_numpy(image[None].copy()) for image in given]
        try:
            network = emulation.EmulatedNetwork(model, table, float16, operators)
            biases: dict[str, Any] = {}
            if request["search_ranges"]:
                table = toolkit_files.with_ranges(table, range_search.searched_ranges(network, run, images))
                network = emulation.EmulatedNetwork(model, table, float16, operators)
            if request["bias_correction"]:
                biases, _ = bias_correction.correct_biases(network, run, images)
        except (MemoryError, RuntimeError) as error:
            raise toolkit_files.RefusedError(str(error)) from None
        self._variants = emulated_variants.EmulatedVariants(network, run, biases)
        return {"layers": self._variants.layers(), "outputs": network.outputs}, b""

    def op_take_image(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Compute the emulated models on an image, (1, C, H, W) float32, for the variants that are asked for next."""
        import numpy as np
        import torch

        image = np.frombuffer(payload, np.float32).reshape(request["shape"]).copy()
        try:
            with torch.no_grad():
                self._variants.take(torch.from_numpy(image))
        except (MemoryError, RuntimeError) as error:
            raise toolkit_files.RefusedError(str(error)) from None
        return {}, b""

    def op_variant(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Outputs of a variant of the emulated model for the image that was taken."""
        import numpy as np
        import torch

        with torch.no_grad():
            outputs = self._variants.outputs(
                quantized=request["quantized"],
                weights=set(request["weights"]),
                tensors=set(request["tensors"]),
                readers_round=request["readers_round"],
            )
        arrays = [np.ascontiguousarray(output.numpy(), np.float32) for output in outputs]
        return {"shapes": [list(array.shape) for array in arrays]}, b"".join(array.tobytes() for array in arrays)

    def _convert(
        self, onnx_path: Path, config: dict[str, Any], request: dict[str, Any]
    ) -> tuple[dict[str, str], list[str], dict[str, Any]]:
        """Run the graph through the toolkit, ready for export: step 1's files (none for a float model), float16
        tensors, the records of the bias correction and of the given grids.
        """
        dataset, float16, propose = request["dataset"], set(request["float16"]), request["propose"]
        self._model = self.new()
        checked("config", self._model.config, **config)
        checked("load_onnx", self._model.load_onnx, str(onnx_path))
        if dataset is None:
            checked("build", self._model.build, do_quantization=False)
            return {}, [], {}
        checked("hybrid_quantization_step1", self._model.hybrid_quantization_step1, dataset=dataset, proposal=propose)
        kept = {key: str(Path.cwd() / f"model.{key}") for key in ("model", "data", "quantization.cfg")}
        _, tensors = toolkit_files.read_quantization_table(kept["quantization.cfg"])
        if float16:
            import onnx

            tensors = toolkit_files.float16_tensors(float16, onnx.load(kept["model"]))
        found_by_step2 = config["quantized_algorithm"] == toolkit_files.FOUND_BY_STEP_2
        if found_by_step2:
            toolkit_files.write_float16(Path(kept["quantization.cfg"]), [])
            self._step2(kept)
            toolkit_files.settle_ranges(kept, self._model.rknn_base.quantizer.quant_tab)
        whole_input = self._take_pixel_steps(kept, config)
        if request["search_ranges"]:
            print("# rkdeploy: range search", flush=True)
            self._search_ranges(kept, Path(dataset), config, tensors)
        facts: dict[str, Any] = {}
        if request["given"] is not None:
            print("# rkdeploy: the file's grids", flush=True)
            facts["given"] = self._take_grids(kept, request["given"], config)
        if float16 or found_by_step2 or whole_input or request["search_ranges"] or "given" in facts:
            toolkit_files.write_float16(Path(kept["quantization.cfg"]), tensors)
        if request["bias_correction"]:
            print("# rkdeploy: bias correction", flush=True)
            facts["bias_correction"] = self._correct_biases(kept, Path(dataset), config, tensors)
        self._step2(kept)
        return kept, tensors, facts

    @staticmethod
    def _take_pixel_steps(kept: dict[str, str], config: dict[str, Any]) -> bool:
        """Put the input on the steps of the pixels in step 1's files; False if it is, or cannot be."""
        import onnx

        limits = input_range.pixel_range(config["mean_values"][0], config["std_values"][0])
        if limits is None:
            return False
        table = toolkit_files.read_step1_data(kept["data"])["quant_tab"]
        ranges = input_range.on_pixel_steps(onnx.load(kept["model"]), table, limits)
        if ranges:
            print("# rkdeploy: the input on the steps of the pixels", flush=True)
            toolkit_files.settle_ranges(kept, toolkit_files.with_ranges(table, ranges))
        return bool(ranges)

    @staticmethod
    def _take_grids(
        kept: dict[str, str], grids: dict[str, tuple[float, int]], config: dict[str, Any]
    ) -> dict[str, int]:
        """Write the grids that the file brings into step 1's files, and count them."""
        import onnx

        table = toolkit_files.read_step1_data(kept["data"])["quant_tab"]
        per_channel = config["quantized_method"] == "channel"
        changed, counts = given_grids.with_given_grids(onnx.load(kept["model"]), table, grids, per_channel=per_channel)
        toolkit_files.settle_ranges(kept, changed)
        return counts

    @staticmethod
    def _search_ranges(kept: dict[str, str], dataset: Path, config: dict[str, Any], float16: list[str]) -> None:
        """Write ranges that cost the outputs less into step 1's files.

        Raises:
            RefusedError: when the graph cannot be emulated.
        """
        import onnx

        table = toolkit_files.read_step1_data(kept["data"])["quant_tab"]
        try:
            network = emulation.EmulatedNetwork(
                onnx.load(kept["model"]), table, float16, emulated_operators.operators()
            )
            images = emulation.network_inputs(dataset, config["mean_values"][0], config["std_values"][0])
            ranges = range_search.searched_ranges(network, emulation.EmulatedRun, images)
        except (ImportError, MemoryError, RuntimeError) as error:
            message = f"Ranges cannot be searched by sensitivity: {error}. Choose another --algorithm."
            raise toolkit_files.RefusedError(message) from None
        toolkit_files.settle_ranges(kept, toolkit_files.with_ranges(table, ranges))

    @staticmethod
    def _correct_biases(
        kept: dict[str, str], dataset: Path, config: dict[str, Any], float16: list[str]
    ) -> dict[str, Any]:
        """Correct the biases in step 1's graph; what cannot be emulated is left as it is, and the record says why."""
        import onnx
        from onnx import numpy_helper

        model, table = onnx.load(kept["model"]), toolkit_files.read_step1_data(kept["data"])["quant_tab"]
        try:
            network = emulation.EmulatedNetwork(model, table, float16, emulated_operators.operators())
            images = emulation.network_inputs(dataset, config["mean_values"][0], config["std_values"][0])
            biases, record = bias_correction.correct_biases(network, emulation.EmulatedRun, images)
        except Exception as error:  # noqa: BLE001 - a graph that meets none of the emulation's limits is built all the same
            traceback.print_exc()
            return {"accepted": False, "reason": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        for tensor in model.graph.initializer:
            if tensor.name in biases:
                tensor.CopyFrom(numpy_helper.from_array(biases[tensor.name].numpy(), tensor.name))
        if biases:
            onnx.save(model, kept["model"])
        return record

    @staticmethod
    def _link_onnx(path: Path, graph: Any) -> Path:
        """The graph and its weight files under a neutral name here: step 1 writes the given path into `.data`."""
        link = Path.cwd() / "model.onnx"
        link.symlink_to(path)
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                beside = link.with_name(entry.value)
                if entry.key == "location" and Path(entry.value).name == entry.value and not beside.exists():
                    beside.symlink_to(path.with_name(entry.value))
        return link

    def _step2(self, kept: dict[str, str]) -> None:
        # A new object without config(): 2.5.0 rejects both a loaded model and options given a second time.
        self._model = self.new()
        checked(
            "hybrid_quantization_step2",
            self._model.hybrid_quantization_step2,
            model_input=kept["model"],
            data_input=kept["data"],
            model_quantization_cfg=kept["quantization.cfg"],
        )

    def _describe_model(self, names: list[str], kept: dict[str, str]) -> dict[str, Any]:
        rknn = Path.cwd() / "model.rknn"
        checked("export_rknn", self._model.export_rknn, str(rknn))
        inputs, outputs = toolkit_files.read_rknn_tensors(rknn)
        if [output["name"] for output in outputs] != names:
            message = (
                f"The .rknn has outputs {[output['name'] for output in outputs]}, expected {names} as in the ONNX."
            )
            raise toolkit_files.RefusedError(message)
        if kept:
            import onnx

            table, _ = toolkit_files.read_quantization_table(kept["quantization.cfg"])
            toolkit_files.add_quantization(outputs, onnx.load(kept["model"]), table, rknn)
        return {"rknn": str(rknn), "inputs": inputs, "outputs": outputs}


def checked(call: str, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Call the toolkit; any result other than 0 is a failure."""
    print(f"# rkdeploy: {call}", flush=True)
    if function(*args, **options) != 0:
        raise CallFailedError(call)


# ------------------------------------------------------------------------------------------------------- the loop


def failure(error: BaseException) -> dict[str, Any]:
    """Description of an operation's failure, for the parent's message."""
    if isinstance(error, CallFailedError):
        return {"error": {"how": "returned", "call": str(error), "text": ""}}
    if isinstance(error, toolkit_files.RefusedError):
        return {"error": {"how": "refused", "call": "", "text": str(error)}}
    if isinstance(error, SystemExit):
        return {"error": {"how": "exited", "call": "", "text": str(error.code)}}
    traceback.print_exc()
    return {"error": {"how": "raised", "call": "", "text": f"{type(error).__name__}: {error}"}}


def flush_output() -> None:
    """Flush everything printed so far, by Python and by the toolkit's C++, to the log."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def start_toolkit() -> tuple[Worker | None, dict[str, Any]]:
    """Import the toolkit: the hello, and the worker if the import succeeded."""
    started = time.monotonic()
    try:
        import numpy as np  # noqa: F401 - is it there at all

        with late_torch.LateTorch().stand_ins():
            from rknn.api import RKNN
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken installation raises anything
        answer = failure(error)
        answer["error"]["call"] = "import"
        return None, answer
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("rknn-toolkit2")
    except PackageNotFoundError:
        installed = "unknown"
    gc.freeze()  # what was imported stays: no collection needs to walk through it
    return Worker(RKNN, installed), {"ok": {"version": installed, "import_s": time.monotonic() - started}}


def main() -> None:
    request_fd, response_fd, work_dir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    for descriptor in (request_fd, response_fd):
        os.set_inheritable(descriptor, False)
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)  # _IOLBF: lines keep their order in the log
    requests: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
    threading.Thread(target=worker_pipes.watch_parent, args=(request_fd, requests, work_dir), daemon=True).start()

    with os.fdopen(response_fd, "wb") as responses:

        def answer(message: dict[str, Any], payload: bytes = b"") -> None:
            flush_output()
            responses.write(worker_pipes.encode(message, payload))
            responses.flush()

        worker, hello = start_toolkit()
        answer(hello)
        while worker is not None:
            request, payload = requests.get()
            try:
                done, arrays = getattr(worker, f"op_{request['op']}")(request, payload)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - all of the toolkit's ways to fail are one answer
                answer(failure(error))
            else:
                answer({"ok": done}, arrays)


if __name__ == "__main__":
    main()
