"""YOLOP's graphs against what upstream's own code computed (tests/data/yolop)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError, RkdeployError
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage, make_tensor
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families import yolop
from rkdeploy.host.families.anchor_defaults import PUBLISHED
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data" / "yolop"
CASES = sorted(p.stem for p in DATA.glob("*.pth"))
STEMS: tuple[StemForm, ...] = ("trained", "space_to_depth", "slices", "convolution")


def opened(case: str) -> Checkpoint:
    return read_checkpoint(DATA / f"{case}.pth")


def normalized(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """(1, 3, H, W) as the contract says."""
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (spec.mean, spec.std))
    values: NDArray[np.float32] = (image.astype(np.float32) - mean) / std
    return values


def tensors_of(checkpoint: Checkpoint) -> dict[str, LazyTensor]:
    return {f"{m.path}.{name}": tensor for m in checkpoint.root.walk() for name, tensor in m.tensors.items()}


def ones(shape: tuple[int, ...]) -> LazyTensor:
    values = np.ones(shape, np.float32)
    storage = Storage("test", "float32", values.size, lambda: values.view(np.uint8).ravel())
    return make_tensor(storage, 0, values.shape, [s // 4 for s in values.strides], "float32")


def export(checkpoint: Checkpoint) -> None:
    family = family_of(checkpoint)
    family.export(checkpoint, family.describe(checkpoint), 64, 64)


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Boxes within 1e-3 px, scores and both maps within 1e-5 of upstream torch, by upstream's names."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = opened(case)
    assert family_of(checkpoint) is yolop
    info = yolop.describe(checkpoint)
    meta = json.loads(str(recorded["meta"]))
    assert info.anchors is not None
    assert np.abs(np.array(info.anchors.levels_px) - recorded["anchors_px"]).max() < 1e-3
    assert list(info.strides) == recorded["strides"].tolist() == [8, 16, 32]
    assert len(info.class_names) == recorded["pred"].shape[1] - 5 == meta["nc"]
    assert info.class_maps == ("drivable_area", "lane_line")
    image = recorded["input"]
    for stem in STEMS:
        exported = yolop.export(checkpoint, info, image.shape[2], image.shape[3], stem)
        outputs = Session(exported.model).run({"images": normalized(image, exported.input)})
        assert tuple(outputs) == ("det_out", "drive_area_seg", "lane_line_seg")
        difference = np.abs(outputs["det_out"][0] - recorded["pred"])
        assert difference[:, :4].max() < 1e-3
        assert difference[:, 4:].max() < 1e-5
        for name in ("drive_area_seg", "lane_line_seg"):
            assert np.abs(outputs[name] - recorded[name]).max() < 1e-5


def test_published_anchors() -> None:
    """The case with upstream's own anchors is recognized as such."""
    info = yolop.describe(opened("end_to_end"))
    assert info.anchors is not None
    assert info.anchors.levels_px == PUBLISHED["yolop"][0].levels_px
    assert info.anchor_comparison is not None
    assert info.anchor_comparison.are_defaults
    assert info.anchor_comparison.data_set == "BDD100K"
    assert info.training.parameters == 10_750


def test_shapes_at_640() -> None:
    """19,200, 4,800 and 1,200 rows and two masks of the input's size."""
    checkpoint = opened("end_to_end")
    exported = yolop.export(checkpoint, yolop.describe(checkpoint), 640, 640)
    assert exported.head.rows is not None
    assert exported.head.rows.level_rows == (19_200, 4_800, 1_200)
    shapes = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in exported.model.graph.output}
    assert shapes["det_out"] == [1, 25_200, 6]
    assert shapes["drive_area_seg"] == shapes["lane_line_seg"] == [1, 2, 640, 640]


def test_the_larger_plane_stays_the_larger() -> None:
    """The tensors that are cut out name the same class as upstream's outputs at every pixel."""
    recorded = np.load(DATA / "end_to_end.npz")
    checkpoint = opened("end_to_end")
    exported = yolop.export(checkpoint, yolop.describe(checkpoint), *recorded["input"].shape[2:])
    model = exported.model
    maps = [tap for tap in exported.head.taps if tap.role == "class_map"]
    for tap in maps:
        model.graph.output.add().name = tap.tensor
    outputs = Session(model).run({"images": normalized(recorded["input"], exported.input)})
    for tap, name in zip(maps, yolop.CLASS_MAPS, strict=True):
        clear = np.abs(np.diff(recorded[name], axis=1)[:, 0]) > 1e-5
        assert clear.mean() > 0.9
        ours, theirs = outputs[tap.tensor].argmax(1), recorded[name].argmax(1)
        assert np.array_equal(ours[clear], theirs[clear])
        assert 0.05 < theirs.mean() < 0.95


def test_every_weight_counts() -> None:
    """A weight that is missing, has another shape or is too many is one error, never a graph that computes else."""
    checkpoint = opened("end_to_end")
    weights = tensors_of(checkpoint)
    keys = [key for key in weights if not key.endswith("num_batches_tracked")]
    for key in keys[::17] + [k for k in keys if k.startswith("model.24.")]:
        shape = weights[key].shape
        for changed in (
            {k: v for k, v in weights.items() if k != key},
            weights | {key: ones((*shape[:-1], shape[-1] + 1))},
            weights | {f"{key}_more": weights[key]},
        ):
            damaged = replace(checkpoint, root=module_from_state_dict(changed))
            with pytest.raises(RkdeployError):
                export(damaged)


def test_a_layer_that_is_missing_is_named() -> None:
    """A state dict that was cut off says which layer it lacks."""
    checkpoint = opened("end_to_end")
    weights = {k: v for k, v in tensors_of(checkpoint).items() if not k.startswith("model.28.")}
    with pytest.raises(CheckpointError, match=r'no "model\.28", a Conv'):
        yolop.describe(replace(checkpoint, root=module_from_state_dict(weights)))


def test_prefix_of_parallel_training() -> None:
    """Keys that all begin with `module.`, as forks save them, are read like upstream's."""
    checkpoint = opened("uneven")
    weights = {f"module.{k}": v for k, v in tensors_of(checkpoint).items()}
    wrapped = replace(checkpoint, root=module_from_state_dict(weights))
    assert yolop.describe(wrapped) == yolop.describe(checkpoint)
