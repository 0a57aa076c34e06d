"""The emulation of a quantized model, from this process: variants with some unquantized layers, one image at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.host.toolkit.process import ToolkitProcess


@dataclass(frozen=True, slots=True)
class EmulatedLayer:
    """Something of a network that is quantized; a convolution and its activation are one.

    Attributes:
        name: last tensor that it computes.
        op: operator of its first node.
        tensors: all tensors that it computes, the first one's node has the weights.
        weighted: True if it has quantized weights.
    """

    name: str
    op: str
    tensors: tuple[str, ...]
    weighted: bool


@dataclass(frozen=True, slots=True)
class Emulation:
    """Settings of an emulated model other than those of the open one.

    Attributes:
        search_ranges: True for ranges by sensitivity.
        bias_correction: True for corrected biases.
    """

    search_ranges: bool = False
    bias_correction: bool = False


AS_BUILT: Final = Emulation()


class EmulatedModel:
    """The model that is open in the toolkit, emulated.

    Args:
        process: the toolkit's process, with an open quantized model.
        settings: what is otherwise than in that model.
        images: network inputs, (1, C, H, W) float32 each, by which ranges are searched and biases corrected.

    Raises:
        ToolkitError: the graph cannot be emulated.
    """

    def __init__(
        self,
        process: ToolkitProcess,
        settings: Emulation = AS_BUILT,
        images: Sequence[NDArray[np.float32]] = (),
    ) -> None:
        self._process = process
        stacked = np.concatenate(images) if images else np.zeros((0, 1, 1, 1), np.float32)
        request = {
            "shape": list(stacked.shape),
            "search_ranges": settings.search_ranges,
            "bias_correction": settings.bias_correction,
        }
        answer, _ = process.request("emulate", request, stacked.tobytes())
        self._outputs: list[str] = answer["outputs"]
        self.layers: tuple[EmulatedLayer, ...] = tuple(
            EmulatedLayer(row["name"], row["op"], tuple(row["tensors"]), row["weighted"]) for row in answer["layers"]
        )

    def take(self, image: NDArray[np.float32]) -> None:
        """Compute both models on a network input, (1, C, H, W) float32, for the variants that are asked for next.

        Raises:
            ToolkitError: memory does not suffice, or a form of an operator is not emulated.
        """
        self._process.request("take_image", {"shape": list(image.shape)}, np.ascontiguousarray(image).tobytes())

    def with_float(
        self, layers: Sequence[EmulatedLayer], *, weights: bool = True, activations: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs by name of the quantized model with some layers unquantized.

        Args:
            layers: those layers.
            weights: whether their weights are.
            activations: whether their results are.
        """
        return self._variant(layers, quantized=True, weights=weights, activations=activations)

    def with_float16(self, layers: Sequence[EmulatedLayer]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name of the quantized model with some layers in float16, as a build makes them.

        A layer in INT8 behind one of them rounds what it reads, on the same grid as before.  Float16's own rounding is
        not emulated.
        """
        return self._variant(layers, quantized=True, weights=True, activations=True, readers_round=True)

    def alone(self, layer: EmulatedLayer) -> dict[str, NDArray[np.float32]]:
        """Outputs by name of the float model with one layer quantized."""
        return self._variant([layer], quantized=False, weights=True, activations=True)

    def _variant(
        self,
        layers: Collection[EmulatedLayer],
        *,
        quantized: bool,
        weights: bool,
        activations: bool,
        readers_round: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        request = {
            "quantized": quantized,
            "weights": [layer.tensors[0] for layer in layers if layer.weighted] if weights else [],
            "tensors": [name for layer in layers for name in layer.tensors] if activations else [],
            "readers_round": readers_round,
        }
        answer, blob = self._process.request("variant", request)
        arrays, start = {}, 0
        for name, shape in zip(self._outputs, answer["shapes"], strict=True):
            size = int(np.prod(shape))
            arrays[name] = np.frombuffer(blob, np.float32, size, start).reshape(shape)
            start += size * 4
        return arrays
