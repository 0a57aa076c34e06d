"""One build of the accuracy bench: by the command line as a user would, then in the simulator on held-out pictures."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.parallel_prediction import SharedNetwork, predict_parts
from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.scoring import kinds_of
from rkdeploy.accuracy.truth_matching import ClassMatches, Kind, match_all
from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet, Truth, finds_objects
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.protocol import NO_OPTIONS
from tests.benchmarks.accuracy_figures import Pictures
from tests.benchmarks.accuracy_pictures import PictureSplit, require_apart
from tests.benchmarks.accuracy_store import BenchStore, Measured, key_of
from tests.benchmarks.build_folder import first_line, rkdeploy, with_cfg

FLOAT, BUILT = "onnxruntime", "simulator"
RANKED_FROM: Final = 0.05
THINNEST_PX: Final = 4.0
"""As the build's own comparison: see `rkdeploy.host.building.agreement_meter`."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labeled pictures.

    Attributes:
        data: a COCO file or a data.yaml.
        images: folder of a COCO file's pictures; None looks around it.
    """

    data: Path
    images: Path | None = None

    def of(self, spec: ModelSpec) -> LabeledSet | None:
        """The labels for a model; None where they are of other classes."""
        try:
            return open_data(self.data, spec, images=self.images)
        except DataError:
            return None


@dataclass(frozen=True, slots=True)
class Job:
    """One build to measure.

    Attributes:
        model: the file.
        own: options that the model needs in any build.
        variant: label of the options that are compared.
        options: of the variant.
        draw: seed of the choice of calibration pictures.
        calib_count: pictures to calibrate on.
        pictures: those that may calibrate, and those that measure.
        labels: labeled sets that may be of the model's classes.
    """

    model: Path
    own: tuple[str, ...]
    variant: str
    options: tuple[str, ...]
    draw: int
    calib_count: int
    pictures: PictureSplit
    labels: tuple[Labels, ...]

    def float_key(self, code: str) -> str:
        """Key of the model's float detections, which all its builds share."""
        return key_of(model=sha256_of(self.model), own=self.own, measured=sorted(self.pictures.measured), code=code)

    def key(self, code: str) -> str:
        """Key of the build's result."""
        return key_of(
            truth=self.float_key(code),
            options=self.options,
            draw=self.draw,
            count=self.calib_count,
            pool=sorted(self.pictures.pool),
            labels=[sha256_of(one.data) for one in self.labels],
        )


def result_of(job: Job, store: BenchStore, code: str) -> Measured:
    """The result of a build: the kept one, or a new one that is kept."""
    kept = store.read(job.key(code))
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory() as scratch:
        result = _measured(job, store, code, Path(scratch))
    store.write(job.key(code), result)
    return result


def _measured(job: Job, store: BenchStore, code: str, scratch: Path) -> Measured:
    facts: dict[str, Any] = {"model": job.model.name, "variant": job.variant, "draw": job.draw}
    listed = scratch / "pool.txt"
    listed.write_text("".join(f"{file.resolve()}\n" for file in job.pictures.pool.values()))
    count = min(job.calib_count, len(job.pictures.pool) - 1)  # one is left for the build's own comparison
    chosen = ("--calib", listed, "--calib-count", count, "--seed", job.draw, "--proof-count", 1, "--min-agreement", 0)
    begin = time.perf_counter()
    done = rkdeploy(
        "build",
        job.model,
        "--out",
        scratch / "out",
        *map(str, chosen),
        *with_cfg(job.model),
        "--no-remedies",
        *job.own,
        *job.options,
    )
    facts |= {"seconds": time.perf_counter() - begin, "calibrated": count}
    if done.returncode:
        return Measured(facts | {"refused": first_line(done.stderr)})
    bundle = read_bundle(next((scratch / "out").glob("*/build.json")).parent)
    if not finds_objects(bundle.spec) or kinds_of(bundle.spec)[0] == "text areas":
        return Measured(facts | {"skipped": "finds no boxes"})
    calibration = bundle.record.calibration
    assert calibration is not None
    require_apart([one.sha256 for one in calibration.images], job.pictures.measured)
    facts["predicted_ms"] = _predicted_ms(bundle)
    found = _against_float(bundle, job, store, job.float_key(code))
    labeled, float_labeled = _against_labels(bundle, job)
    return Measured(facts, found, labeled, float_labeled)


