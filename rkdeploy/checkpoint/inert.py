"""The pickle of a checkpoint, read as data: nothing that it names is imported or called.

`InertUnpickler.find_class` never looks a global up.  A name is either in the short table of constructors below (plain
containers, and tensors as descriptions of where their bytes lie), or belongs to a model-code namespace and becomes an
inert stand-in that only remembers its name and state, or is refused by name.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any

from rkdeploy.checkpoint.tensor import LazyTensor, Storage, make_tensor
from rkdeploy.errors import CheckpointError

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

# Where the classes of model code live.  What they name becomes an inert stand-in, whatever it is.
MODEL_NAMESPACES = (
    "models", "utils", "ultralytics", "yolov5", "yolo", "lib",
    "torch.nn", "torch.optim", "torch.distributed", "torchvision", "timm",
)  # fmt: skip


class Inert:
    """Stands in for an object of model code: its class's name and its state, and no behaviour.

    Attributes:
        state: what the pickle stored in it: attributes by name.
        arguments: what the pickle constructed it with.
    """

    module_name = ""
    class_name = ""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __new__(cls, *_: Any, **__: Any) -> Inert:  # noqa: PYI034  (pickle may build it without calling __init__)
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
        """Mappings and lists of model code (configuration objects) are remembered like attributes."""
        self.state[str(key)] = value

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


class _Dtype(str):
    """A torch dtype by name."""

    __slots__ = ()


class _StorageType(str):
    """A torch storage class, as the name of its element type."""

    __slots__ = ()


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise CheckpointError(f"A tensor is built from {storage!r:.60}, expected a storage of the checkpoint.")
    dtype = next((str(r) for r in rest if isinstance(r, _Dtype)), storage.dtype)
    return make_tensor(storage, offset, size, stride, dtype)


def _rebuild_parameter(data: Any, *_: object) -> Any:
    return data


def _rebuild_from_type(_function: object, _kind: object, arguments: Any, _state: object = None) -> Any:
    return _rebuild_tensor(*arguments) if isinstance(arguments, tuple) and len(arguments) >= 4 else None


class _NumpyDtype:
    """A numpy dtype as far as a checkpoint's metadata needs it."""

    def __init__(self, kind: object = "", *_: object) -> None:
        self.kind = str(kind)

    def __setstate__(self, _state: object) -> None: ...


def _numpy_scalar(dtype: object, data: object = b"", *_: object) -> float | int | bool | None:
    import numpy as np

    if isinstance(data, str):  # pickle protocol 2 writes bytes as latin-1 text
        data = data.encode("latin-1", "replace")
    if not isinstance(dtype, _NumpyDtype) or not isinstance(data, bytes) or dtype.kind[:1] not in tuple("fiub"):
        return None
    try:
        value = np.frombuffer(data, np.dtype("<" + dtype.kind), count=1)[0].item()
    except (TypeError, ValueError):
        return None
    return value if isinstance(value, (bool, int, float)) else None


def _encode(text: object, encoding: object = "latin-1", *_: object) -> bytes:
    return text.encode("latin-1", "replace") if isinstance(text, str) and encoding == "latin1" else b""


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (tuple, list)) else ()


def _path(*parts: object) -> str:
    return "/".join(str(p) for p in parts if isinstance(p, str)).replace("//", "/")


def _bound_attribute(*_: object) -> Inert:
    """Stands in for getattr(object, name), by which a pickle stores a bound method.  No attribute is looked up."""
    return Inert()


class _Mapping(dict[Any, Any]):
    """An OrderedDict or defaultdict.  Its attributes cannot be set, so that no method of it can be replaced."""

    __slots__ = ()

    def __init__(self, items: object = (), *_: object) -> None:
        super().__init__(items if isinstance(items, (dict, list, tuple)) else ())

    def __setstate__(self, _state: object) -> None: ...


_BUILTINS: dict[str, Callable[..., Any]] = {
    "set": set, "frozenset": frozenset, "list": list, "tuple": tuple, "dict": dict, "slice": slice,
    "getattr": _bound_attribute,
    # These appear as a default factory or a type tag, never to be called.
    "int": Inert, "float": Inert, "bool": Inert, "complex": Inert, "str": Inert, "object": Inert,
}  # fmt: skip

CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _Mapping,
    ("collections", "defaultdict"): _Mapping,
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
    **{(m, n): c for m in ("numpy.core.multiarray", "numpy._core.multiarray")
       for n, c in (("scalar", _numpy_scalar), ("_reconstruct", Inert))},
    ("numpy", "dtype"): _NumpyDtype,
    ("numpy", "ndarray"): Inert,
    **{("pathlib", n): _path for n in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath",
                                        "PureWindowsPath")},
    **{("pathlib._local", n): _path for n in ("PosixPath", "WindowsPath")},
    ("argparse", "Namespace"): Inert,
    ("datetime", "datetime"): Inert,
    ("types", "SimpleNamespace"): Inert,
}  # fmt: skip


class InertUnpickler(pickle._Unpickler):  # noqa: SLF001  (the documented class is the one in C)
    """Reads a checkpoint's pickle into plain data, stand-ins and lazy tensors.

    It builds on the standard library's unpickler in Python, not on the one in C: a hostile memo index makes the latter
    allocate gigabytes.

    Args:
        stream: the pickle.
        storage: gives the storage for a persistent id `("storage", type, key, location, numel, ...)`.
    """

    def __init__(self, stream: IO[bytes], storage: Callable[[str, str, int], Storage]) -> None:
        # latin-1 lets the byte strings of Python 2 pickles through; nothing is decoded that matters.
        super().__init__(stream, encoding="latin-1")
        self._storage = storage
        self._stand_ins: dict[tuple[str, str], type[Inert]] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        constructor = CONSTRUCTORS.get((module_name, global_name))
        if constructor is not None and constructor is not Inert:
            return constructor
        if module_name in ("torch", "torch.storage"):
            if global_name in STORAGE_DTYPES:
                return _StorageType(STORAGE_DTYPES[global_name])
            if global_name in DTYPE_NAMES:
                return _Dtype(DTYPE_NAMES[global_name])
        top = tuple(module_name == n or module_name.startswith(n + ".") for n in MODEL_NAMESPACES)
        if constructor is Inert or (any(top) and global_name.replace(".", "_").isidentifier()):
            return self._stand_in(module_name, global_name)
        raise CheckpointError(
            f'The checkpoint names "{module_name}.{global_name}", which is not model data. Nothing was executed.',
            "If you trust the file, load it where it was trained and save it again with only the model in it "
            '(torch.save({"model": model}, "clean.pt")); if you do not know where it comes from, do not load it.',
        )

    def _stand_in(self, module_name: str, class_name: str) -> type[Inert]:
        key = (module_name, class_name)
        if key not in self._stand_ins:
            self._stand_ins[key] = type(
                "Inert", (Inert,), {"module_name": module_name, "class_name": class_name, "__slots__": ()}
            )
        return self._stand_ins[key]

    def persistent_load(self, identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # the legacy format stores a class beside its source text
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise CheckpointError(f"The checkpoint refers to {identity!r:.80}, expected a tensor storage.")
        _, kind, key, _, numel, *_ = identity
        if not isinstance(kind, _StorageType) or type(numel) is not int or numel < 0 or not isinstance(key, str):
            raise CheckpointError(f"The checkpoint describes a tensor storage as {identity!r:.80}, which is not valid.")
        return self._storage(str(kind), key, numel)
