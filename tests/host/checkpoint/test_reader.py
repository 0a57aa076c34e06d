"""Reading checkpoints as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Module, read_checkpoint
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.checkpoint.stand_ins import is_model_code
from rkdeploy.host.checkpoint.tensor import Storage, make_tensor
from rkdeploy.host.families.registry import family_of

DATA = Path(__file__).parents[2] / "data" / "yolov5"
SAMPLE = Path(__file__).parents[3] / "calib_data" / "best.pt"


def first_convolution(root: Module) -> Module:
    return next(m for m in root.walk() if m.class_name == "Conv2d")


def test_sample_checkpoint() -> None:
    """The sample's facts: number of parameters, half precision, training arguments."""
    checkpoint = read_checkpoint(SAMPLE)
    assert checkpoint.parameters == 1_767_976
    assert checkpoint.dtype == "float16"
    assert checkpoint.train_arguments["imgsz"] == 384
    assert checkpoint.weights == "model"


def test_ema_is_preferred() -> None:
    """If a file has both, the exponential moving average counts."""
    assert read_checkpoint(DATA / "with_ema.pt").weights == "ema"


@pytest.mark.parametrize(("case", "dtype"), [("bfloat16", "bfloat16"), ("float32", "float32"), ("v7_n", "float16")])
def test_weights_become_float32(case: str, dtype: str) -> None:
    """Whatever the file stores, weights are read as finite float32."""
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    assert checkpoint.dtype == dtype
    weight = first_convolution(checkpoint.root).array("weight")
    assert weight.dtype == np.float32
    assert np.isfinite(weight).all()
    assert weight.std() > 0


def test_bfloat16_by_hand() -> None:
    """bfloat16 1.5 and -2.0 are 0x3FC0 and 0xC000."""
    raw = np.array([0x3FC0, 0xC000], np.uint16).view(np.uint8)
    storage = Storage("0", "bfloat16", 2, lambda: raw)
    assert make_tensor(storage, 0, (2,), (1,), "bfloat16").numpy().tolist() == [1.5, -2.0]


def test_strided_view_by_hand() -> None:
    """A transposed view of six numbers, starting at none and at an offset."""
    storage = Storage("0", "float32", 6, lambda: np.arange(6, dtype=np.float32).view(np.uint8))
    assert make_tensor(storage, 0, (3, 2), (1, 3), "float32").numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert make_tensor(storage, 2, (2,), (3,), "float32").numpy().tolist() == [2, 5]
    assert make_tensor(storage, 0, (0, 4), (4, 1), "float32").numpy().shape == (0, 4)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (-1,), (1,)), (0, (2,), (-1,)), (-1, (2,), (1,)), (0, (7,), (1,)), (0, (2, 2), (1,)), (0, (1 << 40,), (0,))],
)
def test_impossible_views_are_refused(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """Negative sizes, strides and offsets, and views larger than their storage, are errors before anything is read."""
    storage = Storage("0", "float32", 6, lambda: np.zeros(24, np.uint8))
    with pytest.raises(CheckpointError):
        make_tensor(storage, offset, shape, stride, "float32")


def test_view_beyond_its_storage_is_refused() -> None:
    """A view that fits by its number of elements but reaches outside is an error, not a read of foreign memory."""
    storage = Storage("0", "float32", 6, lambda: np.zeros(24, np.uint8))
    tensor = make_tensor(storage, 4, (2,), (3,), "float32")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        tensor.numpy()


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    """Opening a checkpoint does not read its weights: a tensor that is not used is never touched."""
    damaged = tmp_path / "damaged.pt"
    data = bytearray(SAMPLE.read_bytes())
    start = data.find(b"best/data/0")
    data[start + 200 : start + 300] = b"\xff" * 100  # NaN in float16, somewhere in the first weights
    damaged.write_bytes(bytes(data))
    checkpoint = read_checkpoint(damaged)
    assert checkpoint.parameters == 1_767_976
    with pytest.raises(CheckpointError, match="checksum"):
        first_convolution(checkpoint.root).array("weight")


def test_state_dict_is_read_by_its_names() -> None:
    """Weights without a model become a tree of their names, read lazily, without a wrapper's prefix."""
    checkpoint = read_checkpoint(DATA / "state_dict.pt")
    assert checkpoint.is_state_dict
    assert checkpoint.weights == "whole file"
    conv = checkpoint.root.child("model").child("0").child("conv")
    assert (conv.class_name, conv.path, conv.tensors["weight"].shape[1]) == ("", "model.0.conv", 3)
    assert not checkpoint.root.reads
    conv.array("weight")
    assert checkpoint.root.reads == {"model.0.conv.weight"}
    tensors = {f"module.a.{name}": conv.tensors["weight"] for name in ("b", "b.c")}
    root = module_from_state_dict(tensors)
    assert list(root.children) == ["a"]
    assert root.child("a").tensors.keys() == {"b"}
    assert root.child("a").child("b").tensors.keys() == {"c"}


@pytest.mark.parametrize("key", ["", "a..b", "a.", ".".join("a" * 70), "a" * 300, "a\nb"])
def test_keys_that_torch_does_not_write(key: str) -> None:
    """A state dict with a key that is not a path of names is refused."""
    weight = read_checkpoint(DATA / "state_dict.pt").root.child("model").child("0").child("conv").tensors["weight"]
    with pytest.raises(CheckpointError, match=r"does not allow|nests without end"):
        module_from_state_dict({key: weight})


@pytest.mark.parametrize(("module", "name", "taken"), [
    ("mmcv.ops.modulated_deform_conv", "ModulatedDeformConv2dPack", True), ("extra_modules.attention", "_EMA", True),
    ("__main__", "Net", True), ("ultralytics.nn.tasks", "attempt_load_weights", True), ("mmcv.fileio", "load", False),
    ("pathlib", "PurePath", False), ("numpy.ma", "MaskedArray", False), ("torch.utils.data", "DataLoader", False),
])  # fmt: skip
def test_classes_of_other_packages_are_stand_ins(module: str, name: str, taken: bool) -> None:
    """A block of any package becomes a stand-in; functions, and what Python, torch and numpy have, do not."""
    assert is_model_code(module, name) == taken


def test_state_dict_is_explained() -> None:
    """Weights that no family recognizes are refused with a hint."""
    with pytest.raises(CheckpointError, match="state dict") as caught:
        family_of(read_checkpoint(DATA / "state_dict.pt"))
    assert "best.pt that the training run saved" in caught.value.hint
