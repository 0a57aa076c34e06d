"""Layout and lifetime of tensors in memory."""

from __future__ import annotations

import pytest

from rkdeploy.analysis.report.memory_map import TensorLife, peak_bytes, tensor_lives, weight_bytes
from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel, PlacedTensor
from tests.analysis.report.report_samples import LOGS, compiled

ALL_LOGS = sorted(path.name.removesuffix(".txt.gz") for path in LOGS.glob("*.gz"))


def layer(number: int, op: str, name: str, shape: tuple[int, ...]) -> CompiledLayer:
    return CompiledLayer(number, op, name, "INT8", "NPU", (), shape, 0, 0, 0, 0.0)


def tensor(reader: int, name: str, shape: tuple[int, ...], start: int, end: int) -> PlacedTensor:
    return PlacedTensor(reader, name, "INT8", shape, start, end)


BRANCHES = CompiledModel(
    layers=(
        layer(0, "InputOperator", "in", (1, 3, 8, 8)),
        layer(1, "Conv", "m.1.cv1/Conv", (1, 16, 4, 4)),
        layer(2, "Conv", "m.1.cv2/Conv", (1, 16, 4, 4)),
        layer(3, "Conv", "m.2/Conv", (1, 16, 4, 4)),
        layer(4, "Concat", "m.3/Concat", (1, 32, 4, 4)),
        layer(5, "OutputOperator", "out", ()),
    ),
    features=(
        tensor(1, "in", (1, 3, 8, 8), 0, 192),
        tensor(2, "in", (1, 3, 8, 8), 0, 192),
        tensor(3, "m.1.cv1/Mul_output_0", (1, 16, 4, 4), 192, 448),
        tensor(4, "m.2/Mul_output_0", (1, 16, 4, 4), 0, 256),
        tensor(4, "m.1.cv2/Mul_output_0", (1, 16, 4, 4), 448, 704),
        tensor(5, "m.3/Concat_output_0", (1, 32, 4, 4), 704, 1216),
    ),
    constants=(tensor(1, "w", (16, 3, 1, 1), 0, 64), tensor(3, "v", (16, 16, 1, 1), 64, 320),
               tensor(4, "v", (16, 16, 1, 1), 64, 320)),
    internal_kib=1.1875,
    weight_kib=0.3125,
)  # fmt: skip


def test_lives_by_hand() -> None:
    """Two branches of one shape are distinguished by their names, and a tensor lives until its last reader."""
    lives = {life.name: (life.first_layer, life.last_layer) for life in tensor_lives(BRANCHES)}
    assert lives == {
        "in": (0, 2),
        "m.1.cv1/Mul_output_0": (1, 3),
        "m.1.cv2/Mul_output_0": (2, 4),
        "m.2/Mul_output_0": (3, 4),
        "m.3/Concat_output_0": (4, 5),
    }


def test_peak_and_weights_by_hand() -> None:
    """The peak is where the Concat reads two and writes one; weights that two layers share count once, at the first."""
    assert peak_bytes(tensor_lives(BRANCHES)) == (256 + 256 + 512, 4)
    assert weight_bytes(BRANCHES) == {1: 64, 3: 256}
    assert peak_bytes(()) == (0, 0)


@pytest.mark.parametrize("log", ALL_LOGS)
def test_no_two_tensors_are_in_one_place(log: str) -> None:
    """In every recorded plan no byte belongs to two tensors between the same layers, and none lives after its place."""
    model = compiled(log)
    lives = tensor_lives(model)
    assert len(lives) == len({(t.name, t.start) for t in model.features})
    for index, a in enumerate(lives):
        for b in lives[index + 1 :]:
            assert not (_meet(a, b) and a.first_layer < b.last_layer and b.first_layer < a.last_layer), (a, b)
    assert 0 < peak_bytes(lives)[0] <= model.internal_kib * 1024
    assert sum(weight_bytes(model).values()) <= model.weight_kib * 1024


def _meet(a: TensorLife, b: TensorLife) -> bool:
    return a.start < b.end and b.start < a.end


def test_a_plan_whose_layers_name_nothing() -> None:
    """Without any writer of its shape a tensor still has a life that ends where it is read."""
    model = CompiledModel((layer(0, "Conv", "", ()),), (tensor(0, "x", (1, 2), 0, 8),), (), 0.0, 0.0)
    assert tensor_lives(model) == (TensorLife("x", "INT8", 0, 8, 0, 0),)
