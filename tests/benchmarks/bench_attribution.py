"""Gains of modules in float16, by the emulation of `rkdeploy explain` and by builds with `--float16-layers MODULE`.

    python -m tests.benchmarks.bench_attribution BUNDLE [BUNDLE ...] --data PHOTOS --modules 12

Of each bundle modules are taken evenly from the ranking, the best and the worst among them.  Step 2 of the toolkit
builds the model with each in float16, and the simulator runs it on the same images.  The table has the share of the
error at objects that is gone, and the average precision, by the emulation and by the build; below it are the rank
correlation of the shares (Spearman) and their largest difference.  Takes about ten seconds per module.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.analysis.explain.attribute_loss import attribute_loss, object_error
from rkdeploy.analysis.explain.attribution_request import AttributionRequest, attribution_request
from rkdeploy.analysis.explain.output_error import ObjectError
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.datasets.calibration import find_calibration
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.toolkit import files
from rkdeploy.host.toolkit.simulator import kept_files
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.images.fit import image_fit

Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A module in float16: share of the error that is gone, and average precision, emulated and built."""

    module: str
    gains: tuple[float, float]
    precisions: tuple[float, float]


def measured(
    request: AttributionRequest, objects: Sequence[ObjectError], outputs: Sequence[Outputs], as_built: Sequence[float]
) -> tuple[float, float]:
    """Mean share of the error that is gone, and AP against the float model, from the outputs of all images."""
    meter, gains = AgreementMeter(request.spec), []
    for image, error, found, before in zip(request.images, objects, outputs, as_built, strict=True):
        gains.append(1 - error.of(found) / before)
        meter.add(image.float_outputs, [HeadTensor(found[o.name]) for o in request.spec.outputs], image.transform)
    headline = meter.result("", "").headline
    return float(np.mean(gains)), headline.value if headline is not None else float("nan")


def pairs(folder: Path, data: Path, count: int, images: int) -> Iterator[Pair]:
    """The model as built first, then modules from the best to the worst."""
    bundle = read_bundle(folder)
    kept, options = kept_files(bundle)
    fit = image_fit(bundle.spec.input)
    fitted = (fit(image.read()) for image in find_calibration(data, Path.cwd(), 1, 0).held_out(images).images)
    shown = [(one.image.copy(), one.transform) for one in fitted]
    request = attribution_request(
        bundle, onnx.load(bundle.cut_onnx), shown, (), seconds=1e6, on_progress=lambda _: None
    )
    with tempfile.TemporaryDirectory() as scratch, Toolkit(log=Path(scratch) / "toolkit.log") as toolkit:
        toolkit.open_kept(kept, options)
        _, float16 = files.read_quantization_table(str(kept.config))
        ranked = dict.fromkeys(one.module for one in attribute_loss(toolkit, request).layers if one.module)
        chosen = [
            [*ranked][index] for index in np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
        ]
        model = toolkit.emulated()
        inside = {name: [layer for layer in model.layers if request.module_of(layer) == name] for name in chosen}
        emulated: list[list[Outputs]] = [[] for _ in range(len(chosen) + 1)]
        for image in request.images:
            model.take(image.values)
            emulated[0].append(model.with_float(()))
            for row, one in zip(emulated[1:], chosen, strict=True):
                row.append(model.with_float16(inside[one]))
        simulated: list[list[Outputs]] = [[toolkit.simulate(pixels) for pixels, _ in shown]]
        for one in chosen:
            tensors = [name for layer in inside[one] for name in layer.tensors]
            toolkit.change_float16([*float16, *tensors], Path(scratch) / "changed.rknn")
            simulated.append([toolkit.simulate(pixels) for pixels, _ in shown])
    objects = [object_error(request.spec, image) for image in request.images]
    names = ["(as built)", *chosen]
    errors = [[one.of(found) for one, found in zip(objects, side[0], strict=True)] for side in (emulated, simulated)]
    for name, one, other in zip(names, emulated, simulated, strict=True):
        gain, precision = measured(request, objects, one, errors[0])
        real, real_precision = measured(request, objects, other, errors[1])
        yield Pair(name, (gain, real), (precision, real_precision))


def ranks(values: Sequence[float]) -> NDArray[np.intp]:
    """Place of each value in their order."""
    return np.argsort(np.argsort(values))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--modules", type=int, default=12)
    parser.add_argument("--images", type=int, default=4)
    arguments = parser.parse_args()
    for folder in arguments.bundles:
        print(f"\n{folder.name}\n\n| float16 | error gone, emulated | built | AP, emulated | built |")
        print("|---|---:|---:|---:|---:|")
        found = []
        for one in pairs(folder, arguments.data, arguments.modules, arguments.images):
            shares = " | ".join(f"{gain:.1%}" for gain in one.gains)
            print(f"| {one.module} | {shares} | {' | '.join(f'{ap:.3f}' for ap in one.precisions)} |", flush=True)
            found.append(one.gains)
        emulated, built = zip(*found[1:], strict=True)
        correlation = float(np.corrcoef(ranks(emulated), ranks(built))[0, 1])
        largest = max(abs(a - b) for a, b in found[1:])
        print(f"\nRank correlation {correlation:.2f}, largest difference {largest:.1%}.")


if __name__ == "__main__":
    main()