def _predicted_ms(bundle: Bundle) -> float | None:
    done = rkdeploy("estimate", bundle.folder, "--json")
    return float(json.loads(done.stdout)["predictions"][0]["time_ms"]) if done.returncode == 0 else None


def _against_float(bundle: Bundle, job: Job, store: BenchStore, float_key: str) -> Pictures:
    """Matches of the built model's ranked detections with the float model's at the threshold of use."""
    confidence = default_confidence(bundle.spec)
    images = [DataImage(file.name, file) for file in job.pictures.measured.values()]
    truths = store.read_float(float_key)
    if truths is None:
        truths = _predictions(bundle, FLOAT, images, Thresholds(confidence=confidence), multi_label=False)
        store.write_float(float_key, truths)
    ranked = Thresholds(confidence=min(RANKED_FROM, confidence))
    found = _predictions(bundle, BUILT, images, ranked, multi_label=False)
    pairs = [(_truth_of(_thick(truth)), _thick(one)) for truth, one in zip(truths, found, strict=True)]
    return _matched(bundle.spec, pairs)


def _against_labels(bundle: Bundle, job: Job) -> tuple[Pictures, Pictures]:
    """Matches of the built and of the float model with the labels of all sets that fit."""
    thresholds = measuring_thresholds(bundle.spec)
    runs: dict[str, list[Sequence[ClassMatches]]] = {BUILT: [], FLOAT: []}
    for data in filter(None, (labels.of(bundle.spec) for labels in job.labels)):
        assert data.objects is not None
        for backend, run in runs.items():
            found = _predictions(bundle, backend, data.images, thresholds, multi_label=True)
            pairs = [(data.objects.of(one.name, one.source_hw), one) for one in found]
            run.extend(_matched(bundle.spec, pairs))
    return runs[BUILT], runs[FLOAT]


def _predictions(
    bundle: Bundle, backend: str, images: Sequence[DataImage], thresholds: Thresholds, *, multi_label: bool
) -> list[ImagePrediction]:
    network = SharedNetwork(bundle.folder, backend, thresholds, multi_label, NO_OPTIONS)
    ((_, part),) = predict_parts(network, [(0, images)], 1, lambda: None)
    return list(part.predictions)


def _kind(spec: ModelSpec) -> Kind:
    return kinds_of(spec)[0]


def _matched(spec: ModelSpec, pairs: Iterable[tuple[Truth, ImagePrediction]]) -> list[Sequence[ClassMatches]]:
    """The matches of each picture."""
    return [match_all(_kind(spec), [pair], len(spec.class_names)) for pair in pairs]


def _thick(found: ImagePrediction) -> ImagePrediction:
    """Boxes whose overlap means something."""
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2] if found.rotated is None else found.rotated[:, 2:4]
    kept = sides.min(axis=1, initial=np.inf) >= THINNEST_PX
    return ImagePrediction(
        name=found.name,
        source_hw=found.source_hw,
        xyxy=found.xyxy[kept],
        scores=found.scores[kept],
        class_ids=found.class_ids[kept],
        rotated=None if found.rotated is None else found.rotated[kept],
    )


def _truth_of(found: ImagePrediction) -> Truth:
    """Detections as labels."""
    sides = (found.xyxy[:, 2:] - found.xyxy[:, :2]).astype(np.float64)
    return Truth(
        xyxy=found.xyxy.astype(np.float64),
        class_ids=found.class_ids.astype(np.int64),
        areas=np.maximum(sides.prod(axis=1), 1.0),
        crowd=np.zeros(len(found.scores), np.bool_),
        rotated=found.rotated,
    )


def labeled_files(labels: Iterable[Labels]) -> list[Path]:
    """All pictures near labels, which never calibrate: those of a folder, whatever its classes are."""
    folders = {one.images or one.data.parent for one in labels}
    return [file for folder in folders for file in folder.rglob("*") if file.is_file()]
