"""Replacements for the names in a checkpoint's pickle: plain data and stand-ins, never the named objects.

A name is either in the short table of constructors below (plain containers, and tensors as descriptions of where their
bytes lie), or belongs to a model-code namespace and becomes an inert stand-in that only stores its name and state.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage, make_tensor

STORAGE_DTYPES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "",
}
DTYPE_NAMES: dict[str, str] = {
    "float64": "float64", "double": "float64",
    "float32": "float32", "float": "float32",
    "float16": "float16", "half": "float16",
    "bfloat16": "bfloat16",
    "int64": "int64", "long": "int64",
    "int32": "int32", "int": "int32",
    "int16": "int16", "short": "int16",
    "int8": "int8", "uint8": "uint8", "bool": "bool",
}  # fmt: skip

# Namespaces of model code.  Every name in them becomes an inert stand-in, functions too.
MODEL_NAMESPACES = (
    "models", "utils", "ultralytics", "yolov5", "yolo", "lib", "omegaconf", "typing",
    "torch.nn", "torch.optim", "torch.distributed", "torchvision", "timm",
    "pytorch_wavelets", "yolov6", "yolox", "nanodet", "super_gradients", "segmentation_models_pytorch",
)  # fmt: skip
# Of these only what a table here names: a checkpoint that names more of them was forged.
_NOT_OF_MODELS = sys.stdlib_module_names | {"__builtin__", "numpy", "torch", "dill", "cloudpickle", "joblib"}

_MAX_INTEGER = 1 << 60  # larger integers can be chosen to collide in a dictionary
_MAX_TUPLE_KEY = 4
_MAX_KEY = 4096  # characters; equal keys are compared completely
_MAX_KEY_PART = 100
_MAX_PATH = 4096


def is_model_code(module_name: str, name: str) -> bool:
    """True for a name that becomes a stand-in: of a namespace of model code, or a class of another package.

    Blocks of other packages (`mmcv.ops.DeformConv2dPack`) are known as classes by their first letter; they are named
    when the network is exported, which is where an unknown block is an error.
    """
    if any(module_name == n or module_name.startswith(n + ".") for n in MODEL_NAMESPACES):
        return True
    return module_name.partition(".")[0] not in _NOT_OF_MODELS and name.lstrip("_")[:1].isupper()


class StandIn:
    """Stand-in for an object of model code: its class's name and its state, without behavior.

    Attributes:
        state: attributes by name, from the pickle.
        arguments: constructor arguments, from the pickle.
    """

    module_name = ""
    class_name = ""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __new__(cls, *_: Any, **__: Any) -> StandIn:  # noqa: PYI034  (pickle may build it without calling __init__)
        instance = object.__new__(cls)
        instance.arguments = ()
        instance.state = {}
        return instance

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2 and all(s is None or isinstance(s, dict) for s in state):
            state = {**(state[0] or {}), **(state[1] or {})}  # (attributes, slots)
        if isinstance(state, dict):
            self.state.update((k, v) for k, v in state.items() if isinstance(k, str))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Mappings and lists of model code (configuration objects) are stored like attributes."""
        self.state[_brief(key)] = value

    def append(self, value: Any) -> None:
        self.state[str(len(self.state))] = value

    def extend(self, values: Any) -> None:
        for value in values:
            self.append(value)

    def add(self, value: Any) -> None:
        self.append(value)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<{self.module_name}.{self.class_name}>"


class Dtype(str):
    """A torch dtype by name."""

    __slots__ = ()


class StorageType(str):
    """A torch storage class, as the name of its element type."""

    __slots__ = ()


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise CheckpointError(f"A tensor is built from {shown(storage)}, expected a storage of the checkpoint.")
    dtype = next((str(r) for r in rest if isinstance(r, Dtype)), storage.dtype)
    return make_tensor(storage, offset, size, stride, dtype)


def _rebuild_parameter(data: Any, *_: object) -> Any:
    return data


def _rebuild_from_type(_function: object, _kind: object, arguments: Any, _state: object = None) -> Any:
    return _rebuild_tensor(*arguments) if isinstance(arguments, tuple) and 4 <= len(arguments) <= 16 else None


class NumpyDtype:
    """A numpy dtype, as far as a checkpoint's metadata needs it."""

    def __init__(self, kind: object = "", *_: object) -> None:
        self.kind = kind if isinstance(kind, str) else ""

    def __setstate__(self, _state: object) -> None: ...


_SCALAR_KIND = re.compile(r"[fiu][1248]|b1")


def _numpy_scalar(dtype: object, data: object = b"", *_: object) -> float | int | bool | None:
    import numpy as np

    if isinstance(data, str):  # pickle protocol 2 writes bytes as latin-1 text
        data = data.encode("latin-1", "replace")
    if not isinstance(dtype, NumpyDtype) or not isinstance(data, bytes) or not _SCALAR_KIND.fullmatch(dtype.kind):
        return None
    try:
        value = np.frombuffer(data, np.dtype("<" + dtype.kind), count=1)[0].item()
    except ValueError:  # fewer bytes than the type has
        return None
    return value if isinstance(value, (bool, int, float)) else None


