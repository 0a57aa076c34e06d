"""Following the layer list, and leaving nothing out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module, read_checkpoint
from rkdeploy.host.export.activations import ACTIVATIONS
from rkdeploy.host.families import yolov5
from rkdeploy.host.families.model_info import ACTIVATION_CLASSES

DATA = Path(__file__).parents[2] / "data" / "yolov5"


def with_extra_child(module: Module, class_name: str) -> Module:
    """The tree with one more convolution inside every block of a class, as forks with attention have it."""
    children = {name: with_extra_child(child, class_name) for name, child in module.children.items()}
    if module.class_name == class_name:
        donor = next(m for m in module.walk() if m.class_name == "Conv2d")
        children["attention"] = replace(donor, path=f"{module.path}.attention")
    return replace(module, children=children)


@pytest.mark.parametrize("class_name", ["C3", "Conv", "Detect"])
def test_weights_that_no_block_uses_are_refused(class_name: str) -> None:
    """A block that was extended under its old name is an error that names the weights, never a wrong graph."""
    checkpoint = read_checkpoint(DATA / "v7_n.pt")
    info = yolov5.describe(checkpoint)
    extended = replace(checkpoint, root=with_extra_child(checkpoint.root, class_name))
    with pytest.raises(GraphError, match=r"attention\.weight.* do not belong to the released block"):
        yolov5.export(extended, info, 128, 128)


def test_every_activation_has_an_emitter() -> None:
    """Activations of `inspect` are those that the exporter can write."""
    assert set(ACTIVATIONS) == ACTIVATION_CLASSES
