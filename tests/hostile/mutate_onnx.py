"""Makes damaged ONNX files out of good ones, the same for the same seed, and judges how they are read.

python tests/hostile/mutate_onnx.py 1000     reads a thousand of them and prints how they ended
"""

from __future__ import annotations

import collections
import contextlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import AttributeProto, helper, numpy_helper

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.system.limited_process import LimitedProcessError, Limits, run_limited

DATA = Path(__file__).parents[1] / "data"
BASES = [
    DATA / "onnx" / "v6.onnx",
    DATA / "onnx" / "v5_dynamic_raw.onnx",
    DATA / "onnx" / "v7_half.onnx",
    DATA / "ultralytics" / "onnx" / "v8_seg.onnx",
    DATA / "ultralytics" / "onnx" / "v10_end2end.onnx",
]
_INTEGERS = (0, -1, 1, 2, 3, 7, 255, 1 << 16, 1 << 31, 1 << 40, -(1 << 63), (1 << 63) - 1)
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
_TEXTS = ("", "\x1b[2J", "a" * 100_000, "images", "\ufffd", "[" * 5000, "{0: '\\ud800'}")
LIMITS = Limits(8 << 30, 60.0)  # of the process that reads; the child in it has its own


@dataclass(frozen=True, slots=True)
class Reading:
    """Result of reading a file.

    Attributes:
        ended: "read", "refused", or the kind of failure.
        message: of a refusal.
        peak_bytes: resident memory of the largest process.
    """

    ended: str
    message: str
    seconds: float
    peak_bytes: int


def mutant(seed: int) -> tuple[str, bytes]:
    """The name of the change, and the file."""
    rng = random.Random(seed)
    base = rng.choice(BASES)
    change = rng.choice(_CHANGES)
    whole = base.read_bytes()
    if change is None:
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 3, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return f"{seed}: bytes of {base.name}", bytes(damaged)
    model = onnx.load_from_string(whole)
    for _ in range(rng.choice((1, 1, 3))):
        # A tensor that the change before has damaged, or a graph without such a constant.
        with contextlib.suppress(ValueError, IndexError):
            change(model, rng)
    try:
        return f"{seed}: {change.__name__} of {base.name}", model.SerializeToString()
    except EncodeError:  # more than 2 GiB
        return f"{seed}: nothing of {base.name}", whole


def read(content: bytes, folder: Path) -> Reading:
    """Read, cut and verify a file as a build does, in a process of its own."""
    file = folder / "mutant.onnx"
    file.write_bytes(content)
    started = time.monotonic()
    try:
        answer = run_limited(lambda: _built(file), LIMITS)
        ended, message, peak = "read", "", int(answer)
    except LimitedProcessError as error:
        ended, message, peak = error.message, "", 0
    except RkdeployError as error:
        ended, message, peak = "refused", f"{error.message} {error.hint}", 0
    seconds = time.monotonic() - started
    return Reading(ended, message, seconds, max(peak, _peak_bytes()))


def _built(file: Path) -> bytes:
    network = open_network(file, imgsz=(64, 96) if "dynamic" in file.name else None)
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    verify_contract(network, graph, network.contract(outputs), ())
    return str(_peak_bytes()).encode()


def _peak_bytes() -> int:
    """Of the largest process that ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def attributes(model: onnx.ModelProto, rng: random.Random) -> None:
    """One attribute of one node is another number or text."""
    node = rng.choice([n for n in model.graph.node if n.attribute])
    attribute = rng.choice(node.attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(_INTEGERS)
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_INTEGERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(_FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice(_TEXTS).encode()
    else:
        attribute.name = "strides"


def windows(model: onnx.ModelProto, rng: random.Random) -> None:
    """A stride, dilation, kernel, padding or group is another number."""
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "MaxPool", "ConvTranspose")]
    node = rng.choice(nodes)
    name = rng.choice(("strides", "dilations", "kernel_shape", "pads", "group"))
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    number = rng.choice(_INTEGERS)
    node.attribute.append(helper.make_attribute(name, number if name == "group" else [number] * 2))


def shapes(model: onnx.ModelProto, rng: random.Random) -> None:
    """A constant, or the input, says another shape than it has."""
    if rng.random() < 0.2:
        dims = model.graph.input[0].type.tensor_type.shape.dim
        dims[rng.randrange(len(dims))].dim_value = rng.choice(_INTEGERS)
        return
    constant = rng.choice([c for c in model.graph.initializer if c.dims])
    constant.dims[rng.randrange(len(constant.dims))] = rng.choice(_INTEGERS)


def wires(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node reads another tensor."""
    node = rng.choice([n for n in model.graph.node if n.input])
    known = [name for n in model.graph.node for name in n.output] + [c.name for c in model.graph.initializer]
    node.input[rng.randrange(len(node.input))] = rng.choice([*known, "", "nowhere"])


