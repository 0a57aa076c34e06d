"""The module tree of a checkpoint: the data of torch.nn.Module, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.stand_ins import StandIn
from rkdeploy.host.checkpoint.tensor import LazyTensor

_MAX_DEPTH = 64
_MAX_ENTRIES = 300_000  # modules, tensors and attributes; a large model has 50,000
_MAX_PATHS = 10_000_000  # characters of all modules' paths; a large model has 100,000
_MAX_SHARING = 2  # a model's tensors may have this many times the elements of the storages that they view
_MAX_SHARED = 4 << 20  # plus this number: beyond that, one storage is viewed over and over
_MAX_NAME = 200

STATE_DICT = "state_dict"
"""Class name of the root of a tree built from a state dict; its other modules have none."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a trained network.

    Attributes:
        class_name: its class, for example `Conv`.
        module_name: Python module of the class, for example `models.common`.
        path: dotted path from the root, for example `model.0.conv`.
        attributes: plain attributes (kernel sizes, flags, ...).
        tensors: own parameters and buffers by name.
        children: sub-modules by name, in order.
        reads: full names of the tensors that were read, shared by the whole tree: an exporter proves with it that
            it left no weights out.
    """

    class_name: str
    module_name: str
    path: str
    attributes: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]
    children: Mapping[str, Module]
    reads: set[str] = field(default_factory=set, compare=False, repr=False)

    def walk(self) -> Iterator[Module]:
        """This module and all below it, depth first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def child(self, name: str) -> Module:
        """The sub-module `name`.

        Raises:
            CheckpointError: when there is none.
        """
        if name not in self.children:
            raise CheckpointError(
                f'Module "{self.path}" ({self.class_name}) has no sub-module "{name}"; it has '
                f"{', '.join(self.children) or 'none'}."
            )
        return self.children[name]

    def array(self, name: str) -> NDArray[np.float32]:
        """The parameter or buffer `name` as float32.

        Raises:
            CheckpointError: when there is none, or it holds NaN or infinity.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise CheckpointError(f'Module "{self.path}" ({self.class_name}) has no tensor "{name}".')
        self.reads.add(f"{self.path}.{name}")
        values = tensor.numpy()
        if values.dtype != np.float32:
            with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite and is rejected below
                values = values.astype(np.float32)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise CheckpointError(
                f'Tensor "{self.path}.{name}" holds {bad} values that are NaN or infinite (of {values.size}).',
                "The training diverged; use an earlier checkpoint.",
            )
        return values

    def attribute(self, name: str, default: Any = None) -> Any:
        """The plain attribute `name`, or `default`."""
        return self.attributes.get(name, default)


def module_from_inert(root: object, path: str = "") -> Module:
    """View a stand-in of a torch.nn.Module as a `Module` tree.

    Raises:
        CheckpointError: when `root` is not a module, or the tree nests without end.
    """
    return _checked(_Tree().convert(root, path, ()))


def module_from_state_dict(tensors: Mapping[str, LazyTensor]) -> Module:
    """View a state dict as a `Module` tree: its keys are split at their dots; classes and attributes are not known.

    A prefix `module.` of all keys, from (Distributed)DataParallel, is dropped.

    Raises:
        CheckpointError: when a key is not one that torch writes.
    """
    size = _Size()
    wrapped = all(key.startswith("module.") for key in tensors)
    root = _Branch()
    for key, tensor in tensors.items():
        *above, name = (key.removeprefix("module.") if wrapped else key).split(".")
        if len(above) > _MAX_DEPTH:
            raise CheckpointError(f"The state dict has the key {shown(key)}, which nests without end.")
        size.add(1, key)
        branch = root
        for part in above:
            if part not in branch.branches:
                size.add(1, key)
                branch.branches[part] = _Branch()
            branch = branch.branches[part]
        branch.tensors[name] = tensor
    return _checked(root.module(STATE_DICT, "", set()))


def require_affine(norm: Module) -> None:
    """Check that a BatchNorm of a state dict has its weights: a state dict cannot say that it should have none.

    Raises:
        CheckpointError: naming the first that is missing.
    """
    for name in ("weight", "bias"):
        if name not in norm.tensors:
            raise CheckpointError(f'The state dict has no "{norm.path}.{name}".')


def is_state_dict(value: object) -> TypeGuard[Mapping[str, LazyTensor]]:
    """True if a value from the pickle is a state dict: tensors by name, and nothing else."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, LazyTensor) for k, v in value.items())
    )


