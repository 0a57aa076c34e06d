"""Attribution of the loss to layers: each in float while all others are quantized, in the emulation."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.analysis.explain.attribution import LayerLoss, LossAttribution, RemedyGain
from rkdeploy.analysis.explain.attribution_request import AttributionRequest, ExplainedImage
from rkdeploy.analysis.explain.output_error import ObjectError
from rkdeploy.contract.agreement import Measure
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import ToolkitError
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.toolkit.emulated_model import EmulatedLayer, EmulatedModel
from rkdeploy.host.toolkit.toolkit import Toolkit

ATTRIBUTION_SECONDS: Final = 60.0
DETAILED: Final = 6
"""Worst layers that are looked at closely."""
TOGETHER: Final = 3
"""Of them, those that are tried in float16 together."""
_RANKING: Final = 0.4
"""Share of the time that the ranking of all layers may take, if one image can be done in it."""
_DETAILS: Final = 0.6
"""Share of the time after which no further image is looked at closely."""
_LEAST_ERROR: Final = 1e-15

Outputs = Mapping[str, NDArray[np.float32]]


def attribute_loss(toolkit: Toolkit, request: AttributionRequest) -> LossAttribution:
    """Attribute the loss of the model that is open in the toolkit.

    A network that is not emulated gives an attribution that says why.
    """
    started = time.monotonic()
    try:
        model = toolkit.emulated()
        attribution = _Attribution(request, model, started)
        ranked, images = attribution.ranked()
        detailed, agreement, together = attribution.detailed(ranked)
    except ToolkitError as error:
        seconds = time.monotonic() - started
        return LossAttribution(0, None, (), 0, (), seconds, f"This network cannot be emulated: {error.message}")
    remedies = [*together, *(_remedy(toolkit, request, attribution, option) for option in request.remedies)]
    return LossAttribution(
        images=images,
        agreement=agreement,
        layers=detailed,
        all_layers=len(model.layers),
        remedies=tuple(remedies),
        seconds=time.monotonic() - started,
    )


def _remedy(toolkit: Toolkit, request: AttributionRequest, attribution: _Attribution, option: str) -> RemedyGain:
    settings = request.remedies[option]
    if settings is None:
        return RemedyGain(option, reason="it changes the graph or learns the weights, which is not emulated here")
    if attribution.late():
        return RemedyGain(option, reason="the time limit was reached")
    if not request.calibration:
        return RemedyGain(option, reason="no other images are left to fit it on")
    request.on_progress(f"emulating {option}")
    try:
        gain, agreement = attribution.whole(toolkit.emulated(settings, request.calibration))
    except ToolkitError as error:
        return RemedyGain(option, reason=error.message)
    return RemedyGain(option, gain, agreement)


class _Attribution:
    """Runs of one emulated model."""

    def __init__(self, request: AttributionRequest, model: EmulatedModel, started: float) -> None:
        self._request = request
        self._model = model
        self._started = started
        self._errors = [object_error(request.spec, image) for image in request.images]
        self._as_built: list[float] = []
        self._modules = {layer.name: request.module_of(layer) for layer in model.layers}

    def late(self, share: float = 1.0) -> bool:
        """True once a share of the time is over."""
        return time.monotonic() - self._started > share * self._request.seconds

    def ranked(self) -> tuple[list[LayerLoss], int]:
        """All layers by what their float form gains, and the number of images that this rests on."""
        layers = self._model.layers
        shares: list[list[float]] = []
        for number, image in enumerate(self._request.images):
            if shares and self.late(_RANKING * number / (number + 1)):
                break  # another image would not fit
            self._model.take(image.values)
            as_built = max(self._errors[number].of(self._model.with_float(())), _LEAST_ERROR)
            one = []
            for index, layer in enumerate(layers):
                if self.late(_RANKING if shares else _DETAILS):
                    break
                self._request.on_progress(f"emulating layer {index + 1}/{len(layers)}, image {number + 1}")
                one.append(1 - self._errors[number].of(self._model.with_float([layer])) / as_built)
            if shares and len(one) < len(shares[0]):
                break
            shares.append(one)
        means = np.mean(np.array(shares), axis=0)
        found = [
            LayerLoss(layer.name, layer.op, self._modules[layer.name], float(gain))
            for layer, gain in zip(layers, means, strict=False)
        ]
        return sorted(found, key=lambda one: -one.gain), len(shares)

    def detailed(self, ranked: list[LayerLoss]) -> tuple[tuple[LayerLoss, ...], Measure | None, list[RemedyGain]]:
        """The layers, the first of them looked at closely; agreement as built; and the worst in float16 together."""
        known = {layer.name: layer for layer in self._model.layers}
        worst = [known[one.name] for one in ranked[:DETAILED] if one.gain > 0]
        modules = list(dict.fromkeys(filter(None, (self._modules[layer.name] for layer in worst))))[:TOGETHER]
        sums = {layer.name: _LayerSums(AgreementMeter(self._request.spec)) for layer in worst}
        meters = AgreementMeter(self._request.spec), AgreementMeter(self._request.spec)
        gains: list[float] = []
        for number, image in enumerate(self._request.images):
            if number and self.late(_DETAILS):
                break
            self._request.on_progress(f"emulating the worst layers, image {number + 1}")
            self._model.take(image.values)
            outputs, error = self._model.with_float(()), self._errors[number]
            as_built = max(error.of(outputs), _LEAST_ERROR)
            self._as_built.append(as_built)
            self._add(meters[0], image, outputs)
            for layer in worst:
                halves = self._float16([self._modules[layer.name]])
                sums[layer.name].add(self._model, layer, error, as_built, halves)
                self._add(sums[layer.name].meter, image, halves)
            together = self._float16(modules)
            gains.append(1 - error.of(together) / as_built)
            self._add(meters[1], image, together)
        found = tuple(sums[one.name].result(one) if one.name in sums else one for one in ranked)
        option = f"--float16-layers {','.join(modules)}"
        remedies = [RemedyGain(option, float(np.mean(gains)), _headline(meters[1]))] if modules else []
        return found, _headline(meters[0]), remedies

    def whole(self, model: EmulatedModel) -> tuple[float, Measure | None]:
        """Gain and agreement of another emulated model, all of it quantized, on the images of `detailed`."""
        meter, gains = AgreementMeter(self._request.spec), []
        for image, error, as_built in zip(self._request.images, self._errors, self._as_built, strict=False):
            model.take(image.values)
            outputs = model.with_float(())
            self._add(meter, image, outputs)
            gains.append(1 - error.of(outputs) / as_built)
        return float(np.mean(gains)), _headline(meter)

    def _float16(self, modules: Collection[str]) -> Outputs:
        """Outputs with all layers of some modules in float16; as built for none, and for "" among them."""
        layers = [layer for layer in self._model.layers if self._modules[layer.name] in modules]
        return self._model.with_float16([layer for layer in layers if self._modules[layer.name]])

    def _add(self, meter: AgreementMeter, image: ExplainedImage, outputs: Outputs) -> None:
        tensors = [HeadTensor(outputs[output.name]) for output in self._request.spec.outputs]
        meter.add(image.float_outputs, tensors, image.transform)


class _LayerSums:
    """Close look at one layer, over images."""

    def __init__(self, meter: AgreementMeter) -> None:
        self.meter = meter
        self._rows: list[tuple[float, ...]] = []
        self._weighted = False

    def add(
        self, model: EmulatedModel, layer: EmulatedLayer, error: ObjectError, as_built: float, halves: Outputs
    ) -> None:
        """One image; `halves` are the outputs with the layer's module in float16."""
        self._weighted = layer.weighted
        weights = error.of(model.with_float([layer], activations=False))
        activations = error.of(model.with_float([layer], weights=False))
        alone = error.of(model.alone(layer))
        shares = np.array([weights, activations, error.of(halves)]) / as_built
        self._rows.append((*(1 - shares), alone / as_built))

    def result(self, layer: LayerLoss) -> LayerLoss:
        """The layer with what was found."""
        weights, activations, halves, alone = (float(value) for value in np.mean(np.array(self._rows), axis=0))
        return replace(
            layer,
            weights_gain=weights if self._weighted else None,
            activations_gain=activations,
            alone=alone,
            float16_gain=halves if layer.module else None,
            agreement=_headline(self.meter) if layer.module else None,
        )


def _headline(meter: AgreementMeter) -> Measure | None:
    return meter.result("emulation", "the explained images").headline


def object_error(spec: ModelSpec, image: ExplainedImage) -> ObjectError:
    found = Postprocessor(spec, Thresholds(confidence=default_confidence(spec)))(
        list(image.float_outputs), image.transform
    )
    boxes = image.transform.boxes_to_input(found.xyxy) if len(found) else np.zeros((0, 4), np.float32)
    outputs = {
        output.name: tensor.dequantized() for output, tensor in zip(spec.outputs, image.float_outputs, strict=True)
    }
    return ObjectError(outputs, boxes, (spec.input.height, spec.input.width))
