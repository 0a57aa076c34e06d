"""The commands as functions: `build`, `inspect`, `estimate`, `evaluate`, `profile`, `report`.

Each takes what its command takes, by keyword: `--calib-count 20` is `calib_count=20`.  Packages of the host are
imported when a function is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rkdeploy.api.bundles import bundle_of
from rkdeploy.api.keywords import options_from
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from rkdeploy.analysis.estimate.prediction import Estimate
    from rkdeploy.analysis.inspection.inspection import InspectionDocument
    from rkdeploy.api.option_types import BuildKeywords, EvaluateKeywords, ProfileKeywords
    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.profiling.profile_document import Profile
    from rkdeploy.host.building.build_events import BuildEvents

PathLike = str | os.PathLike[str]


def build(model: PathLike, *, events: BuildEvents | None = None, **options: Unpack[BuildKeywords]) -> Bundle:
    """Build a verified bundle from a checkpoint or an ONNX file, as `rkdeploy build` does.

        bundle = rkdeploy.build("best.pt", calib="images/", target="rk3588", imgsz=640)

    Args:
        model: a `.pt`, `.pth` or `.onnx`.
        events: called as the build goes on, for progress; see `rkdeploy.BuildEvents`.
        options: those of `rkdeploy build` by keyword: `calib`, `target`, `dtype`, `imgsz`, `out`, `name`, ...

    Returns:
        The bundle, read; give it to `rkdeploy.load`.

    Raises:
        RkdeployError: whatever failed; nothing is left behind then.
    """
    from rkdeploy.host.building.build_events import BuildEvents as Silent
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.build_stages import build as run_build

    return run_build(options_from(BuildOptions, options, model=Path(model)), events or Silent())


def inspect(file: PathLike, *, cfg: PathLike | None = None) -> InspectionDocument:
    """Describe a file and check whether it builds.  Nothing in it is executed.

    Args:
        file: a checkpoint, an ONNX file, an `.rknn`, or a bundle's folder.
        cfg: the darknet cfg of a checkpoint that holds weights only.

    Returns:
        What `rkdeploy inspect --json` prints, as an object of the kind of the file: `CheckpointInspection`,
        `UnsupportedCheckpointInspection`, `OnnxInspection`, `RknnInspection` or `BundleInspection`.

    Raises:
        RkdeployError: it cannot be read.
    """
    from rkdeploy.analysis.inspection.inspect import inspect_file

    return inspect_file(Path(file), None if cfg is None else Path(cfg)).document


def estimate(
    model: PathLike | Bundle,
    *,
    target: str | list[str] | None = None,
    dtype: str = "int8",
    imgsz: int | str | None = None,
    weights: PathLike | None = None,
    profiles: tuple[PathLike, ...] | list[PathLike] = (),
    progress: Callable[[str], None] | None = None,
) -> Estimate:
    """Predict NPU time, rate and memory, as `rkdeploy estimate` does.  Nothing is measured.

    Args:
        model: a checkpoint, an ONNX file, a bundle or its folder.
        target: SoC or SoCs; None takes the bundle's own, of a file all that can be predicted.
        dtype: `int8`, or with less certainty `fp16`.
        imgsz: network input in pixels: one number for a square, or `"640x384"`, width x height; None takes the
            training size.
        weights: the checkpoint of an ONNX file.
        profiles: what `rkdeploy profile -o` wrote on one board, for which the times are predicted.
        progress: called with the step in words.

    Raises:
        RkdeployError: an SoC or type cannot be predicted, or the file, a profile or the toolkit failed.
    """
    from rkdeploy.analysis.estimate.estimate import estimate as predict
    from rkdeploy.analysis.estimate.estimate_source import EstimateSource

    path = Path(model) if isinstance(model, (str, os.PathLike)) else model.folder
    source = options_from(EstimateSource, {"imgsz": imgsz, "weights": weights}, model=path)
    targets = [target] if isinstance(target, str) else target
    return predict(source, targets, dtype, progress or _silent, [Path(one) for one in profiles])


def evaluate(
    bundle: PathLike | Bundle | None = None,
    data: PathLike | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Unpack[EvaluateKeywords],
) -> AccuracyReport:
    """Measure the accuracy of a bundle on labeled images, float next to the built model, as `rkdeploy eval` does.

    Args:
        bundle: a bundle or its folder; None takes the one near by.
        data: a data.yaml, a COCO file, or a classifier's folder of class folders.
        progress: called with the backend, images done, and all images.
        options: those of `rkdeploy eval` by keyword: `backend=["simulator"]`, `split`, `count`, ...

    Raises:
        RkdeployError: the data or the bundle cannot be read, or a backend failed.
    """
    from rkdeploy.accuracy.evaluation import EvaluationOptions, default_backends
    from rkdeploy.accuracy.evaluation import evaluate as run_evaluation
    from rkdeploy.device.runtime.backend_names import AUTO
    from rkdeploy.device.runtime.backends import choose_backend

    if data is None:
        raise RkdeployError("There is no data to evaluate on.", 'Give it: rkdeploy.evaluate(bundle, "data.yaml").')
    chosen = options_from(EvaluationOptions, {**options, "data": data})
    if chosen.backends == (AUTO,):
        chosen = replace(chosen, backends=default_backends(choose_backend().backend))
    return run_evaluation(bundle_of(bundle), chosen, progress or (lambda _backend, _done, _all: None))


def profile(
    bundle: PathLike | Bundle | None = None,
    *sources: PathLike,
    progress: Callable[[str], None] | None = None,
    **options: Unpack[ProfileKeywords],
) -> Profile:
    """Measure a bundle on this machine, as `rkdeploy profile` does: stages, contexts, layers, memory, clocks, heat.

    Args:
        bundle: a bundle or its folder; None takes the one near by.
        sources: images or videos; none takes seeded noise.
        progress: called with what is being measured.
        options: those of `rkdeploy profile` by keyword: `backend`, `contexts`, `frames`, `seconds`, ...

    Raises:
        RkdeployError: the backend cannot be opened or fails, or a source cannot be read.
    """
    from rkdeploy.device.profiling.measure import ProfileOptions, measure_profile
    from rkdeploy.device.runtime.backend_names import AUTO
    from rkdeploy.device.runtime.backends import choose_backend

    chosen = options_from(ProfileOptions, options, sources=tuple(map(os.fspath, sources)))
    if chosen.backend == AUTO:
        chosen = replace(chosen, backend=choose_backend().backend)
    return measure_profile(bundle_of(bundle), chosen, progress)


def report(
    *inputs: PathLike | Bundle, output: PathLike | None = None, form: str | None = None, lang: str = "en"
) -> str:
    """Report on builds: accuracy, time, layers, memory, examples, as `rkdeploy report` does.

    Args:
        inputs: bundles, and files that `profile`, `eval`, `explain` and `report` wrote with `-o`.
        output: file to write; None writes none.
        form: `html`, `md` or `json`; None takes what the file's name says, else `html`.
        lang: `en` or `zh`.

    Returns:
        The text of the report.

    Raises:
        RkdeployError: an input cannot be read, a package that the form needs is missing, or the file cannot be written.
    """
    from rkdeploy.analysis.report.gather import gather
    from rkdeploy.analysis.report.rendering import rendered
    from rkdeploy.system.atomic_file import write_atomically

    chosen = form or _form_of(output)
    if chosen not in ("html", "md", "json"):
        raise RkdeployError(f'form is "{chosen}", expected html, md or json.')
    if lang not in ("en", "zh"):
        raise RkdeployError(f'lang is "{lang}", expected en or zh.')
    paths = [Path(one) if isinstance(one, (str, os.PathLike)) else one.folder for one in inputs]
    found = gather(paths, pictures=chosen == "html")
    text = rendered(found, cast("Literal['html', 'md', 'json']", chosen), cast("Literal['en', 'zh']", lang))
    if output is not None:
        write_atomically(Path(output), text.encode())
    return text


def _form_of(output: PathLike | None) -> str:
    suffix = "" if output is None else Path(output).suffix.lower()
    return {".md": "md", ".markdown": "md", ".json": "json"}.get(suffix, "html")


def _silent(_: str) -> None:
    """Do nothing."""
