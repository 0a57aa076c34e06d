"""Reader of a checkpoint's pickle as data: nothing that it names is imported or called.

A hostile pickle has three means other than calls: to change objects after they were checked, to make the reader
hash, print or copy data without end, and to request memory that its size does not justify.  Each opcode that could is
replaced below, and its work is counted in the file's `Budget`.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.budget import MAX_STEPS, Budget
from rkdeploy.host.checkpoint.stand_ins import (
    CONSTRUCTORS,
    DTYPE_NAMES,
    STORAGE_DTYPES,
    Dtype,
    Mapping,
    NumpyDtype,
    StandIn,
    StorageType,
    frozen_set,
    is_model_code,
    plain_key,
)
from rkdeploy.host.checkpoint.tensor import Storage

_MAX_NAME = 200
_MAX_STORAGE_KEY = 200
_MAX_MEMO_INDEX = 1 << 32  # protocol 0 writes it in digits: larger ones can be chosen to collide in the memo
_IDENTITY_LENGTHS = (5, 6)  # the legacy format adds the storage's view


class ByteStream(Protocol):
    """The stream that a pickle is read from."""

    def read(self, n: int = ..., /) -> bytes: ...

    def readline(self) -> bytes: ...


class StandInUnpickler(pickle._Unpickler):  # noqa: SLF001  (the documented class is the one in C)
    """Reads a checkpoint's pickle into plain data, stand-ins and lazy tensors.

    It builds on the standard library's unpickler in Python, not on the one in C, in which a hostile memo index
    allocates gigabytes.

    `find_class` never looks a global up: a name is in the table of constructors, or becomes a stand-in, or is rejected.

    Args:
        stream: the pickle.
        storage: gives the storage for a persistent id `("storage", type, key, location, numel, ...)`.
        budget: the file's; all pickles of a file share it.
    """

    # Attributes of the standard library's class that its type stubs omit.
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    memo: dict[int, Any]
    readline: Callable[[], bytes]

    def __init__(self, stream: ByteStream, storage: Callable[[str, str, int], Storage], budget: Budget) -> None:
        # latin-1 accepts the byte strings of Python 2 pickles; no relevant data is decoded.
        super().__init__(stream, encoding="latin-1")
        self.dispatch = _CountedOpcodes(budget)  # type: ignore[misc, assignment]  # the count is this file's own
        self._storage = storage
        self._budget = budget
        self._stand_ins: dict[tuple[str, str], type[StandIn]] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        constructor = CONSTRUCTORS.get((module_name, global_name))
        if constructor is not None and constructor is not StandIn:
            return constructor
        if module_name in ("torch", "torch.storage"):
            if global_name in STORAGE_DTYPES:
                return StorageType(STORAGE_DTYPES[global_name])
            if global_name in DTYPE_NAMES:
                return Dtype(DTYPE_NAMES[global_name])
        plain = _is_dotted_name(module_name) and _is_dotted_name(global_name)
        if constructor is StandIn or (plain and is_model_code(module_name, global_name)):
            return self._stand_in(module_name, global_name)
        raise CheckpointError(
            f'The checkpoint names "{shown(f"{module_name}.{global_name}", 120)[1:-1]}", which is not model data. '
            "Nothing was executed.",
            "If you trust the file, load it where it was trained and save it again with only the model in it "
            '(torch.save({"model": model}, "clean.pt")); if you do not know where it comes from, do not load it.',
        )

    def _stand_in(self, module_name: str, class_name: str) -> type[StandIn]:
        key = (module_name, class_name)
        if key not in self._stand_ins:
            self._budget.name_class()
            self._stand_ins[key] = type(
                "StandIn", (StandIn,), {"module_name": module_name, "class_name": class_name, "__slots__": ()}
            )
        return self._stand_ins[key]

    def persistent_load(self, identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # the legacy format stores a class next to its source text
        if not isinstance(identity, tuple) or len(identity) not in _IDENTITY_LENGTHS or identity[0] != "storage":
            raise CheckpointError(f"The checkpoint refers to {shown(identity)}, expected a tensor storage.")
        _, kind, key, _, numel, *_ = identity
        named = isinstance(key, str) and len(key) <= _MAX_STORAGE_KEY
        if not isinstance(kind, StorageType) or type(numel) is not int or not 0 <= numel < 1 << 62 or not named:
            raise CheckpointError(
                f"The checkpoint describes a tensor storage as {shown(identity)}, which is not valid."
            )
        return self._storage(str(kind), key, numel)

    # ------------------------------------------------------------------- opcodes, under the standard library's names

    def _call(self, function: Any, arguments: Any, keywords: Any = None) -> None:
        if not isinstance(arguments, (list, tuple)) or not callable(function):
            raise CheckpointError(f"The checkpoint makes {shown(function)} of {shown(arguments)}, which is not valid.")
        keywords = keywords if isinstance(keywords, dict) else {}
        self._budget.copy(arguments, keywords)
        self._budget.copy(*arguments, *keywords, *keywords.values())
        self.append(function(*arguments, **keywords))

    def _instantiate(self, klass: Any, args: Any) -> None:
        self._call(klass, args)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self._call(function, arguments)

    def load_newobj_ex(self) -> None:
        keywords, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(kind, arguments, keywords)

    def load_build(self) -> None:
        """Set the state of a stand-in.  Other objects have none: a tensor's shape must stay as it was checked."""
        state, instance = self.stack.pop(), self.stack[-1]
        if not isinstance(instance, (StandIn, Mapping, NumpyDtype)):
            raise CheckpointError(
                f"The checkpoint changes {shown(instance)} after creating it, which a model does not do."
            )
        self._budget.copy(state)
        self._budget.copy(*(state if isinstance(state, tuple) else ()))
        instance.__setstate__(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, (dict, StandIn)):
            raise CheckpointError(f"The checkpoint stores items in {shown(target)}, which is not valid.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def load_additems(self) -> None:
        items = self.pop_mark()
        for item in items:
            self.stack[-1].add(plain_key(item))

    def load_frozenset(self) -> None:
        self.append(frozen_set(self.pop_mark()))

    def load_put(self) -> None:
        index = int(self.readline()[:-1])
        if not 0 <= index < _MAX_MEMO_INDEX:
            raise CheckpointError(f"The checkpoint's pickle remembers an object as number {shown(index)}.")
        self.memo[index] = self.stack[-1]

    def load_bytearray8(self) -> None:
        """Read at most the existing bytes; the original allocates the declared length before it checks."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(min(size, sys.maxsize))))


_OPCODES: dict[int, Callable[[Any], None]] = {
    **pickle._Unpickler.dispatch,  # noqa: SLF001  (as above)
    pickle.REDUCE[0]: StandInUnpickler.load_reduce,
    pickle.NEWOBJ[0]: StandInUnpickler.load_reduce,  # calling the constructor makes no difference here
    pickle.NEWOBJ_EX[0]: StandInUnpickler.load_newobj_ex,
    pickle.BUILD[0]: StandInUnpickler.load_build,
    pickle.SETITEM[0]: StandInUnpickler.load_setitem,
    pickle.SETITEMS[0]: StandInUnpickler.load_setitems,
    pickle.DICT[0]: StandInUnpickler.load_dict,
    pickle.ADDITEMS[0]: StandInUnpickler.load_additems,
    pickle.FROZENSET[0]: StandInUnpickler.load_frozenset,
    pickle.PUT[0]: StandInUnpickler.load_put,
    pickle.BYTEARRAY8[0]: StandInUnpickler.load_bytearray8,
}


class _CountedOpcodes:
    """The table of opcodes, with a count per look-up: one byte of a pickle can make an object of 200."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        budget = self._budget
        budget.steps += 1
        if budget.steps > MAX_STEPS:
            raise CheckpointError(
                f"The checkpoint's pickle has more than {MAX_STEPS:,} steps, more than any model has."
            )
        return _OPCODES[opcode]


def _is_dotted_name(name: str) -> bool:
    return len(name) <= _MAX_NAME and all(part.isidentifier() for part in name.split("."))
