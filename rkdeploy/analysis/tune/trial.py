"""One trial: a setting and prepared inputs in, figures out.

It builds, compares and measures by the same code as `rkdeploy build --data`, with a toolkit process of its own, in a
folder that it is given.  It knows nothing of the search.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import onnx

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.accuracy.scoring import score
from rkdeploy.analysis.tune.calibration_samples import CalibrationSample, read_sample
from rkdeploy.analysis.tune.cost import cost_of
from rkdeploy.analysis.tune.fitted_images import FittedImages, read_labeled_images
from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.contract.bundle import LOG
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.errors import RkdeployError, VerificationError
from rkdeploy.host.building.agreement_gate import require_agreement
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.compared_tensors import float_tensors, simulated_tensors, simulator_figures_from
from rkdeploy.host.building.npu_model import build_npu_model
from rkdeploy.host.graph.session import Session
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from rkdeploy.contract.agreement import Agreement

GRAPH_FILE: Final = "cut.onnx"
CONTRACT_FILE: Final = "contract.json"
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class TrialJob:
    """Description of a trial, without the contents of its input sets.

    Attributes:
        number: in the study.
        options: the build, with the settings of this trial.
        graph, sample, measured: names of its input sets: cut graph, calibration sample, labeled images.
        threads: for those of the toolkit's libraries that have a setting for it.
        version: of rkdeploy; the process that runs the trial must have the same.
    """

    number: int
    options: BuildOptions
    graph: str
    sample: str
    measured: str
    threads: int = 1
    version: str = __version__

    @property
    def input_sets(self) -> tuple[str, ...]:
        """All of its input sets."""
        return self.graph, self.sample, self.measured


def run_trial(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """Run a trial.

    Args:
        job: what to do.
        input_sets: folder in which its input sets lie.
        folder: empty, for what arises on the way; the caller removes it.

    Raises:
        RkdeployError: when the toolkit refuses the setting or fails, or this is another version of rkdeploy.
    """
    require_version(job)
    started = time.perf_counter()
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(job.threads)  # the toolkit's process inherits them
    with Toolkit(log=folder / LOG, python=job.options.toolkit_python) as toolkit:
        graph_file = input_sets / job.graph / GRAPH_FILE
        graph = onnx.load(str(graph_file))
        cut_spec = msgspec.json.decode((input_sets / job.graph / CONTRACT_FILE).read_bytes(), type=ModelSpec)
        sample = read_sample(input_sets / job.sample)
        built, spec = build_npu_model(
            toolkit,
            job.options,
            cut_spec,
            (graph_file, graph),
            sample.calibration_nchw,
            folder / "trial.rknn",
            folder / "kept",
            lambda _text: None,
        )
        agreement = _agreement(toolkit, spec, graph, sample)
        headline = agreement.headline if agreement is not None else None
        figures = _figures(toolkit, spec, read_labeled_images(input_sets / job.measured), job.options.dtype)
        quantization = ranges_hash(toolkit.ranges())
        return TrialResult(
            figures=figures,
            cost=cost_of(read_compile_log(built.log), job.options.target, job.options.dtype),
            agreement=headline.value if headline is not None else None,
            refused=_refusal(agreement, job.options.min_agreement),
            float16=len(built.float16),
            rknn_bytes=(folder / "trial.rknn").stat().st_size,
            quantization=quantization,
            toolkit=toolkit.version,
            seconds=round(time.perf_counter() - started, 3),
            agreement_name=headline.name if headline is not None else "",
            agreement_interval=headline.interval if headline is not None else None,
        )


def require_version(job: TrialJob) -> None:
    """Refuse the job of another rkdeploy.

    Raises:
        RkdeployError: with both versions.
    """
    if job.version != __version__:
        raise RkdeployError(
            f"This worker has rkdeploy {__version__}, the search {job.version}.", "Install the same one everywhere."
        )


def ranges_hash(ranges: dict[str, tuple[float, float]]) -> str:
    """One word for the ranges of all tensors."""
    return hashlib.sha256(json.dumps(sorted(ranges.items())).encode()).hexdigest()[:16]


def _agreement(
    toolkit: Toolkit, spec: ModelSpec, graph: onnx.ModelProto, sample: CalibrationSample
) -> Agreement | None:
    """A build's comparison: the simulator against the float model on the held-out images; None without images."""
    if not len(sample.proof):
        return None
    session = Session(graph)
    meter = AgreementMeter(spec)
    for pixels, transform in zip(sample.proof, sample.transforms, strict=True):
        image = np.array(pixels[None])
        meter.add(float_tensors(session, spec, image), simulated_tensors(toolkit, spec, image), transform)
    return meter.result(simulator_figures_from(toolkit), sample.source)


def _refusal(agreement: Agreement | None, min_agreement: float) -> str:
    if agreement is None:
        return ""
    try:
        require_agreement(agreement, min_agreement)
    except VerificationError as error:
        return error.message
    return ""


def _figures(toolkit: Toolkit, spec: ModelSpec, measured: FittedImages, dtype: str) -> dict[str, float]:
    predictor = Predictor(spec, measuring_thresholds(spec), multi_label=True)
    predictions = [
        predictor.prediction(image, simulated_tensors(toolkit, spec, pixels), transform)
        for image, pixels, transform in measured
    ]
    found = score(
        measured.data,
        predictions,
        spec,
        Thresholds(confidence=default_confidence(spec)),
        backend="simulator",
        computes=dtype,
        figures_from=simulator_figures_from(toolkit),
    )
    return found.headlines()
