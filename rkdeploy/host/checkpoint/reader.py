"""A checkpoint file as one frozen value: the module tree and the training run's metadata."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.archive import read_pickled
from rkdeploy.host.checkpoint.darknet_cfg import read_darknet_cfg
from rkdeploy.host.checkpoint.darknet_sections import DarknetCfg
from rkdeploy.host.checkpoint.darknet_weights import read_darknet_weights
from rkdeploy.host.checkpoint.module_tree import (
    STATE_DICT,
    Module,
    is_module,
    is_state_dict,
    module_from_inert,
    module_from_state_dict,
)
from rkdeploy.host.checkpoint.stand_ins import StandIn
from rkdeploy.host.checkpoint.tensor import LazyTensor

DARKNET_SUFFIX = ".weights"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model and its metadata.

    Attributes:
        path: the file.
        root: the module tree; for a file with weights only, the tree given by their names.
        weights: source of the weights: `ema`, `model`, `state_dict` or `whole file`.
        epoch: last epoch, None when the file does not say (a stripped checkpoint says -1).
        date: when it was saved, in the trainer's format.
        train_arguments: the training run's arguments, if the file has them.
        cfg: the user's darknet cfg for the weights.
    """

    path: Path
    root: Module
    weights: str
    epoch: int | None
    date: str | None
    train_arguments: Mapping[str, Any]
    cfg: DarknetCfg | None = None

    @property
    def is_state_dict(self) -> bool:
        """True if the file holds weights without their model."""
        return self.root.class_name == STATE_DICT

    @property
    def parameters(self) -> int:
        """Number of trained parameters (running statistics and other buffers are not counted)."""
        buffers = ("running_mean", "running_var", "num_batches_tracked", "anchors", "anchor_grid", "stride")
        return sum(t.numel for m in self.root.walk() for n, t in m.tensors.items() if n not in buffers)

    @property
    def dtype(self) -> str:
        """Element type of most weights in the file, for example `float16`."""
        counts: dict[str, int] = {}
        for module in self.root.walk():
            for tensor in module.tensors.values():
                counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel
        return max(counts, key=lambda d: counts[d], default="none")


def read_checkpoint(path: Path, cfg: Path | None = None) -> Checkpoint:
    """Read a `.pt`, `.pth` or `.weights` without torch and without executing anything in it.

    The exponential moving average (`ema`) is taken if it is present, as in upstream's own loader, else `model`.  A
    state dict is read if there is no model.

    Args:
        path: the file.
        cfg: the darknet cfg that describes the network of its weights.

    Raises:
        CheckpointError: not a checkpoint, damaged, hostile, or without a model in it.
    """
    if path.suffix.lower() == DARKNET_SUFFIX:
        return _darknet_weights(path, cfg)
    content = read_pickled(path)
    _LOG.debug("%s: %d bytes, unpickled to %s", path, path.stat().st_size, type(content).__name__)
    structure = read_darknet_cfg(cfg) if cfg is not None else None
    if is_module(content):
        return Checkpoint(path, _unwrapped(content), "whole file", None, None, {}, structure)
    if is_state_dict(content):
        return Checkpoint(path, module_from_state_dict(content), "whole file", None, None, {}, structure)
    if not isinstance(content, dict):
        what = "a tensor" if isinstance(content, LazyTensor) else type(content).__name__
        raise CheckpointError(
            f'"{path.name}" holds {what}, expected a training checkpoint.',
            "Give the best.pt that the training run saved; rkdeploy reads models, not data.",
        )
    root, weights = _model(path, content)
    epoch, date, arguments = content.get("epoch"), content.get("date"), content.get("train_args", content.get("opt"))
    if isinstance(arguments, StandIn):
        arguments = arguments.state
    return Checkpoint(
        path=path,
        root=root,
        weights=weights,
        epoch=epoch if type(epoch) is int and -1 <= epoch < 1 << 31 else None,
        date=date if isinstance(date, str) and date.isprintable() and len(date) < 100 else None,
        train_arguments=dict(arguments) if isinstance(arguments, dict) else {},
        cfg=structure,
    )


def _darknet_weights(path: Path, cfg: Path | None) -> Checkpoint:
    """The weights of a darknet file, by the sections of its cfg.

    Raises:
        CheckpointError: without a cfg, or when the two do not belong together.
    """
    if cfg is None:
        raise CheckpointError(
            f'"{path.name}" holds the weights of a darknet network, but not the network.',
            f"Give the cfg that it was trained with: --cfg {path.stem}.cfg",
        )
    structure = read_darknet_cfg(cfg, "darknet")
    return Checkpoint(path, read_darknet_weights(path, structure), "whole file", None, None, {}, structure)


def _model(path: Path, content: dict[Any, Any]) -> tuple[Module, str]:
    """The model of a training checkpoint, or its state dict, and its key in the file."""
    for name in ("ema", "model"):
        if is_module(content.get(name)):
            return _unwrapped(content[name]), name
    for name in ("ema", "model", "state_dict"):
        if is_state_dict(content.get(name)):
            return module_from_state_dict(content[name]), name
    keys = ", ".join(shown(k) for k in list(content)[:8])
    raise CheckpointError(
        f'"{path.name}" has no model in it (keys: {keys or "none"}).', "Use the best.pt that the training run saved."
    )


def _unwrapped(model: StandIn) -> Module:
    """The model without the wrapper of (Distributed)DataParallel."""
    for _ in range(2):
        inner = model.state["_modules"].get("module")
        if model.class_name in ("DataParallel", "DistributedDataParallel") and is_module(inner):
            model = inner
    return module_from_inert(model)