def operators(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node is another operator."""
    ops = [n.op_type for n in model.graph.node]
    rng.choice(model.graph.node).op_type = rng.choice(
        [*ops, "Expand", "Tile", "ConstantOfShape", "Range", "Loop", "Mod"]
    )


def nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node is gone, or there twice."""
    index = rng.randrange(len(model.graph.node))
    if rng.random() < 0.5:
        del model.graph.node[index]
    else:
        model.graph.node.append(model.graph.node[index])


def integers(model: onnx.ModelProto, rng: random.Random) -> None:
    """A constant that says shapes, axes or bounds says other ones."""
    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    found = [t for t in tensors if t.data_type == onnx.TensorProto.INT64]
    if not found:
        return
    tensor = rng.choice(found)
    values = numpy_helper.to_array(tensor).copy()
    if values.size:
        values.flat[rng.randrange(values.size)] = rng.choice(_INTEGERS)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def weights(model: onnx.ModelProto, rng: random.Random) -> None:
    """A constant's values are extreme, or too few."""
    tensor = rng.choice([c for c in model.graph.initializer if c.raw_data])
    if rng.random() < 0.5:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))]
        return
    values = numpy_helper.to_array(tensor).copy()
    with np.errstate(over="ignore", invalid="ignore"):
        values[...] = np.array(rng.choice(_FLOATS if values.dtype.kind == "f" else _INTEGERS[:8])).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def texts(model: onnx.ModelProto, rng: random.Random) -> None:
    """A name or an entry of the metadata is another text."""
    text = rng.choice(_TEXTS)
    entries = list(model.metadata_props)
    if entries and rng.random() < 0.5:
        rng.choice(entries).value = text
    elif rng.random() < 0.5:
        rng.choice(model.graph.output).name = text
    else:
        rng.choice(model.graph.node).output[0] = text


def versions(model: onnx.ModelProto, rng: random.Random) -> None:
    """The file says another version of the operators or the container."""
    model.opset_import[0].version = rng.choice((0, 1, 9, 13, 18, 21, 22, 23, 24, -1, 1 << 40))
    model.ir_version = rng.choice((0, 3, 8, 13, 1 << 40))


Change = Callable[[onnx.ModelProto, random.Random], None]
_CHANGES: list[Change | None] = [
    None, attributes, windows, shapes, wires, operators, nodes, integers, weights, texts, versions,
]  # fmt: skip


def main(count: int, first: int = 0) -> int:
    """Read mutants and print how they ended; returns how many ended badly."""
    ends: collections.Counter[str] = collections.Counter()
    slowest = largest = 0.0
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            what, content = mutant(seed)
            reading = read(content, Path(folder))
            ends[reading.ended if reading.ended in ("read", "refused") else "bad"] += 1
            ends["refused: crash, limit or surprise in the child"] += " cannot be used: " in reading.message
            slowest, largest = max(slowest, reading.seconds), max(largest, reading.peak_bytes)
            if reading.ended not in ("read", "refused") or " cannot be used: " in reading.message:
                print(what, "|", reading.ended, reading.message[:200], f"{reading.seconds:.1f} s", flush=True)
            bad += reading.ended not in ("read", "refused")
    print(dict(ends), f"slowest {slowest:.1f} s, largest {largest / 1e9:.2f} GB")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(*(int(a) for a in sys.argv[1:])), 1))
