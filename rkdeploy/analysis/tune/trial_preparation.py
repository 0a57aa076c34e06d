"""Preparation, once for all trials: read the network, cut it, choose and fit the images, measure float."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import onnx

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.accuracy.scoring import score
from rkdeploy.accuracy.validators import validator_of
from rkdeploy.analysis.tune.baseline import Baseline
from rkdeploy.analysis.tune.calibration_samples import write_sample
from rkdeploy.analysis.tune.cost import cost_unit
from rkdeploy.analysis.tune.fitted_images import read_labeled_images, write_labeled_images
from rkdeploy.analysis.tune.hyperparameters import SearchSpace
from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.network_search_space import CALIB_COUNTS, search_space
from rkdeploy.analysis.tune.trial import CONTRACT_FILE, GRAPH_FILE, TrialJob
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.truth import LabeledSet
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.errors import RkdeployError, VerificationError
from rkdeploy.host.building.accuracy_gate import gate_notes, open_gate, require_sound
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.chosen_images import choose_images, require_images
from rkdeploy.host.building.compared_tensors import FLOAT_FIGURES_FROM, float_tensors
from rkdeploy.host.building.open_network import network_of
from rkdeploy.host.building.quantization import QuantizationSettings
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.version import __version__


class Preparation:
    """The inputs of trials, made on first use and kept in a folder.

    Args:
        options: the build; its settings are those that trials replace.  It must have a gate, whose images are measured
            on.
        input_sets: where inputs are kept.
        events: called with the progress and with notes for the user.

    Raises:
        RkdeployError: for any fault of the model, the images or the labels.
    """

    def __init__(self, options: BuildOptions, input_sets: InputStore, events: TuneEvents) -> None:
        assert options.gate is not None, "there is nothing to measure on"
        if options.dtype == FLOAT_DTYPE:
            raise RkdeployError(
                f"--dtype {FLOAT_DTYPE} quantizes nothing, so there is nothing to search.", "Leave out --dtype."
            )
        require_images(options)
        self._options = options
        self._input_sets = input_sets
        self._graphs: dict[CutOptions, str] = {}
        self._samples: dict[tuple[int, int], str] = {}
        events.stage(f"Reading {options.model.name}")
        self._network = network_of(options)
        if self._network.is_quantized:
            self._options = replace(options, calibration="new")  # a study searches ranges of its own
        for note in self._network.notes:
            events.warning(note)
        events.stage("Choosing images")
        default = QuantizationSettings()
        most = choose_images(replace(options, calib_count=max(CALIB_COUNTS)))
        assert most.calibration is not None, "a quantized build has calibration images"
        self.space: SearchSpace = search_space(
            self._network, options.target, options.dtype, len(most.calibration.images)
        )
        spec = self._contract(default.cut)[1]
        labeled = open_gate(options.gate, spec)
        images = choose_images(default.applied_to(options))
        for note in images.notes:
            events.warning(note)
        calibration = images.calibration
        assert calibration is not None
        require_sound(calibration)
        events.stage("Verifying the contract against the trained decode")
        graph, sample = self._graph(default.cut), self._sample(default)
        events.stage("Measuring float on the labeled images")
        self._measured, evaluation = self._measure_float(spec, labeled, events.detail)
        report = _report(options, spec, labeled, evaluation)
        for note in gate_notes(report, labeled, calibration):
            events.warning(note)
        if not evaluation.headlines():
            raise VerificationError(
                f"Accuracy cannot be measured: nothing is labeled in the {labeled.source}.", "Give labeled images."
            )
        self.baseline = Baseline(evaluation, labeled.source)
        self.fingerprint = {
            "model": self._network.sha256,
            "network": graph,
            "target": options.target,
            "dtype": options.dtype,
            "calibration images": sample,
            "labeled images": self._measured,
            "settings to search": _hash(self.space.hyperparameters()),
            "cost": cost_unit(options.target, options.dtype),
            "rkdeploy": __version__,
        }

    @property
    def images(self) -> int:
        """Number of labeled images."""
        return self.baseline.evaluation.images

    def job(self, number: int, settings: QuantizationSettings, threads: int) -> TrialJob:
        """A trial's job; what it needs is made now if no trial needed it before.

        Raises:
            RkdeployError: when the network cannot be cut so, or the images cannot be read any more.
        """
        return TrialJob(
            number=number,
            options=settings.applied_to(self._options),
            graph=self._graph(settings.cut),
            sample=self._sample(settings),
            measured=self._measured,
            threads=threads,
        )

    def _contract(self, options: CutOptions) -> tuple[onnx.ModelProto, ModelSpec]:
        graph, outputs = cut(self._network.simplified, self._network.head, options)
        return graph, self._network.contract(outputs)

    def _graph(self, options: CutOptions) -> str:
        """The input set of a cut graph and its contract, which is verified as in a build."""
        if options not in self._graphs:
            graph, spec = self._contract(options)
            images = choose_images(replace(self._options, cut=options))
            verify_contract(self._network, graph, spec, images.shown)
            with self._input_sets.fill() as (folder, named):
                onnx.save(graph, str(folder / GRAPH_FILE))
                (folder / CONTRACT_FILE).write_bytes(msgspec.json.encode(spec))
            self._graphs[options] = named[0]
        return self._graphs[options]

    def _sample(self, settings: QuantizationSettings) -> str:
        key = (settings.calib_count, settings.seed)
        if key not in self._samples:
            images = choose_images(settings.applied_to(self._options))
            assert images.calibration is not None
            with self._input_sets.fill() as (folder, named):
                chosen = images.calibration.images
                write_sample(folder, self._network.input, chosen, images.proof, images.proof_source)
            self._samples[key] = named[0]
        return self._samples[key]

    def _measure_float(
        self, spec: ModelSpec, labeled: LabeledSet, detail: Callable[[str], None]
    ) -> tuple[str, Evaluation]:
        """The input set of the labeled images, and the float model's figures on them."""
        predictor = Predictor(spec, measuring_thresholds(spec), multi_label=True)
        with self._input_sets.fill() as (folder, named):
            failed = write_labeled_images(folder, labeled, predictor, (spec.input.height, spec.input.width), detail)
        found: dict[str, ImagePrediction] = {prediction.name: prediction for prediction in failed}
        session = Session(self._contract(QuantizationSettings().cut)[0])
        measured = read_labeled_images(self._input_sets.path(named[0]))
        for number, (image, pixels, transform) in enumerate(measured, 1):
            detail(f"{number}/{len(measured.transforms)}")
            found[image.name] = predictor.prediction(image, float_tensors(session, spec, pixels), transform)
        evaluation = score(
            labeled,
            [found[image.name] for image in labeled.images],
            spec,
            Thresholds(confidence=default_confidence(spec)),
            backend="onnxruntime",
            computes="float",
            figures_from=FLOAT_FIGURES_FROM,
        )
        return named[0], evaluation


def _report(options: BuildOptions, spec: ModelSpec, labeled: LabeledSet, evaluation: Evaluation) -> AccuracyReport:
    """Float's figures in the form in which the gate judges them."""
    thresholds = measuring_thresholds(spec)
    return AccuracyReport(
        model=options.model.name,
        source=labeled.source,
        confidence=str(default_confidence(spec)),
        lowest_confidence=thresholds.confidence,
        iou=thresholds.iou,
        multi_label=True,
        validator=validator_of(spec).name,
        from_coco=labeled.from_coco,
        evaluations=(evaluation,),
        notes=labeled.notes,
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
