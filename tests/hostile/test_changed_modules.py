"""Checkpoints of every family with one attribute or tensor changed: a clear error or a graph, never anything else."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.host.checkpoint import Checkpoint, Module, read_checkpoint
from rkdeploy.host.families.registry import family_of

DATA = Path(__file__).parents[1] / "data"
CASES = (
    "yolov5/seg", "yolov5/cls", "ultralytics/v8_pose_2x3", "ultralytics/v11_obb", "ultralytics/v12n",
    "ultralytics/v26_seg", "ultralytics/v10n", "yolor/paper_p6", "yolov9/reversible_lead", "yolov9/dseg_dual",
)  # fmt: skip
ALONE = {"yolov9/reversible_lead": {"Silence", "CBLinear", "CBFuse"}}
"""Classes that are changed in a case; others change the head and a module of each class."""
ODD: tuple[Any, ...] = (None, -1, 0, 1 << 40, 0.5, float("nan"), "x", (), (3, -1), [1, 2, 3], {"a": 1}, True)


def changed(module: Module, path: str, **changes: Any) -> Module:
    """The tree with one module's fields replaced."""
    if module.path == path:
        return replace(module, **changes)
    if module.path and not path.startswith(f"{module.path}."):
        return module
    children = {n: changed(c, path, **changes) for n, c in module.children.items()}
    return replace(module, children=children)


def mutations(root: Module, alone: Collection[str] = ()) -> Iterator[tuple[str, Module]]:
    """Every attribute of the head and of one module of each class, with odd values; then what is missing.

    Args:
        root: the tree.
        alone: classes of the modules that are changed; empty for all.
    """
    layers = list(root.children["model"].children.values())
    seen: dict[str, Module] = {}
    for module in root.walk():
        seen.setdefault(module.class_name, module)
    odd = itertools.cycle(ODD)
    chosen = {id(m): m for m in (root, layers[-1], *seen.values()) if not alone or m.class_name in alone}
    for module in chosen.values():
        for name in module.attributes:
            value = next(odd)
            attributes = {**module.attributes, name: value}
            yield f"{module.path}.{name} = {value!r}", changed(root, module.path, attributes=attributes)
        for name in module.children:
            rest = {n: c for n, c in module.children.items() if n != name}
            yield f"{module.path} without {name}", changed(root, module.path, children=rest)
        for name, tensor in module.tensors.items():
            others = [t for n, t in module.tensors.items() if n != name]
            swapped = {**module.tensors, name: others[0]} if others else {}
            yield f"{module.path}.{name} is another tensor", changed(root, module.path, tensors=swapped)
            assert tensor is not None


def describe_and_export(checkpoint: Checkpoint) -> None:
    family = family_of(checkpoint)
    info = family.describe(checkpoint)
    size = 2 * max(info.strides, default=32)
    family.export(checkpoint, info, size, size)


@pytest.mark.parametrize("case", CASES)
def test_one_change(case: str) -> None:
    """Whatever is changed, describing and exporting ends in a graph or in an error of ours."""
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    tried = 0
    for what, root in mutations(checkpoint.root, ALONE.get(case, ())):
        tried += 1
        try:
            describe_and_export(replace(checkpoint, root=root))
        except RkdeployError:
            pass
        except Exception as error:  # noqa: BLE001 - that is the point
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
    assert tried > (20 if case in ALONE else 50)