def is_module(value: object) -> bool:
    """True if a value from the pickle is a torch.nn.Module."""
    return isinstance(value, StandIn) and isinstance(value.state.get("_modules"), dict)


@dataclass(slots=True)
class _Branch:
    """A module of a state dict that is being collected."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    branches: dict[str, _Branch] = field(default_factory=dict)

    def module(self, class_name: str, path: str, reads: set[str]) -> Module:
        return Module(
            class_name=class_name,
            module_name="",
            path=path,
            attributes={},
            tensors=dict(_items(self.tensors)),
            children={
                name: branch.module("", f"{path}.{name}" if path else name, reads)
                for name, branch in _items(self.branches)
            },
            reads=reads,
        )


@dataclass(slots=True)
class _Size:
    """Size of a tree under construction."""

    entries: int = 0
    characters: int = 0

    def add(self, entries: int, path: str) -> None:
        self.entries += entries
        self.characters += len(path)
        if self.entries > _MAX_ENTRIES or self.characters > _MAX_PATHS:
            raise CheckpointError(f"The model has more than {_MAX_ENTRIES:,} parts, more than any trained model has.")


def _checked(root: Module) -> Module:
    """The tree, after checking that its tensors do not multiply the file's data: the export copies each occurrence."""
    tensors = [tensor for module in root.walk() for tensor in module.tensors.values()]
    viewed = sum(tensor.numel for tensor in tensors)
    stored = sum(storage.numel for storage in {id(t.storage): t.storage for t in tensors}.values())
    if viewed > _MAX_SHARING * stored + _MAX_SHARED:
        raise CheckpointError(
            f"The model's tensors have {viewed:,} elements and view {stored:,}: they share them over and over."
        )
    return root


class _Tree:
    """Converter of stand-ins to modules, one per place in the tree: shared ones must not multiply without end."""

    def __init__(self) -> None:
        self._size = _Size()
        self._reads: set[str] = set()

    def convert(self, value: object, path: str, above: tuple[int, ...]) -> Module:
        if not is_module(value):
            raise CheckpointError(f'"{path or "model"}" is {shown(value)}, expected a module.')
        assert isinstance(value, StandIn)
        if id(value) in above or len(above) > _MAX_DEPTH:
            raise CheckpointError(f'Module "{shown(path)[1:-1]}" contains itself, which a trained model does not do.')
        state = value.state
        parameters, buffers, modules = (_items(state.get(group)) for group in ("_parameters", "_buffers", "_modules"))
        self._size.add(1 + len(state) + len(parameters) + len(buffers) + len(modules), path)
        return Module(
            class_name=value.class_name,
            module_name=value.module_name,
            path=path,
            attributes={k: v for k, v in state.items() if k not in ("_parameters", "_buffers", "_modules")},
            tensors={name: tensor for name, tensor in (*parameters, *buffers) if isinstance(tensor, LazyTensor)},
            children={
                name: self.convert(child, f"{path}.{name}" if path else name, (*above, id(value)))
                for name, child in modules
                if child is not None
            },
            reads=self._reads,
        )


def _items(mapping: Any) -> list[tuple[str, Any]]:
    """The named entries; names must be valid in torch: not empty, without a dot (here also: printable and short)."""
    items = [(k, v) for k, v in mapping.items() if isinstance(k, str)] if isinstance(mapping, dict) else []
    for name, _ in items:
        if not name or "." in name or len(name) > _MAX_NAME or not name.isprintable():
            raise CheckpointError(f"A part of the model has the name {shown(name)}, which torch does not allow.")
    return items
