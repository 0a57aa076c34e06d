"""The module tree of a checkpoint: what torch.nn.Module keeps, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.checkpoint.inert import Inert
from rkdeploy.checkpoint.tensor import LazyTensor
from rkdeploy.errors import CheckpointError

_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a trained network.

    Attributes:
        class_name: its class, for example `Conv`.
        module_name: where the class lived, for example `models.common`.
        path: dotted path from the root, for example `model.0.conv`.
        attributes: plain attributes (kernel sizes, flags, ...).
        tensors: own parameters and buffers by name.
        children: sub-modules by name, in order.
    """

    class_name: str
    module_name: str
    path: str
    attributes: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]
    children: Mapping[str, Module]

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
        values = tensor.numpy().astype(np.float32, copy=False)
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
        CheckpointError: when `root` is no module, or the tree nests without end.
    """
    return _convert(root, path, ())


def is_module(value: object) -> bool:
    """Whether a value from the pickle is a torch.nn.Module."""
    return isinstance(value, Inert) and isinstance(value.state.get("_modules"), dict)


def _convert(value: object, path: str, above: tuple[int, ...]) -> Module:
    if not is_module(value):
        raise CheckpointError(f'"{path or "model"}" is {value!r:.60}, expected a module.')
    assert isinstance(value, Inert)
    if id(value) in above or len(above) > _MAX_DEPTH:
        raise CheckpointError(f'Module "{path}" contains itself, which no trained model does.')
    state = value.state
    tensors = {
        name: tensor
        for group in ("_parameters", "_buffers")
        for name, tensor in _items(state.get(group))
        if isinstance(tensor, LazyTensor)
    }
    children = {
        name: _convert(child, f"{path}.{name}" if path else name, (*above, id(value)))
        for name, child in _items(state["_modules"])
        if child is not None
    }
    attributes = {k: v for k, v in state.items() if k not in ("_parameters", "_buffers", "_modules")}
    return Module(value.class_name, value.module_name, path, attributes, tensors, children)


def _items(mapping: object) -> list[tuple[str, object]]:
    return [(k, v) for k, v in mapping.items() if isinstance(k, str)] if isinstance(mapping, dict) else []
