"""An evaluation, from its options to its figures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from rkdeploy.accuracy.parallel_prediction import SharedNetwork, predict_parts
from rkdeploy.accuracy.prediction_store import StatePart, default_folder, keep_result, open_store
from rkdeploy.accuracy.scoring import score
from rkdeploy.accuracy.truth_matching import MAX_DETECTIONS, require_tool
from rkdeploy.accuracy.validators import validator_of
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation
from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.datasets.labeled_images import LabeledImages
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.truth import DataError
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.backend_names import AUTO, BACKEND, NPU_BACKENDS
from rkdeploy.device.runtime.board_identity import read_board
from rkdeploy.device.runtime.protocol import NO_OPTIONS, RuntimeOptions
from rkdeploy.option import ACCURACY, MEASURE, RUNNING, Only, Option

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.truth import LabeledSet

_LOG = logging.getLogger(__name__)

LOWEST_CONFIDENCE: Final = 0.001
_FLOAT_BACKENDS: Final = frozenset({"onnxruntime", "opencv_dnn"})
_PART_IMAGES: Final = 8

Progress = Callable[[str, int, int], None]
"""Called with the backend, images done, and all images."""


def default_backends(chosen: str) -> tuple[str, ...]:
    """The backends that an evaluation compares where none is named: float next to the built model, or a board's own.

    Args:
        chosen: what `choose_backend` takes here.
    """
    return (chosen,) if chosen in NPU_BACKENDS else ("onnxruntime", "simulator")


@dataclass(frozen=True, slots=True)
class EvaluationOptions(LabeledImages):
    """Options of one evaluation, of the labeled images that `LabeledImages` chooses.

    Attributes:
        backends: names of runtime backends, each evaluated.
        images: folder of a COCO file's images; None looks around it.
        confidences: `0.25`, `person=0.4`: those of the precision and recall that are reported.
        lowest_confidence: predictions above it are in the curves.
        iou: of non-maximum suppression; None takes that of the family's validator.
        best_class: whether a box counts for its best class only: see `rkdeploy.accuracy.multi_label`.
        workers: processes.
        state: folder in which predictions are kept; None is next to the bundle.
        fresh: whether kept predictions are computed again.
        runtime: for the backends.
    """

    backends: Annotated[
        tuple[str, ...],
        replace(
            BACKEND,
            help="What runs the network. Repeatable: the results stand side by side.",
            form=None,
            default="onnxruntime (float) and simulator (as built) on a PC, the NPU on a board",
        ),
    ] = (AUTO,)
    images: Annotated[
        Path | None,
        Option(
            "--images",
            "Folder of a COCO file's images.",
            ACCURACY,
            metavar="FOLDER",
            default="looked for around the file",
        ),
    ] = None
    confidences: Annotated[
        tuple[str, ...],
        Option(
            "--conf",
            "Score threshold of precision and recall, for all classes (0.4) or for one (person=0.4). Repeatable.",
            MEASURE,
            metavar="[CLASS=]X",
            default="0.25, for areas of text 0.6",
            often=True,
        ),
    ] = ()
    lowest_confidence: float = LOWEST_CONFIDENCE
    iou: Annotated[
        float | None,
        Option(
            "--iou",
            "IoU threshold for non-maximum suppression.",
            MEASURE,
            low=0,
            high=1,
            default="as the family's validator, 0.6 or 0.7",
        ),
    ] = None
    best_class: Annotated[
        bool,
        Option(
            "--best-class",
            "Count a box for its best class only, as rkdeploy run does, and not for each class as the validators do.",
            MEASURE,
        ),
    ] = False
    workers: Annotated[
        int,
        Option(
            "--workers", "Number of processes, each with a runtime of its own.", RUNNING, low=1, high=256, often=True
        ),
    ] = 1
    state: Annotated[
        Path | None,
        Option(
            "--state",
            "Folder that keeps predictions and the result.",
            RUNNING,
            metavar="FOLDER",
            default="BUNDLE.eval, next to the bundle",
        ),
    ] = None
    fresh: Annotated[bool, Option("--fresh", "Compute kept predictions again.", RUNNING)] = False
    runtime: Annotated[RuntimeOptions, Only("--toolkit-python")] = NO_OPTIONS


def measuring_thresholds(spec: ModelSpec, lowest: float = LOWEST_CONFIDENCE, iou: float | None = None) -> Thresholds:
    """Thresholds of the predictions in the curves: nearly all of them."""
    return Thresholds(confidence=lowest, iou=validator_of(spec).iou if iou is None else iou, max_det=MAX_DETECTIONS)


def evaluate(bundle: Bundle, options: EvaluationOptions, progress: Progress) -> AccuracyReport:
    """Evaluate a bundle; the result is also kept next to it, in `eval.json`.

    Raises:
        RkdeployError: when the data, a backend or a required package is missing or fails.  Predictions made
            until then are kept.
    """
    require_tool()
    spec = bundle.spec
    chosen = Thresholds.from_options(options.confidences, spec.class_names, default=default_confidence(spec))
    thresholds = measuring_thresholds(spec, options.lowest_confidence, options.iou)
    data = open_data(
        options.data,
        spec,
        split=options.split,
        labels=options.labels,
        images=options.images,
        limit=options.limit,
    )
    evaluations = tuple(
        _evaluate_one(bundle, backend, data, thresholds, chosen, options, progress) for backend in options.backends
    )
    report = AccuracyReport(
        model=bundle.model.file,
        source=data.source,
        confidence=", ".join(options.confidences) or str(default_confidence(spec)),
        lowest_confidence=thresholds.confidence,
        iou=thresholds.iou,
        multi_label=not options.best_class,
        validator=validator_of(spec).name,
        from_coco=data.from_coco,
        evaluations=evaluations,
        notes=data.notes,
        model_sha256=sha256_of(bundle.rknn) if bundle.rknn.is_file() else None,
    )
    keep_result(options.state or default_folder(bundle), report)
    return report


def _evaluate_one(
    bundle: Bundle,
    backend: str,
    data: LabeledSet,
    thresholds: Thresholds,
    chosen: Thresholds,
    options: EvaluationOptions,
    progress: Progress,
) -> Evaluation:
    parts = _predicted(bundle, backend, data, thresholds, options, progress)
    predictions = [prediction for part in parts for prediction in part.predictions]
    if all(prediction.failure for prediction in predictions):
        reason = predictions[0].failure if predictions else "there is none."
        raise DataError(f"No image of the {data.source} could be read: {reason}", "There is nothing to measure.")
    sources = sorted({part.figures_from for part in parts})
    figures = score(
        data,
        predictions,
        bundle.spec,
        chosen,
        backend=backend,
        computes="float" if backend in _FLOAT_BACKENDS else bundle.model.dtype,
        figures_from=" and ".join(sources),
    )
    return replace(figures, on_npu=backend in NPU_BACKENDS and read_board().soc is not None)


def _predicted(
    bundle: Bundle,
    backend: str,
    data: LabeledSet,
    thresholds: Thresholds,
    options: EvaluationOptions,
    progress: Progress,
) -> list[StatePart]:
    """The predictions of all images in their order, kept and new ones."""
    images = data.images
    chunks = [images[i : i + _PART_IMAGES] for i in range(0, len(images), _PART_IMAGES)]
    base = options.state or default_folder(bundle)
    store = open_store(base, bundle, backend, images, thresholds, multi_label=not options.best_class)
    found: dict[int, StatePart] = {}
    if not options.fresh:
        kept = {index: store.read(index, chunk) for index, chunk in enumerate(chunks)}
        found = {index: part for index, part in kept.items() if part is not None}
    done = sum(len(part.predictions) for part in found.values())
    progress(backend, done, len(images))
    _LOG.debug("%s: predictions of %d of %d images are kept in %s", backend, done, len(images), base)

    def count() -> None:
        nonlocal done
        done += 1
        progress(backend, done, len(images))

    missing = [(index, chunk) for index, chunk in enumerate(chunks) if index not in found]
    network = SharedNetwork(bundle.folder, backend, thresholds, not options.best_class, options.runtime)
    with closing(
        predict_parts(network, missing, options.workers, count)
    ) as predicted:  # ends the workers, come what may
        for index, part in predicted:
            store.write(index, part)
            found[index] = part
    return [found[index] for index in range(len(chunks))]
