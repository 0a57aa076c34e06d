"""Files of the toolkit, read and changed: step 1's `.data` and table, and the `.rknn`.

Used by `worker.py`, whose interpreter need not be rkdeploy's own: imports the standard library, and (late) the
toolkit's own requirements.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import math
import pickle
import reprlib
import struct
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

RKNN_HEADER_BYTES = 64
NUMBERS = struct.Struct("<IiIfIfIf")  # fields of a tensor in a `.rknn`: a zero point, a scale, a maximum, a minimum
# Ranges are found by step 1 for every algorithm but one.
FOUND_BY_STEP_1, FOUND_BY_STEP_2 = "normal", "mmse"
DYNAMIC_FIXED_POINT = "int16"  # of outputs, by the `.rknn`
NEAR_POWER = 1e-3  # of a ratio of two scales: 1 / 16383 is 2.00006 times 1 / 32767
FOUND_BY_SENSITIVITY = "sensitivity"  # by `range_search.py`, from the ranges of step 1
MOST_DATA_BYTES = 64 << 20  # step 1's `.data` for a model with 30 MB of weights has half a megabyte
# Operators that the compiler fuses with the convolution before them, if both have the same type.
ACTIVATIONS = frozenset({
    "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Sigmoid", "Tanh",
    "exGelu", "exMish", "exSwish",
})  # fmt: skip


class RefusedError(Exception):
    """A request that this script refuses; the message is complete."""


class NamespaceStandIn:
    """Stand-in for an `argparse.Namespace` while a file is checked: it only stores its attributes."""

    __slots__ = ("state",)

    state: dict[str, Any]

    def __new__(cls) -> Self:  # not __init__, which unpickling does not call
        made = super().__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict or not all(type(name) is str for name in state):
            message = "it gives a Namespace a state that is not a dict of names"
            raise RefusedError(message)
        self.state = state


# The unpickler in C sets attributes of any object, and allocates as many objects as a file of a few bytes
# declares.
class PlainUnpickler(pickle._Unpickler):  # noqa: SLF001 - pickle.py's own class
    """Reads step 1's `.data` only if it holds plain data: the toolkit itself would execute any pickle."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001 - as above

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("argparse", "Namespace"):
            return NamespaceStandIn
        message = f"it names the global {module}.{name}; only plain data is expected there"
        raise RefusedError(message)

    def load_build(self) -> None:
        if type(self.stack[-2]) is not NamespaceStandIn:
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
    """Writes the data again, with the stand-ins replaced by `argparse.Namespace`."""

    def reducer_override(self, value: Any) -> Any:
        if value is NamespaceStandIn:
            message = "it holds the class Namespace itself"
            raise RefusedError(message)
        return (Namespace, (), value.state) if type(value) is NamespaceStandIn else NotImplemented


def read_step1_data(path: str) -> Any:
    """The content of a `.data` file.

    Raises:
        RefusedError: when it is not plain data.
    """
    file = Path(path)
    size = file.stat().st_size
    if size > MOST_DATA_BYTES:
        message = f'The kept file "{path}" has {size:,} bytes, expected at most {MOST_DATA_BYTES:,}.'
        raise RefusedError(message)
    try:
        data = PlainUnpickler(io.BytesIO(file.read_bytes())).load()
        pickled_step1_data(data)
    except RefusedError as error:
        message = f'The kept file "{path}" is not safe to open: {error}.'
        raise RefusedError(message) from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
        message = f'The kept file "{path}" is damaged: {type(error).__name__}: {error}.'
        raise RefusedError(message) from None
    return data


def pickled_step1_data(data: Any) -> bytes:
    """The data in the form that the toolkit reads."""
    pickled = io.BytesIO()
    NamespacePickler(pickled, 4).dump(data)  # 4 is the toolkit's own
    return pickled.getvalue()


def rewrite_step1_data(path: str, expected: dict[str, Any]) -> None:
    """Check that a `.data` file is plain data and was made with the options `expected`, and write it again.

    The toolkit, which loads it once more, only sees the checked data.

    Raises:
        RefusedError: when it is not, or was made with other options.
    """
    data = read_step1_data(path)
    made_with = data.get("args") if type(data) is dict else None
    options = made_with.state if type(made_with) is NamespaceStandIn else {}
    for key, value in expected.items():
        was = options.get(key)
        if was != value:
            message = f'The kept file "{path}" was made with {key} {reprlib.repr(was)}, expected {value!r}.'
            raise RefusedError(message)
    Path(path).write_bytes(pickled_step1_data(data))


