"""Ranges of activations by what their rounding costs the outputs, instead of the smallest and the largest value.

A wider range clips less and rounds coarser.  With the sensitivity s of a value, the square of the outputs' change for a
change of the value, the cost of a range is the sum of s * (rounded value - value)^2 over the values of some images; the
range with the lowest cost is taken.  The sensitivities are those of the float network, from the gradients of random
projections of its outputs: E[(d(r . outputs)/dv)^2] over random signs r is the sum of the squared derivatives.  So a
channel that the next convolution multiplies by little may be clipped, which a depthwise convolution behind channels of
unlike ranges needs most.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun

Tensor = Any
Range = tuple[float, float]
STEPS = 255
BINS = 2048
IMAGES = 8
MOST_VALUES = 150_000_000  # float32 values of one image, all tensors: gradients take twice their memory
LEAST_GAIN = 0.95  # share of the cost to which a new range must come down
HIGHER = tuple(0.05 * step for step in range(1, 21))  # shares of the calibrated ends that are tried
LOWER = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # less would clip most of what SiLU leaves below zero, all to one side
# Operators whose results are their inputs' values: their tensors keep one range where calibration gave them one.
MOVERS = frozenset({"Concat", "Split", "MaxPool", "AveragePool", "Resize", "Reshape", "Transpose", "Expand"})
# Operators with ranges that the toolkit wants as they are.
BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "exSoftmax13", "exDataConvert"})


def searched_ranges(
    network: EmulatedNetwork, run: Callable[..., EmulatedRun], images: Sequence[Tensor]
) -> dict[str, Range]:
    """Ranges that cost less than the calibrated ones, by tensor.

    Args:
        network: the network with its calibrated ranges.
        run: the class `EmulatedRun`.
        images: (1, C, H, W) float32 each, what the graph's input takes.

    Returns:
        Lowest and highest value of the tensors whose range changes; empty for a network too large for gradients.
    """
    import torch

    with torch.no_grad():
        size = sum(values.numel() for values in float_values(network, run, images[0]).values())
    if size > MOST_VALUES:
        return {}
    groups = groups_of(network)
    histograms: dict[str, Tensor] = {}
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        for image in images[:IMAGES]:
            add_costs(network, run, image, groups, histograms)
    found = {}
    for name, members in groups.items():
        if name in histograms:
            low, high = ends(network, name)
            chosen = cheapest(histograms[name], low, high)
            found.update({} if chosen is None else dict.fromkeys(members, chosen))
    return found


def ends(network: EmulatedNetwork, name: str) -> Range:
    """Calibrated range of a tensor."""
    grid = network.grid(name)
    assert grid is not None
    return (-128 - grid.zero_point) * grid.scale, (127 - grid.zero_point) * grid.scale


def groups_of(network: EmulatedNetwork) -> dict[str, list[str]]:
    """Tensors that keep a common range, by the first of them; without those whose range is fixed."""
    leader: dict[str, str] = {}
    fixed = {network.input, *network.outputs}
    for node in network.nodes:
        for output in node.output:
            if network.grid(output) is None:
                continue
            leader[output] = output
            if node.op_type in BOUNDED:
                fixed.add(output)
    fixed.update(node.input[0] for node in network.nodes if node.op_type == "exDataConvert")
    for node in (node for node in network.nodes if node.op_type in MOVERS):
        for source in (name for name in node.input if name in leader):
            for output in (name for name in node.output if name in leader):
                if network.grid(source) == network.grid(output):
                    _join(leader, source, output)
    groups: dict[str, list[str]] = {}
    for name, first in leader.items():
        groups.setdefault(first, []).append(name)
    return {first: members for first, members in groups.items() if not fixed.intersection(members)}


def _join(leader: dict[str, str], one: str, other: str) -> None:
    kept, gone = leader[one], leader[other]
    for name in [name for name, first in leader.items() if first == gone]:
        leader[name] = kept


def float_values(network: EmulatedNetwork, run: Callable[..., EmulatedRun], image: Tensor) -> dict[str, Tensor]:
    """All tensors of the float network for one image."""
    made = run(network, image, quantized=False)
    values: dict[str, Tensor] = {}
    for node in network.nodes:
        results = made.compute(node)
        made.store(node, results)
        values.update(zip(node.output, results, strict=False))
    return values


def add_costs(
    network: EmulatedNetwork,
    run: Callable[..., EmulatedRun],
    image: Tensor,
    groups: dict[str, list[str]],
    histograms: dict[str, Tensor],
) -> None:
    """Add one image's sensitivities to the histogram of each group, at the values that they belong to."""
    import torch

    values = float_values(network, run, image.clone().requires_grad_())
    projected = sum(_projection(values[name]) for name in network.outputs)
    names = [name for members in groups.values() for name in members if values[name].requires_grad]
    gradients: Sequence[Any] = torch.autograd.grad(projected, [values[name] for name in names], allow_unused=True)
    with torch.no_grad():
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is None:
                continue
            first = next(first for first, members in groups.items() if name in members)
            low, high = ends(network, first)
            histogram = histograms.setdefault(first, torch.zeros(BINS, dtype=torch.float64))
            histogram += sensitivities(values[name], gradient, low, high)


def _projection(output: Tensor) -> Tensor:
    """A random projection of an output in units of its deviation, of which every output has the same variance."""
    import torch

    deviation = max(float(output.detach().std()), 1e-6)
    return (output * torch.randn_like(output)).sum() / (deviation * output.numel() ** 0.5)


def sensitivities(values: Tensor, gradient: Tensor, low: float, high: float) -> Tensor:
    """Sum of the sensitivities in each bin from the lowest to the highest value; zeros count nowhere: they are exact.

    A value's sensitivity is the mean of its channel: one projection per image is noisy.
    """
    import torch

    square = gradient.square()
    others = tuple(axis for axis in range(values.dim()) if axis != 1) if values.dim() > 2 else ()
    mean = (square.mean(others, keepdim=True) if others else square).expand_as(square)
    weights = torch.where(values == 0, torch.zeros_like(square), mean)
    bins = ((values - low) * (BINS / (high - low))).long().clamp_(0, BINS - 1)
    return torch.bincount(bins.flatten(), weights.flatten().double(), minlength=BINS)


def cheapest(histogram: Tensor, low: float, high: float) -> Range | None:
    """The range with the lowest cost; None if none costs noticeably less than the calibrated one."""
    import torch

    centers = low + (torch.arange(BINS, dtype=torch.float64) + 0.5) * ((high - low) / BINS)
    best, before = None, 0.0
    for share in sorted(HIGHER, reverse=True):
        top = high * share
        for part in sorted(LOWER, reverse=True) if low < 0 else (1.0,):
            bottom = low * part
            inside = (centers >= bottom) & (centers <= top)
            clipped = torch.where(centers > top, centers - top, bottom - centers).masked_fill_(inside, 0.0)
            rounding = ((top - bottom) / STEPS) ** 2 / 12
            cost = float((histogram * torch.where(inside, torch.full_like(centers, rounding), clipped**2)).sum())
            if best is None:
                best, before = (cost, bottom, top), cost
            best = min(best, (cost, bottom, top))
    if best is None or best[0] > LEAST_GAIN * before or best[2] <= best[1]:
        return None
    return best[1], best[2]
