"""The child process in which the vendor's toolkit runs.  Started by `rkdeploy.quantize.toolkit`, never by hand.

A standalone script, run by its path with the interpreter that has rknn-toolkit2, which need not be rkdeploy's own: it
imports the standard library, and (late) numpy and the toolkit with what the toolkit itself requires.

    python toolkit_worker.py REQUEST_FD RESPONSE_FD WORK_DIR

Messages travel over two private pipes, because the toolkit prints on stdout and stderr; both of those are the log
file.  One message is two big-endian uint32 lengths, a JSON object, and raw bytes (the arrays of that message, one after
the other).  The first answer is the hello: the toolkit's version, or why it cannot be imported.  Then every request
`{"op": name, ...}` gets one answer, `{"ok": ...}` or `{"error": {"call", "how", "text"}}`.  A new operation is one more
method `op_<name>`.

The process ends when the request pipe closes or its parent is gone, and then takes its working directory with it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Run by path, Python puts this file's folder first: the toolkit must not find our modules under its names.
    _HERE = __file__.rpartition("/")[0]
    sys.path[:] = [entry for entry in sys.path if entry != _HERE]

import ast
import contextlib
import ctypes
import io
import json
import os
import pickle
import queue
import re
import reprlib
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import traceback
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

FRAME = struct.Struct(">II")  # bytes of JSON, bytes of payload
# Where the toolkit's traceback ends when one of its graph optimizations fails.  In 2.5.0 the one that makes attention a
# single NPU operation does so where a MatMul goes straight into a Softmax; elsewhere it works, and is worth having.
FAILED_RULE = re.compile(r"rknn\.api\.rules\.\w+\._p_(\w+)")
MOST_DISABLED_RULES = 3
RKNN_HEADER_BYTES = 64
# What finds the ranges: step 1 for every algorithm but one.
FOUND_BY_STEP_1, FOUND_BY_STEP_2 = "normal", "mmse"
MOST_DATA_BYTES = 64 << 20  # step 1's `.data` of a model with 30 MB of weights has half a megabyte
# What the compiler makes one layer with the convolution before it, where both have the same type.
ACTIVATIONS = frozenset(
    {
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Tanh",
        "exMish",
    }
    | {"exGelu", "exSwish"}
)


class CallFailedError(Exception):
    """A call of the toolkit that answered -1 or None; its own error line stands in the log."""


class RefusedError(Exception):
    """Something this script will not do; the message is complete."""


# ---------------------------------------------------------------------------------------------------- the two pipes


def encode(message: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message as it travels."""
    text = json.dumps(message).encode()
    return FRAME.pack(len(text), len(payload)) + text + payload


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None when the other side has closed the pipe."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    text_bytes, payload_bytes = FRAME.unpack(head)
    text, payload = stream.read(text_bytes), stream.read(payload_bytes)
    if len(text) < text_bytes or len(payload) < payload_bytes:
        return None
    message: dict[str, Any] = json.loads(text)
    return message, payload


def watch_parent(request_fd: int, requests: queue.Queue[tuple[dict[str, Any], bytes]], work_dir: Path) -> None:
    """Hand requests to the main thread; end the process when nobody is left to send any.

    The end of the pipe is the first sign.  A changed parent is the second: a process forked from the parent may hold
    the pipe open after the parent was killed.
    """
    parent = os.getppid()
    with os.fdopen(request_fd, "rb", buffering=0) as raw:
        stream = WholeReads(raw)
        while os.getppid() == parent:
            if not select.select([raw], [], [], 1.0)[0]:
                continue
            received = read_message(stream)  # type: ignore[arg-type]  # read() is all it needs
            if received is None:
                break
            requests.put(received)
    os.chdir("/")
    remove_after_the_end(work_dir)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # and whatever the toolkit has started
    os._exit(1)


