"""Variants of a quantized network in the emulation: some layers unquantized, or all but some.

Both models' tensors of one image are kept, so that a variant computes only what its change reaches.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun

Tensor = Any
MOST_VALUES = 150_000_000  # float32 values of one image, all tensors: they are held for both models, and for a variant
CONVERT = "exDataConvert"


class TooLargeError(RuntimeError):
    """A network whose tensors do not fit."""


class EmulatedVariants:
    """A network with both models' tensors of one image.

    Args:
        network: the network.
        run: the class `EmulatedRun`.
        biases: name -> values of the quantized model instead of the network's own.
    """

    def __init__(
        self, network: EmulatedNetwork, run: Callable[..., EmulatedRun], biases: Mapping[str, Tensor] | None = None
    ) -> None:
        self._network = network
        self._run = run
        self._biases = biases or {}
        self._kept: dict[bool, dict[str, Tensor]] = {}

    def layers(self) -> list[dict[str, Any]]:
        """Quantized layers in the order of the network, a convolution together with its activation.

        Returns:
            For each layer `name` (its last tensor), `op`, `tensors` (all that it computes) and `weighted`.
        """
        network, found = self._network, []
        inside: set[str] = set()
        for node in network.nodes:
            tensors = list(node.output)
            if node.op_type == CONVERT or inside.intersection(tensors):
                continue
            if network.activation_of(node) is not None:
                (reader,) = network.readers[node.output[0]]
                tensors += reader.output
                inside.update(reader.output)
            weighted = bool(network.weights(node))
            if weighted or any(network.grid(name) is not None for name in tensors):
                found.append({"name": tensors[-1], "op": node.op_type, "tensors": tensors, "weighted": weighted})
        return found

    def take(self, image: Tensor) -> None:
        """Compute both models on an image, (1, C, H, W) float32, and keep their tensors.

        Raises:
            TooLargeError: when they do not fit.
        """
        self._kept = {}
        for quantized in (False, True):
            made = self._run(self._network, image, quantized=quantized, biases=self._biases if quantized else None)
            values, size = {self._network.input: image}, int(image.numel())
            for node in self._network.nodes:
                made.store(node, made.compute(node))
                values.update({name: made.values[name] for name in node.output if name in made.values})
                size += sum(int(values[name].numel()) for name in node.output if name in values)
                if size > MOST_VALUES:
                    message = f"its tensors have more than {MOST_VALUES / 1e6:.0f} million values for one image"
                    raise TooLargeError(message)
            self._kept[quantized] = values

    def outputs(
        self,
        *,
        quantized: bool,
        weights: Collection[str] = (),
        tensors: Collection[str] = (),
        readers_round: bool = False,
    ) -> list[Tensor]:
        """Outputs of a variant for the image.

        Args:
            quantized: the model that the variant is made of.
            weights: first outputs of the nodes whose weights are the other model's.
            tensors: tensors that are rounded as in the other model.
            readers_round: True if nodes in INT8 round those tensors when they read them, as behind a float16 layer.
        """
        base = self._kept[quantized]
        changed: dict[str, Tensor] = {}
        chosen = {*weights, *tensors}
        for node in self._network.nodes:
            if not (chosen.intersection(node.output) or any(name in changed for name in node.input)):
                continue
            inputs = self._inputs(node, (changed, base), quantized=quantized != (node.output[0] in weights))
            if readers_round and node.op_type != CONVERT and node.output[0] not in tensors:
                read = [name for name in node.input if name]
                inputs = [
                    self._network.rounded(name, one) if name in tensors else one
                    for name, one in zip(read, inputs, strict=True)
                ]
            inner = quantized != (node.output[0] in tensors)
            for name, values in zip(node.output, self._network.computed(node, inputs, quantized=inner), strict=True):
                rounded = quantized != (name in tensors)
                changed[name] = self._network.rounded(name, values) if rounded else values
        return [changed[name] if name in changed else base[name] for name in self._network.outputs]

    def _inputs(self, node: Any, values: tuple[Mapping[str, Tensor], ...], *, quantized: bool) -> list[Tensor]:
        own = {**self._biases, **self._network.weights(node)} if quantized else {}
        sources = (*values, own, self._network.constants)
        inputs = [next(source[name] for source in sources if name in source) for name in node.input if name]
        if quantized and len(inputs) > 2:
            inputs[2] = self._network.rounded_bias(node, inputs[2])
        return inputs
