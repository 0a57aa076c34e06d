"""Search of ranges by sensitivity: costs by hand, and a channel that the next layer hardly uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.toolkit.emulated_operators import operators
from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun
from rkdeploy.host.toolkit.files import with_ranges
from rkdeploy.host.toolkit.range_search import BINS, cheapest, groups_of, searched_ranges, sensitivities
from tests.host.toolkit.test_bias_correction import entry


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, imported by the first test that needs it."""
    return pytest.importorskip("torch")


def two_channels(*, used: float) -> onnx.ModelProto:
    """Values between 0 and 1 and between 0 and 100, of which a convolution reads the second by the weight `used`."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "first"], ["wide"], kernel_shape=[1, 1]),
            helper.make_node("MaxPool", ["wide"], ["pooled"], kernel_shape=[1, 1]),
            helper.make_node("Conv", ["pooled", "second"], ["out"], kernel_shape=[1, 1]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 16, 16])],
        [
            numpy_helper.from_array(np.array([1, 100], np.float32).reshape(2, 1, 1, 1), "first"),
            numpy_helper.from_array(np.array([1, used], np.float32).reshape(1, 2, 1, 1), "second"),
        ],
    )
    return helper.make_model(graph)


TABLE = {
    "first": {"dtype": "int8", "scale": [1 / 255, 100 / 255], "zero_point": [-128, -128]},
    "second": entry(1 / 255, -128),
    "wide": entry(100 / 255, -128),
    "pooled": entry(100 / 255, -128),
    "out": entry(2 / 255, -128),
}


@pytest.mark.parametrize(("used", "highest"), [(0.0, 6.0), (0.01, 101.0)])
def test_a_channel_that_is_not_used_is_clipped(torch: Any, used: float, highest: float) -> None:
    """A range of 100 costs the small channel its steps: it shrinks where the wide one does not count, else it stays."""
    network = EmulatedNetwork(two_channels(used=used), TABLE, (), operators())
    random = torch.Generator().manual_seed(1)
    images = [torch.rand((1, 1, 16, 16), generator=random) for _ in range(3)]
    found = searched_ranges(network, EmulatedRun, images)
    assert set(found) <= {"wide", "pooled"}
    low, high = found.get("wide", (0.0, 100.0))
    assert found.get("pooled", (0.0, 100.0)) == (low, high)  # max pooling keeps the range of its input
    assert low == 0
    assert 0.9 < high < highest
    assert searched_ranges(network, EmulatedRun, images) == found
    again = with_ranges(TABLE, found)
    assert (again["wide"]["scale"], again["wide"]["zero_point"]) == ([pytest.approx(high / 255)], [-128])


def test_the_cost_of_a_range_by_hand(torch: Any) -> None:
    """One value far out among many: clipping it costs its distance squared, keeping it the steps of all others."""
    histogram = torch.zeros(BINS, dtype=torch.float64)
    histogram[: BINS // 10] = 1000.0
    assert cheapest(histogram, 0.0, 10.0) == pytest.approx((0.0, 1.0))
    histogram[-1] = 1e9
    assert cheapest(histogram, 0.0, 10.0) is None


def test_zeros_cost_nothing(torch: Any) -> None:
    """Zero is a step of every grid, so that a tensor of zeros and one value has the cost of that value alone."""
    values = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    found = sensitivities(values, torch.ones_like(values), -1.0, 3.0)
    assert found.sum() == 1
    assert found[BINS // 2] == 1


def test_fixed_ranges_are_not_searched(torch: Any) -> None:
    """Outputs keep their range, and what lies behind a sigmoid its 0 to 1."""
    del torch  # the network needs it
    network = EmulatedNetwork(two_channels(used=1.0), TABLE, (), operators())
    assert groups_of(network) == {"wide": ["wide", "pooled"]}


def test_only_int8_is_searched() -> None:
    """The algorithm with a float build is refused by name."""
    with pytest.raises(RkdeployError, match="--algorithm sensitivity searches ranges of INT8"):
        BuildOptions(model=Path("best.pt"), dtype="fp16", algorithm="sensitivity")