def _encode(text: object, encoding: object = "latin-1", *_: object) -> bytes:
    return text.encode("latin-1", "replace") if isinstance(text, str) and encoding == "latin1" else b""


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (tuple, list)) else ()


def _path(*parts: object) -> str:
    return "/".join(p for p in parts if isinstance(p, str)).replace("//", "/")[:_MAX_PATH]


def _bound_attribute(*_: object) -> StandIn:
    """Stand-in for getattr(object, name), with which a pickle stores a bound method.  No attribute is looked up."""
    return StandIn()


def plain_key(key: Any) -> Any:
    """A dictionary key or set member that is safe to hash and to compare.

    Hashing tuples that share their parts takes exponential time, deeply nested ones overflow the C stack, and tuples of
    numbers can be made to collide: a tuple is replaced by text.

    Raises:
        CheckpointError: when it is not safe.
    """
    if isinstance(key, (str, bytes)):
        if len(key) > _MAX_KEY:
            raise CheckpointError(f"The checkpoint uses a key of {len(key):,} characters, more than any model does.")
        return key
    if isinstance(key, (float, StandIn, type, type(None))) or (
        isinstance(key, int) and -_MAX_INTEGER < key < _MAX_INTEGER
    ):
        return key
    if isinstance(key, tuple) and len(key) <= _MAX_TUPLE_KEY:
        return f"({', '.join([_brief(part)[:_MAX_KEY_PART] for part in key])})"
    raise CheckpointError(f"The checkpoint uses {shown(key)} as a dictionary key, which a model does not do.")


def _brief(key: Any) -> str:
    """A key as text; only its type if it is neither text nor a small number."""
    if isinstance(key, str):
        return key
    if isinstance(key, float) or (isinstance(key, int) and -_MAX_INTEGER < key < _MAX_INTEGER):
        return str(key)
    return f"<{type(key).__name__}>"


def _dict(items: object = (), *_: object) -> dict[Any, Any]:
    if isinstance(items, dict):
        return dict(items)
    pairs = items if isinstance(items, (list, tuple)) else ()
    return {plain_key(p[0]): p[1] for p in pairs if isinstance(p, (list, tuple)) and len(p) == 2}


def _list(items: object = (), *_: object) -> list[Any]:
    return list(items) if isinstance(items, (list, tuple, set, frozenset)) else []


def _set(items: object = (), *_: object) -> set[Any]:
    return {plain_key(i) for i in items} if isinstance(items, (list, tuple, set, frozenset)) else set()


def frozen_set(items: object = (), *_: object) -> frozenset[Any]:
    """A frozenset of safe members."""
    return frozenset(_set(items))


class Mapping(dict[Any, Any]):
    """An OrderedDict or defaultdict.  Its attributes cannot be set, so that no method of it can be replaced."""

    __slots__ = ()

    def __init__(self, items: object = (), *_: object) -> None:
        super().__init__(_dict(items))

    def __setstate__(self, _state: object) -> None: ...


_BUILTINS: dict[str, Callable[..., Any]] = {
    "set": _set, "frozenset": frozen_set, "list": _list, "tuple": _size, "dict": _dict, "slice": StandIn,
    "getattr": _bound_attribute,
    # These appear as a default factory or a type tag, and are never called.
    "int": StandIn, "float": StandIn, "bool": StandIn, "complex": StandIn, "str": StandIn, "object": StandIn,
}  # fmt: skip


def _builtin_type(name: object) -> Callable[..., Any]:
    """`dill._dill._load_type`, with which ultralytics 8.0 and 8.1 name built-in types."""
    if not isinstance(name, str) or name not in _BUILTINS or name == "getattr":
        raise CheckpointError(f"The checkpoint names the type {shown(name)}, which is not model data.")
    return _BUILTINS[name]


CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): Mapping,
    ("collections", "defaultdict"): Mapping,
    **{(m, n): c for m in ("builtins", "__builtin__") for n, c in _BUILTINS.items()},
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch", "Size"): _size,
    ("torch", "device"): _path,
    ("_codecs", "encode"): _encode,
    ("dill._dill", "_load_type"): _builtin_type,
    **{
        (m, n): c
        for m in ("numpy.core.multiarray", "numpy._core.multiarray")
        for n, c in (("scalar", _numpy_scalar), ("_reconstruct", StandIn))
    },
    ("numpy", "dtype"): NumpyDtype,
    ("numpy", "ndarray"): StandIn,
    **{
        ("pathlib", n): _path
        for n in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
    **{("pathlib._local", n): _path for n in ("PosixPath", "WindowsPath")},
    ("argparse", "Namespace"): StandIn,
    ("datetime", "datetime"): StandIn,
    ("types", "SimpleNamespace"): StandIn,
}