def settle_ranges(kept: dict[str, str], table: dict[str, Any]) -> None:
    """Write the quantization that step 2 found into step 1's files, as if step 1 had found it.

    With `mmse` step 2 quantizes again, on the calibration images.  Its own table then differs from the files', and
    these
    would open a simulator of another model; with step 2's values in them they need neither images nor another search.

    Args:
        kept: step 1's files.
        table: of step 2: tensor name -> its quantization; includes weights.
    """
    from ruamel.yaml import YAML

    plain = json.loads(json.dumps(table, default=lambda value: value.tolist()))  # convert numpy's numbers and arrays
    data = read_step1_data(kept["data"])
    data["quant_tab"] = plain
    data["args"].state["quantized_algorithm"] = data["quantizer.param"]["qalgorithm"] = FOUND_BY_STEP_1
    Path(kept["data"]).write_bytes(pickled_step1_data(data))
    parameters, _ = read_quantization_table(kept["quantization.cfg"])
    for name, entry in parameters.items():
        entry.update({key: plain[name][key] for key in entry})
    with Path(kept["quantization.cfg"]).open("w") as file:
        YAML().dump({"custom_quantize_layers": {}, "quantize_parameters": parameters}, file)


def with_ranges(table: dict[str, Any], ranges: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """A quantization table with other ranges of some tensors, asymmetric INT8.

    Args:
        table: tensor name -> its quantization.
        ranges: tensor name -> lowest and highest value, with 0 between them.
    """
    changed = dict(table)
    for name, (low, high) in ranges.items():
        scale = (high - low) / 255
        grid = {"scale": [scale], "zero_point": [round(-low / scale) - 128], "min": [low], "max": [high]}
        changed[name] = {**table[name], **grid}
    return changed


def read_quantization_table(path: str) -> tuple[dict[str, Any], list[str]]:
    """Step 1's table: tensor name -> its quantization, and the tensors that stay float16.

    Plain YAML only: tags could name code.

    Raises:
        RefusedError: when it is something else.
    """
    try:
        file = copy.deepcopy(_plain_yaml(Path(path).read_text()))
        table: dict[str, Any] = file["quantize_parameters"]
        float16 = [str(name) for name in file.get("custom_quantize_layers") or ()]
    except Exception as error:  # noqa: BLE001 - whatever the parser raises, the file is not what step 1 writes
        reason = " ".join(str(error).split())
        message = f'The kept file "{path}" is not a quantization table: {reason}.'
        raise RefusedError(message) from None
    return table, float16


@functools.lru_cache(maxsize=1)
def _plain_yaml(text: str) -> Any:
    """Parsed once per text: the parser is in Python, and a build of a small network asks twice for the same table."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def read_rknn_tensors(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of a `.rknn` in runtime order: name, shape and dtype, from its own trailer.

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


def quantization_in_rknn(blob: bytes, name: str, dtype: str) -> set[tuple[float, int]]:
    """Scale and zero point in a `.rknn` of a tensor with one of each; empty if they are not found.

    Its model is a flatbuffer.  A tensor's strings and vectors follow one another, each as its uint32 length and
    its items: zero points (int32), scales, maxima, minima (float32), the dtype, the kind of quantization, the name.
    """
    strings = b"".join(
        struct.pack("<I", len(text))
        + text.ljust(len(text) // 4 * 4 + 4, b"\0")  # ended by a zero, padded to whole words
        for text in (dtype.encode(), b"layer")
    )
    named = strings + struct.pack("<I", len(name.encode())) + name.encode() + b"\0"
    found = set()
    at = blob.find(named)
    while at >= 0:
        if at >= NUMBERS.size:
            zero_points, zero_point, scales, scale, maxima, _, minima, _ = NUMBERS.unpack_from(blob, at - NUMBERS.size)
            if zero_points == scales == maxima == minima == 1:
                found.add((scale, zero_point))
        at = blob.find(named, at + 1)
    return found


def add_quantization(outputs: list[dict[str, Any]], model: Any, table: dict[str, Any], rknn: Path) -> None:
    """Give every integer output the scale and zero point of the toolkit's `.quantization.cfg`.

    In step 1's graph an output is the result of `exDataConvert` on the quantized tensor, so the entry is that node's
    input.  The `.rknn` itself must have the same values.

    Raises:
        RefusedError: when it does not.
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
                f'The toolkit states no single scale and zero point for output "{name}" ({output["dtype"]}): '
                f"its quantization.cfg has dtype {entry.get('dtype')}, scale {scales}, zero_point {zero_points}."
            )
            raise RefusedError(message)
        output["scale"], output["zero_point"] = float(scales[0]), int(zero_points[0])
        stated = struct.unpack("<f", struct.pack("<f", output["scale"]))[0], output["zero_point"]
        in_rknn = quantization_in_rknn(blob, name, output["dtype"])
        if not in_rknn and struct.pack("<iIf", stated[1], 1, stated[0]) in blob:
            continue  # found, but not in the expected place
        if output["dtype"] == DYNAMIC_FIXED_POINT and is_shifted(stated, in_rknn):
            ((output["scale"], output["zero_point"]),) = in_rknn
            continue
        if in_rknn != {stated}:
            message = (
                f'The quantization.cfg of the toolkit states scale and zero point {stated} for output "{name}"; '
                f"the .rknn has {', '.join(map(str, sorted(in_rknn))) or 'no such record'}."
            )
            raise RefusedError(message)


