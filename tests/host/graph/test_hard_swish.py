"""Hard swish in four steps: becomes a gate and a product; another function of the same operators stays."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.host.graph.hard_swish import with_hard_sigmoids
from rkdeploy.host.graph.session import Session
from tests.host.graph.kind_graphs import KindGraph


def written_out(shift: float = 3.0, top: float = 6.0, divisor: float = 6.0, *, swapped: bool = False) -> KindGraph:
    """The image times clip(it + shift, 0, top) / divisor, of a convolution."""
    graph = KindGraph((8, 8))
    x = graph.conv(1, 4)
    shifted = graph.node("Add", x, graph.constant(np.float32(shift)))
    clipped = graph.node("Clip", shifted, graph.constant(np.float32(0)), graph.constant(np.float32(top)))
    product = graph.node("Mul", *((clipped, x) if swapped else (x, clipped)))
    return graph.show(graph.node("Div", product, graph.constant(np.float32(divisor))))


@pytest.mark.parametrize("swapped", [False, True])
def test_the_values_stay(swapped: bool) -> None:
    """Both orders of the product are known."""
    model = written_out(swapped=swapped).model()
    changed = with_hard_sigmoids(model)
    assert [node.op_type for node in changed.graph.node] == ["Conv", "HardSigmoid", "Mul"]
    image = {"images": np.random.default_rng(0).normal(0, 3, (1, 3, 8, 8)).astype(np.float32)}
    expected, got = (next(iter(Session(m).run(image).values())) for m in (model, changed))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("shift", "top", "divisor"), [(2.0, 6.0, 6.0), (3.0, 5.0, 6.0), (3.0, 6.0, 5.0)])
def test_other_numbers_are_another_function(shift: float, top: float, divisor: float) -> None:
    """Nothing is changed then."""
    model = written_out(shift, top, divisor).model()
    assert with_hard_sigmoids(model) is model