def remove_after_the_end(work_dir: Path) -> None:
    """Remove the folder now, and once more when this process is gone: until then the toolkit may write into it."""
    wait_and_remove = 'n=0; while kill -0 "$1" && [ $n -lt 60 ]; do sleep 0.05; n=$((n+1)); done; rm -rf -- "$2"'
    with contextlib.suppress(OSError):
        subprocess.Popen(  # noqa: S603 - a fixed script; its arguments are our own number and folder
            ["/bin/sh", "-c", wait_and_remove, "sh", str(os.getpid()), str(work_dir)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    shutil.rmtree(work_dir, ignore_errors=True)


class WholeReads:
    """An unbuffered pipe of which `read(n)` gives n bytes, fewer only at its end (select must see what is unread)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._raw.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


# ------------------------------------------------------------------------------------- what the toolkit's files say


class InertNamespace:
    """What stands for an `argparse.Namespace` while a file is judged: it only remembers the attributes it is given."""

    __slots__ = ("state",)

    state: dict[str, Any]

    def __new__(cls) -> Self:  # not __init__, which unpickling leaves out
        made = super().__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict or not all(type(name) is str for name in state):
            message = "it gives a Namespace a state that is no dict of names"
            raise RefusedError(message)
        self.state = state


# The one in C sets attributes of whatever it is told to, and takes memory for as many objects as a file of a few bytes
# announces.
class PlainUnpickler(pickle._Unpickler):  # noqa: SLF001 - pickle.py's own class
    """Reads step 1's `.data` only if it holds plain data: the toolkit itself would run whatever is in it."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("argparse", "Namespace"):
            return InertNamespace
        message = f"it names the global {module}.{name}; only plain data is expected there"
        raise RefusedError(message)

    def load_build(self) -> None:
        if type(self.stack[-2]) is not InertNamespace:
            message = f"it sets the attributes of a {type(self.stack[-2]).__name__}"
            raise RefusedError(message)
        super().load_build()  # type: ignore[misc]  # typeshed leaves it out

    def load_unexpected(self) -> None:
        message = "it holds what step 1 does not write: an extension, a persistent object or a buffer"
        raise RefusedError(message)

    dispatch[pickle.BUILD[0]] = load_build
    for _code in (
        pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER,
        pickle.READONLY_BUFFER,
    ):  # fmt: skip
        dispatch[_code[0]] = load_unexpected


class NamespacePickler(pickle.Pickler):
    """Writes the data again, with what stood for an `argparse.Namespace` as one."""

    def reducer_override(self, value: Any) -> Any:
        if value is InertNamespace:
            message = "it holds the class Namespace itself"
            raise RefusedError(message)
        return (Namespace, (), value.state) if type(value) is InertNamespace else NotImplemented


def read_step1_data(path: str) -> Any:
    """What a `.data` file holds, refused if that is not plain data."""
    file = Path(path)
    size = file.stat().st_size
    if size > MOST_DATA_BYTES:
        message = f"The kept file '{path}' has {size:,} bytes, expected at most {MOST_DATA_BYTES:,}."
        raise RefusedError(message)
    try:
        data = PlainUnpickler(io.BytesIO(file.read_bytes())).load()
        pickled_step1_data(data)
    except RefusedError as error:
        message = f"The kept file '{path}' is not safe to open: {error}."
        raise RefusedError(message) from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
        message = f"The kept file '{path}' is damaged: {type(error).__name__}: {error}."
        raise RefusedError(message) from None
    return data


def pickled_step1_data(data: Any) -> bytes:
    """The data as the toolkit reads it."""
    pickled = io.BytesIO()
    NamespacePickler(pickled, 4).dump(data)  # 4 as the toolkit itself
    return pickled.getvalue()


def rewrite_step1_data(path: str, expected: dict[str, Any]) -> None:
    """Refuse a `.data` file that is not plain data, or that was made with other options than `expected`.

    What was read is then written in its place: the toolkit, which loads it once more, sees that and nothing else.
    """
    data = read_step1_data(path)
    made_with = data.get("args") if type(data) is dict else None
    options = made_with.state if type(made_with) is InertNamespace else {}
    for key, value in expected.items():
        was = options.get(key)
        if was != value:
            message = f"The kept file '{path}' was made with {key} {reprlib.repr(was)}, expected {value!r}."
            raise RefusedError(message)
    Path(path).write_bytes(pickled_step1_data(data))


def settle_ranges(kept: dict[str, str], table: dict[str, Any]) -> None:
    """Put the quantization that step 2 found into step 1's files, as if step 1 had found it.

    With `mmse` step 2 quantizes anew, on the calibration images.  Its own table is then another than that of the files,
    which would open a simulator of another model; with what it found in them they need no images, and no search again.

    Args:
        kept: step 1's files.
        table: of step 2: tensor name -> its quantization; weights as well.
    """
    from ruamel.yaml import YAML

    plain = json.loads(json.dumps(table, default=lambda value: value.tolist()))  # numpy's numbers and arrays
    data = read_step1_data(kept["data"])
    data["quant_tab"] = plain
    data["args"].state["quantized_algorithm"] = data["quantizer.param"]["qalgorithm"] = FOUND_BY_STEP_1
    Path(kept["data"]).write_bytes(pickled_step1_data(data))
    parameters, _ = read_quantization_table(kept["quantization.cfg"])
    for name, entry in parameters.items():
        entry.update({key: plain[name][key] for key in entry})
    with Path(kept["quantization.cfg"]).open("w") as file:
        YAML().dump({"custom_quantize_layers": {}, "quantize_parameters": parameters}, file)


def read_quantization_table(path: str) -> tuple[dict[str, Any], list[str]]:
    """Step 1's table: tensor name -> its quantization, and the tensors that stay float16.

    Plain YAML or nothing: tags could name code.
    """
    from ruamel.yaml import YAML

    try:
        file = YAML(typ="safe", pure=True).load(Path(path).read_text())
        table: dict[str, Any] = file["quantize_parameters"]
        float16 = [str(name) for name in file.get("custom_quantize_layers") or ()]
    except Exception as error:  # noqa: BLE001 - whatever the parser raises, the file is not what step 1 writes
        message = f"The kept file '{path}' is not a quantization table: {' '.join(str(error).split())}."
        raise RefusedError(message) from None
    return table, float16


def read_rknn_tensors(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of a `.rknn` in runtime order: name, shape and dtype, as its own trailer states them.

    Layout (file versions 1 to 6): 64 bytes, of which uint64 number 2 is the size of the model that follows; then a
    uint64 size and that many bytes of JSON.
    """
    blob = path.read_bytes()
    try:
        start = RKNN_HEADER_BYTES + struct.unpack_from("<Q", blob, 16)[0]
        size = struct.unpack_from("<Q", blob, start)[0]
        facts = json.loads(blob[start + 8 : start + 8 + size])
        tensors = {tensor["tensor_id"]: tensor for tensor in facts["norm_tensor"]}
        sides: dict[str, list[tuple[int, dict[str, Any]]]] = {"input": [], "output": []}
        for edge in facts["graph"]:
            tensor = tensors[edge["right_tensor_id"]]
            entry = {
                "name": tensor["url"],
                "shape": tensor["size"],
                "dtype": tensor["dtype"]["vx_type"] or "float16",
            }
            sides[edge["left"]].append((edge["left_tensor_id"], entry))
    except (struct.error, ValueError, KeyError, TypeError) as error:
        message = f"The toolkit wrote a .rknn whose trailer cannot be read: {type(error).__name__}: {error}."
        raise RefusedError(message) from None
    ordered = {side: [entry for _, entry in sorted(found, key=lambda pair: pair[0])] for side, found in sides.items()}
    return ordered["input"], ordered["output"]


def quantization_in_rknn(blob: bytes, name: str, dtype: str) -> tuple[float, int] | None:
    """Scale and zero point that a `.rknn` states for a tensor with one of each; None where that is not found.

    Its model is a flatbuffer.  A tensor's strings and vectors lie one after the other, each as its uint32 length and
    its items: zero points (int32), scales, maxima, minima (float32), the dtype, how it was quantized, the name.
    """
    one, word = re.escape(struct.pack("<I", 1)), b"(.{4})"
    strings = b"".join(
        struct.pack("<I", len(text)) + text.ljust(len(text) // 4 * 4 + 4, b"\0")  # ended by a zero, in whole words
        for text in (dtype.encode(), b"layer")
    )
    named = struct.pack("<I", len(name.encode())) + name.encode() + b"\0"
    found = re.findall((one + word) * 4 + re.escape(strings + named), blob, re.DOTALL)
    if len(found) != 1:
        return None
    (zero_point,), (scale,) = struct.unpack("<i", found[0][0]), struct.unpack("<f", found[0][1])
    return scale, zero_point


def add_quantization(outputs: list[dict[str, Any]], model: Any, table: dict[str, Any], rknn: Path) -> None:
    """Give every integer output the scale and zero point which the toolkit's `.quantization.cfg` states for it.

    In step 1's graph an output is what `exDataConvert` makes of the quantized tensor, so the entry is that node's
    input.  The `.rknn` itself must state the same.
    """
    converted = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "exDataConvert"}
    blob = rknn.read_bytes()
    for output in outputs:
        if output["dtype"] == "float16":
            continue
        name = output["name"]
        entry = table.get(converted.get(name, name), {})
        scales, zero_points = list(entry.get("scale", ())), list(entry.get("zero_point", ()))
        if entry.get("dtype") != output["dtype"] or len(scales) != 1 or len(zero_points) != 1:
            message = (
                f"The toolkit states no single scale and zero point for output '{name}' ({output['dtype']}): "
                f"its quantization.cfg has dtype {entry.get('dtype')}, scale {scales}, zero_point {zero_points}."
            )
            raise RefusedError(message)
        output["scale"], output["zero_point"] = float(scales[0]), int(zero_points[0])
        stated = struct.unpack("<f", struct.pack("<f", output["scale"]))[0], output["zero_point"]
        in_rknn = quantization_in_rknn(blob, name, output["dtype"])
        if in_rknn != stated:
            message = (
                f"The toolkit's quantization.cfg states scale and zero point {stated} for output '{name}'; "
                f"the .rknn has {in_rknn or 'no such record'}."
            )
            raise RefusedError(message)


def float16_tensors(wanted: set[str], model: Any) -> list[str]:
    """Those tensors of step 1's graph that carry a wanted name, in its order, each with the other half of its layer.

    An output is named `<name>_int8` there.  A convolution whose activation has another type is no longer one layer with
    it, so both stay together.
    """
    nodes = list(model.graph.node)
    producers = {output: node for node in nodes for output in node.output}
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    chosen = {
        output
        for node in nodes
        if node.op_type != "exDataConvert"
        for output in node.output
        if output in wanted or output.removesuffix("_int8") in wanted
    }
    for output in tuple(chosen):
        node = producers[output]
        before = producers.get(node.input[0]) if node.input else None
        if node.op_type in ACTIVATIONS and before is not None and len(readers[node.input[0]]) == 1:
            chosen.add(node.input[0])
        after = readers.get(output, [])
        if len(after) == 1 and after[0].op_type in ACTIVATIONS:
            chosen.update(after[0].output)
    return [output for node in nodes for output in node.output if output in chosen]


def write_float16(path: Path, tensors: list[str]) -> None:
    """Tell step 2 which tensors stay float16: the first entry of step 1's table, which is empty otherwise."""
    head, found, rest = path.read_text().partition("quantize_parameters:")
    if not found or not head.startswith("custom_quantize_layers:"):
        message = f"Step 1 wrote a table that begins with {reprlib.repr(head)}, expected custom_quantize_layers."
        raise RefusedError(message)
    lines = "".join(f"    {json.dumps(name)}: float16\n" for name in tensors)
    path.write_text(f"custom_quantize_layers:{' {}' if not tensors else ''}\n{lines}{found}{rest}")


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

    def enter_new_folder(self) -> None:
        """An empty working directory for the next model: nothing of the last one is met, followed or overwritten."""
        last, self._folder = self._folder, Path(tempfile.mkdtemp(dir=self._temporary))
        os.chdir(self._folder)
        if last is not None:
            shutil.rmtree(last, ignore_errors=True)  # removes links, not what they point to

    def new(self) -> Any:
        os.environ["TMPDIR"] = self._temporary  # the toolkit unsets it now and then
        self._runtime_open = False
        return self._rknn_class(verbose=True)

    def op_describe(self, _request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Which targets and dtypes this toolkit knows.  It says so only when it refuses one."""
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
        """ONNX to `model.rknn` in the working directory, and keep the model open for the simulator.

        An optimization of the toolkit that fails on the graph is left out, as it advises itself; the answer names it.
        """
        import onnx

        self.enter_new_folder()
        config = dict(request["config"])
        try:
            graph = onnx.load(request["onnx"], load_external_data=False).graph
        except Exception as error:  # noqa: BLE001 - onnx raises what protobuf raises
            message = f"The ONNX file '{request['onnx']}' cannot be read: {error}."
            raise RefusedError(message) from None
        onnx_path = self._link_onnx(Path(request["onnx"]), graph)
        started = time.monotonic()
        rules: list[str] = []
        while True:
            try:
                kept, float16 = self._convert(
                    onnx_path, config, request["dataset"], set(request["float16"]), propose=request["propose"]
                )
                break
            except Exception as error:
                found = FAILED_RULE.findall(str(error))
                if not found or found[-1] in rules or len(rules) == MOST_DISABLED_RULES:
                    raise
                rules.append(found[-1])
                config["disable_rules"] = rules
                print(f"# rkdeploy: the graph rule {rules[-1]} failed on this graph; once more without it")
        self._kept = kept or None
        answer = self._describe_model([output.name for output in graph.output], kept)
        facts = {"kept": kept, "float16": float16, "disabled_rules": rules, "build_s": time.monotonic() - started}
        return {**answer, **facts}, b""

    def op_change_float16(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """The open quantized model once more, with other layers in float16: step 2 alone."""
        import onnx

        if self._kept is None:
            message = "No quantized model is open: build or open one first."
            raise RefusedError(message)
        started = time.monotonic()
        graph = onnx.load(self._kept["model"])
        float16 = float16_tensors(set(request["float16"]), graph)
        write_float16(Path(self._kept["quantization.cfg"]), float16)
        self._step2(self._kept)
        answer = self._describe_model([output.name for output in graph.graph.output], self._kept)
        facts = {"kept": self._kept, "float16": float16, "disabled_rules": [], "build_s": time.monotonic() - started}
        return {**answer, **facts}, b""

    def op_open(self, request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Step 2 alone, from the files that step 1 left: no calibration images are needed."""
        import onnx

        self.enter_new_folder()
        kept = request["kept"]
        rewrite_step1_data(kept["data"], request["expected"])
        _, float16 = read_quantization_table(kept["quantization.cfg"])
        started = time.monotonic()
        self._step2(kept)
        self._kept = kept
        names = [output.name for output in onnx.load(kept["model"]).graph.output]
        answer = self._describe_model(names, kept)
        facts = {"kept": kept, "float16": float16, "disabled_rules": [], "build_s": time.monotonic() - started}
        return {**answer, **facts}, b""

    def op_simulate(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """One image (1, H, W, 3) uint8 through the simulator; float32 outputs in the model's order."""
        import numpy as np

        if self._model is None:
            message = "No model is open: build or open one first."
            raise RefusedError(message)
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

    def op_analyse(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """One image (1, H, W, 3) uint8 through the toolkit's accuracy analysis: the text of its table."""
        import numpy as np

        if self._model is None:
            message = "No model is open: build or open one first."
            raise RefusedError(message)
        image = np.frombuffer(payload, np.uint8).reshape(request["shape"])
        np.save("analysed.npy", np.ascontiguousarray(image.transpose(0, 3, 1, 2)))  # it takes .npy as NCHW
        folder = Path.cwd() / "analysis"
        shutil.rmtree(folder, ignore_errors=True)
        checked("accuracy_analysis", self._model.accuracy_analysis, inputs=["analysed.npy"], output_dir=str(folder))
        text = (folder / "error_analysis.txt").read_text()
        shutil.rmtree(folder, ignore_errors=True)  # every tensor of the network, as text
        return {}, text.encode()

    def op_ranges(self, _request: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        """The range that calibration gave each tensor: name -> (lowest, highest), integers only."""
        if self._kept is None:
            message = "No quantized model is open: build or open one first."
            raise RefusedError(message)
        table, _ = read_quantization_table(self._kept["quantization.cfg"])
        ranges = {
            name: [min(map(float, entry["min"])), max(map(float, entry["max"]))]
            for name, entry in table.items()
            if entry.get("scale") and entry.get("min") and entry.get("max")
        }
        return {"ranges": ranges}, b""

    def _convert(
        self, onnx_path: Path, config: dict[str, Any], dataset: str | None, float16: set[str], *, propose: bool
    ) -> tuple[dict[str, str], list[str]]:
        """The graph through the toolkit, ready for export: step 1's files (none for a float model), float16 tensors."""
        self._model = self.new()
        checked("config", self._model.config, **config)
        checked("load_onnx", self._model.load_onnx, str(onnx_path))
        if dataset is None:
            checked("build", self._model.build, do_quantization=False)
            return {}, []
        checked("hybrid_quantization_step1", self._model.hybrid_quantization_step1, dataset=dataset, proposal=propose)
        kept = {key: str(Path.cwd() / f"model.{key}") for key in ("model", "data", "quantization.cfg")}
        _, tensors = read_quantization_table(kept["quantization.cfg"])
        if float16:
            import onnx

            tensors = float16_tensors(float16, onnx.load(kept["model"]))
        found_by_step2 = config["quantized_algorithm"] == FOUND_BY_STEP_2
        if found_by_step2:
            write_float16(Path(kept["quantization.cfg"]), [])
            self._step2(kept)
            settle_ranges(kept, self._model.rknn_base.quantizer.quant_tab)
        if float16 or found_by_step2:
            write_float16(Path(kept["quantization.cfg"]), tensors)
        self._step2(kept)
        return kept, tensors

    @staticmethod
    def _link_onnx(path: Path, graph: Any) -> Path:
        """The graph and its weight files under a neutral name here: step 1 writes the path it is given into `.data`."""
        link = Path.cwd() / "model.onnx"
        link.symlink_to(path)
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                beside = link.with_name(entry.value)
                if entry.key == "location" and Path(entry.value).name == entry.value and not beside.exists():
                    beside.symlink_to(path.with_name(entry.value))
        return link

    def _step2(self, kept: dict[str, str]) -> None:
        # A fresh object and no config(): 2.5.0 refuses both a loaded model and options given a second time.
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
        inputs, outputs = read_rknn_tensors(rknn)
        if [output["name"] for output in outputs] != names:
            message = (
                f"The .rknn has outputs {[output['name'] for output in outputs]}, expected {names} as in the ONNX."
            )
            raise RefusedError(message)
        if kept:
            import onnx

            table, _ = read_quantization_table(kept["quantization.cfg"])
            add_quantization(outputs, onnx.load(kept["model"]), table, rknn)
        return {"rknn": str(rknn), "inputs": inputs, "outputs": outputs}


def checked(call: str, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Call the toolkit; anything but 0 is a failure."""
    print(f"# rkdeploy: {call}", flush=True)
    if function(*args, **options) != 0:
        raise CallFailedError(call)


# ------------------------------------------------------------------------------------------------------- the loop


def failure(error: BaseException) -> dict[str, Any]:
    """How an operation failed, for the parent to put into words."""
    if isinstance(error, CallFailedError):
        return {"error": {"how": "returned", "call": str(error), "text": ""}}
    if isinstance(error, RefusedError):
        return {"error": {"how": "refused", "call": "", "text": str(error)}}
    if isinstance(error, SystemExit):
        return {"error": {"how": "exited", "call": "", "text": str(error.code)}}
    traceback.print_exc()
    return {"error": {"how": "raised", "call": "", "text": f"{type(error).__name__}: {error}"}}


def flush_output() -> None:
    """Bring everything printed so far, by Python and by the toolkit's C++, into the log."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def start_toolkit() -> tuple[Worker | None, dict[str, Any]]:
    """Import the toolkit: the hello, and the worker if it came."""
    started = time.monotonic()
    try:
        import numpy as np  # noqa: F401 - is it there at all
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
    return Worker(RKNN, installed), {"ok": {"version": installed, "import_s": time.monotonic() - started}}


def main() -> None:
    request_fd, response_fd, work_dir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    for descriptor in (request_fd, response_fd):
        os.set_inheritable(descriptor, False)
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)  # _IOLBF: lines keep their order in the log
    requests: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
    threading.Thread(target=watch_parent, args=(request_fd, requests, work_dir), daemon=True).start()

    with os.fdopen(response_fd, "wb") as responses:

        def answer(message: dict[str, Any], payload: bytes = b"") -> None:
            flush_output()
            responses.write(encode(message, payload))
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
