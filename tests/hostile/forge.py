"""Makes hostile checkpoints: reads a good one into objects that can be changed, writes it back, or assembles opcodes.

Nothing here needs torch.  A class of the pickle becomes a `Thing` class of the same name, which pickles itself as that
name again, whether it exists or not.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "yolov5"
BASE = DATA / "v7_n.pt"


class Thing:
    """An object of some class: what it was made with, its state, and its items."""

    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]

    def __new__(cls, *arguments: Any) -> Thing:  # noqa: PYI034
        thing = object.__new__(cls)
        thing.arguments, thing.state, thing.items = arguments, None, {}
        return thing

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __getitem__(self, key: Any) -> Any:
        return self.items[key]

    def __reduce_ex__(self, _protocol: object) -> Any:
        return type(self), self.arguments, self.state, None, iter(list(self.items.items())) if self.items else None

    def child(self, path: str) -> Any:
        """The sub-module at a dotted path."""
        module = self
        for name in path.split("."):
            module = module.state["_modules"][name]
        return module


class StorageId:
    """A tensor storage: its persistent id."""

    def __init__(self, identity: tuple[Any, ...]) -> None:
        self.identity = identity


def named(module: str, name: str) -> type[Thing]:
    """A class that pickles as `module.name`."""
    return type(name, (Thing,), {"__module__": module})


class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return named(module, name)

    def persistent_load(self, identity: Any) -> Any:
        return StorageId(identity)


class _Writer(pickle._Pickler):
    write: Callable[[bytes], None]
    memoize: Callable[[Any], None]

    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, StorageId) else None

    def save_global(self, obj: Any, name: str | None = None) -> None:
        self.write(b"c" + f"{obj.__module__}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)


class Forgery:
    """A checkpoint that can be changed.

    Attributes:
        content: the pickled object.
        storages: the bytes of every storage by key.
    """

    def __init__(self, base: Path = BASE) -> None:
        with zipfile.ZipFile(base) as archive:
            names = archive.namelist()
            root = names[0].partition("/")[0]
            self.content: dict[str, Any] = _Reader(io.BytesIO(archive.read(f"{root}/data.pkl"))).load()
            self.storages = {n.rpartition("/")[2]: archive.read(n) for n in names if n.startswith(f"{root}/data/")}

    @property
    def model(self) -> Any:
        return self.content["model"]

    def layer(self, path: str) -> Any:
        """A module below `model.model`, for example `0.conv`."""
        return self.model.child(f"model.{path}")

    @property
    def head(self) -> Any:
        modules = self.model.child("model").state["_modules"]
        return list((modules if isinstance(modules, dict) else modules.items).values())[-1]

    def tensor(self, path: str, group: str, name: str) -> Any:
        """The rebuild call of a tensor: its arguments are (storage, offset, size, stride, ...)."""
        return find_tensor(self.layer(path).state[group][name])

    def fill(self, tensor: Any, value: float, dtype: str = "<f2") -> None:
        """Overwrite the whole storage of a tensor with one number."""
        key = tensor.arguments[0].identity[2]
        size = struct.calcsize({"<f2": "<e", "<f4": "<f", "<i8": "<q"}[dtype])
        pattern = struct.pack({"<f2": "<e", "<f4": "<f", "<i8": "<q"}[dtype], value)
        self.storages[key] = pattern * (len(self.storages[key]) // size)

    def write(self, path: Path, **options: Any) -> Path:
        stream = io.BytesIO()
        _Writer(stream, 2).dump(self.content)
        return write_zip(path, stream.getvalue(), self.storages, **options)


def find_tensor(value: Any) -> Any:
    """A parameter wraps its tensor; the tensor's own rebuild call."""
    while not isinstance(value.arguments[0], StorageId):
        value = value.arguments[0]
    return value


def replace_arguments(tensor: Any, **changes: Any) -> None:
    """Change storage, offset, size or stride of a tensor."""
    names = ("storage", "offset", "size", "stride")
    values = list(tensor.arguments)
    for name, value in changes.items():
        values[names.index(name)] = value
    tensor.arguments = tuple(values)


def write_zip(
    path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """A torch.save archive around a pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy(path: Path, *pickles: bytes) -> Path:
    """The older format: magic number, protocol, system, then the pickles given."""
    head = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join((*head, *pickles)))
    return path


# ------------------------------------------------------------------------------------------------- opcodes by hand


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """GLOBAL, arguments, TUPLE, REDUCE."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def stack_global(module: str, name: str, *arguments: bytes) -> bytes:
    """STACK_GLOBAL, which allows dots and anything else in the names."""
    return text(module) + text(name) + b"\x93(" + b"".join(arguments) + b"tR"


def program(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def laughs(depth: int = 60) -> bytes:
    """A tuple of two references to a tuple of two references to ..., `depth` deep: cheap to make, endless to walk."""
    return b")q\x01" + b"".join(b"0h\x01h\x01\x86q\x01" for _ in range(depth))


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
"""A storage "0" of four float32, on the stack."""

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89"
    + b"ccollections\nOrderedDict\n)RtR"
)  # fmt: skip
FOUR = {"0": bytes(16)}

Mutation = Callable[[Forgery], None]
