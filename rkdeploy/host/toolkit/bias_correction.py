"""Bias correction: biases of the convolutions that give back the means which rounding has shifted.

Rounded weights shift the mean of every channel, and layer after layer it adds up.  In the order of the network every
bias is changed until the mean after the activation equals the float model's, from inputs that are already corrected
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; here by measured
means, behind the activation).  It costs the NPU nothing.  Every fourth image is held out: the result counts only if it
lowers the error of the outputs there.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun

Tensor = Any
HOLD_OUT = 4  # every fourth image
MOST_HELD_OUT = 6
MOST_VALUES = 1 << 25  # float32 values of the largest tensor over all images: a run holds about ten such tensors
MOST_POSITIONS = 1 << 14  # of one channel, for its mean behind an activation
NEWTON_STEPS = 4
LARGEST_STEP = 0.5
LEAST_SLOPE = 0.05  # a channel whose activation is flat cannot be corrected
WIDTH = 0.01  # of the difference that gives the slope


def correct_biases(
    network: EmulatedNetwork, run: Callable[..., EmulatedRun], images: Sequence[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Correct the biases of a network, and measure the result on held-out images.

    Args:
        network: the network.
        run: the class `EmulatedRun`.
        images: (1, C, H, W) float32 each, what the graph's input takes.

    Returns:
        New values of the biases by name, empty if they are not accepted; the record: `accepted`, `layers`, `images`,
        `held_out`, `error_before` and `error_after` (of the outputs, see `output_errors`), `reason` if not accepted.
    """
    import torch

    held_out = list(images[HOLD_OUT - 1 :: HOLD_OUT])[:MOST_HELD_OUT]
    fitted = [image for index, image in enumerate(images) if index % HOLD_OUT != HOLD_OUT - 1]
    if not held_out:
        reason = f"there are {len(images)} calibration images, of which none can be held out"
        return {}, {"accepted": False, "reason": reason}
    with torch.no_grad():
        fitted = fitted[: max(1, MOST_VALUES // _largest_tensor(network, run, fitted[0]))]
        biases = corrected(network, run, torch.cat(fitted))
        before, after = output_errors(network, run, held_out, ({}, biases))
    record = {
        "accepted": after < before,
        "layers": len(biases),
        "images": len(fitted),
        "held_out": len(held_out),
        "error_before": before,
        "error_after": after,
        "reason": "" if after < before else "the outputs did not come nearer to the float model's",
    }
    return (biases if after < before else {}), record


def corrected(network: EmulatedNetwork, run: Callable[..., EmulatedRun], images: Tensor) -> dict[str, Tensor]:
    """Corrected biases by name, from all images at once."""
    biases: dict[str, Tensor] = {}
    exact, integer = run(network, images, quantized=False), run(network, images, quantized=True, biases=biases)
    for node in network.nodes:
        wanted, got = exact.compute(node), integer.compute(node)
        name = network.bias_of(node)
        if name:
            shift = mean_shift(wanted[0], got[0], network.activation_of(node))
            biases[name] = network.constants[name] + shift
            moved = network.rounded_bias(node, biases[name]) - network.rounded_bias(node, network.constants[name])
            got = [got[0].add_(moved.view(1, -1, 1, 1))]
        exact.store(node, wanted)
        integer.store(node, got)
    return biases


def mean_shift(wanted: Tensor, got: Tensor, activation: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Shift of every channel of `got` by which its mean after the activation equals that of `wanted`.

    Args:
        wanted: (N, C, H, W) float32, a convolution's results in the float model.
        got: (N, C, H, W) float32, the quantized model's.
        activation: None if there is none.

    Returns:
        (C,) float32; 0 for a channel that it would not bring nearer.
    """
    import torch

    if activation is None:
        return (wanted - got).mean((0, 2, 3))
    wanted, got = _positions(wanted).contiguous(), _positions(got).contiguous()
    aim = activation(wanted).mean(1)
    shift = torch.zeros(len(got))
    for _ in range(NEWTON_STEPS):
        moved = got + shift[:, None]
        reached = activation(moved).mean(1)
        slope = (activation(moved.add_(WIDTH)).mean(1) - reached) / WIDTH
        step = torch.where(slope.abs() < LEAST_SLOPE, torch.zeros_like(slope), (aim - reached) / slope)
        shift += step.clamp_(-LARGEST_STEP, LARGEST_STEP)
    before, after = (aim - activation(got).mean(1)).abs(), (aim - activation(got + shift[:, None]).mean(1)).abs()
    return torch.where(after < before, shift, torch.zeros_like(shift))


def output_errors(
    network: EmulatedNetwork,
    run: Callable[..., EmulatedRun],
    images: Sequence[Tensor],
    choices: Sequence[dict[str, Tensor]],
) -> list[float]:
    """Errors of the outputs, one for each choice of biases.

    Returns:
        Means over images and outputs of the squared error, in units of the float output's variance, or of the squared
        step of its integers where that is more: an output without an object is all below one step.
    """
    totals = [0.0] * len(choices)
    for image in images:
        exact = run(network, image, quantized=False).outputs()
        scales = [max(float(output.var()), least) for output, least in zip(exact, network.squared_steps, strict=True)]
        for index, biases in enumerate(choices):
            integer = run(network, image, quantized=True, biases=biases).outputs()
            errors = [float(((a - b) ** 2).mean()) / scale for a, b, scale in zip(exact, integer, scales, strict=True)]
            totals[index] += sum(errors) / len(errors)
    return [total / len(images) for total in totals]


def _positions(values: Tensor) -> Tensor:
    """(N, C, H, W) as (C, positions): all of them, or evenly chosen ones."""
    flat = values.transpose(0, 1).flatten(1)
    step = -(-flat.shape[1] // MOST_POSITIONS)
    step += 1 - step % 2  # odd: a step that divides the width would always take the same columns
    return flat[:, ::step]


def _largest_tensor(network: EmulatedNetwork, run: Callable[..., EmulatedRun], image: Tensor) -> int:
    """Number of values of the largest tensor that one image makes."""
    made, largest = run(network, image, quantized=False), int(image.numel())
    for node in network.nodes:
        results = made.compute(node)
        largest = max(largest, *(int(result.numel()) for result in results))
        made.store(node, results)
    return largest