def is_shifted(stated: tuple[float, int], in_rknn: set[tuple[float, int]]) -> bool:
    """True if a `.rknn` states one scale, a power of two away from the table's, and the zero point of both is 0.

    Step 2 shifts an INT16 tensor by whole bits where the sums of its layer would not fit; the simulator has its scale.
    """
    if len(in_rknn) != 1:
        return False
    ((scale, zero_point),) = in_rknn
    mantissa, _ = math.frexp(scale / stated[0]) if scale > 0 and stated[0] > 0 else (0.0, 0)
    return zero_point == stated[1] == 0 and abs(mantissa - 0.5) < NEAR_POWER


FORM_NODE = "form/"
"""Beginning of the names that the nodes and tensors of another program's form have."""


def float16_tensors(wanted: set[str], model: Any) -> list[str]:
    """Tensors of step 1's graph with a wanted name, in its order, each with the other half of its layer.

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
    chosen |= _behind_forms(nodes, producers, chosen)
    for output in tuple(chosen):
        node = producers[output]
        before = producers.get(node.input[0]) if node.input else None
        if node.op_type in ACTIVATIONS and before is not None and len(readers[node.input[0]]) == 1:
            chosen.add(node.input[0])
        after = readers.get(output, [])
        if len(after) == 1 and after[0].op_type in ACTIVATIONS:
            chosen.update(after[0].output)
    return [output for node in nodes for output in node.output if output in chosen]


def _behind_forms(nodes: list[Any], producers: Mapping[str, Any], chosen: set[str]) -> set[str]:
    """Tensors that are computed from chosen ones only, some of a form's nodes among them.

    The toolkit replaces such nodes by others (a slice by a split, an axis moved before), whose names were not wanted.
    """
    grown = set(chosen)
    forms = {name for name in chosen if name.startswith(FORM_NODE)}
    for node in nodes:
        computed = [name for name in node.input if name in producers]
        if node.op_type != "exDataConvert" and forms.intersection(computed) and grown.issuperset(computed):
            grown.update(node.output)
            forms.update(node.output)
    return grown


def write_float16(path: Path, tensors: list[str]) -> None:
    """Write the tensors that stay float16 for step 2: the first entry of step 1's table, which is empty otherwise."""
    head, found, rest = path.read_text().partition("quantize_parameters:")
    if not found or not head.startswith("custom_quantize_layers:"):
        message = f"The table of step 1 begins with {reprlib.repr(head)}, expected custom_quantize_layers."
        raise RefusedError(message)
    lines = "".join(f"    {json.dumps(name)}: float16\n" for name in tensors)
    path.write_text(f"custom_quantize_layers:{' {}' if not tensors else ''}\n{lines}{found}{rest}")
