"""The build, stage by stage: read, simplify, cut, verify, calibrate, build, compare, write."""

from __future__ import annotations

import datetime as dt
import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from rkdeploy import __version__
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import (
    BUILD,
    CONTRACT,
    LOG,
    QUANTIZATION,
    Bundle,
    new_bundle,
    read_bundle,
    write_json,
)  # fmt: skip
from rkdeploy.contract.compiled import CompiledModel
from rkdeploy.contract.record import (
    Agreement,
    BuildRecord,
    CalibrationImageRecord,
    CalibrationRecord,
    HeadNode,
    SourceRecord,
    ToolkitRecord,
)  # fmt: skip
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.calibration import (
    CalibrationImage,
    CalibrationSet,
    find_calibration,
    load_letterboxed,
)  # fmt: skip
from rkdeploy.datasets.truth import LabeledSet
from rkdeploy.errors import CalibrationError, ToolkitError, VerificationError
from rkdeploy.evaluate.matching import require_tool
from rkdeploy.host.building.accuracy_gate import Side, gate_notes, measure, open_gate, require_accuracy, require_sound
from rkdeploy.host.building.agreement import AgreementMeter
from rkdeploy.host.building.agreement_gate import proof_of, proof_text, require_agreement
from rkdeploy.host.building.events import BuildEvents
from rkdeploy.host.building.examples import ExampleKeeper
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.npu_model import build_npu_model
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.replaced import keep_replaced, replaced_note
from rkdeploy.host.building.request import request_of
from rkdeploy.host.building.two_sides import (
    FLOAT_FIGURES_FROM,
    float_tensors,
    simulated_tensors,
    simulator_figures_from,
)  # fmt: skip
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.building.weight_figures import weights_text
from rkdeploy.host.building.weight_loss import measure_weights
from rkdeploy.host.families.advice import advice_for
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.session import Session
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.host.toolkit.toolkit import BuiltModel, Toolkit
from rkdeploy.images.fit import image_fit

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Clock:
    """Wall time of the stages."""

    events: BuildEvents
    seconds: dict[str, float]

    @contextmanager
    def stage(self, key: str, title: str) -> Iterator[None]:
        self.events.stage(title)
        _LOG.debug("%s", title)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[key] = round(time.perf_counter() - started, 3)
            _LOG.debug("%s took %.2f s", key, self.seconds[key])


@dataclass(frozen=True, slots=True)
class _Images:
    """The images of a build.

    Attributes:
        calibration: what quantization measures on; None for a float build without images.
        proof: held-out images.
        proof_source: where those come from.
    """

    calibration: CalibrationSet | None
    proof: tuple[CalibrationImage, ...]
    proof_source: str

    @property
    def shown(self) -> tuple[CalibrationImage, ...]:
        """The held-out images where there are any, else the calibration images."""
        return self.proof or (self.calibration.images if self.calibration else ())


def build(options: BuildOptions, events: BuildEvents) -> Bundle:
    """Build a bundle.

    Raises:
        RkdeployError: whatever failed.  Nothing is left behind then, but the toolkit's log where that names the cause.
    """
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        events.warning(text)

    clock = _Clock(events, {})
    quantized = options.dtype != FLOAT_DTYPE
    with (
        new_bundle(options.folder) as folder,
        Toolkit(log=folder / LOG, python=options.toolkit_python, on_progress=events.detail) as toolkit,
    ):
        with clock.stage("read", f"Reading {options.model.name}"):
            network = open_network(
                options.model,
                options.weights,
                options.imgsz,
                options.stem,
                nms=options.nms,
                cfg=options.cfg,
                anchors=options.anchors,
            )
            network = with_choice(network, options.input)
            events.network(network)
            for note in network.notes:
                warn(note)
            if replaced := replaced_note(options.folder, network.sha256, network.input_hw):
                events.warning(replaced)  # of this machine, not of the bundle
        with clock.stage("cut", "Cutting the graph at its head"):
            cut_graph, outputs = cut(network.simplified, network.head, options.cut)
            spec = network.contract(outputs)
            full_onnx, cut_onnx = folder / f"{options.title}.onnx", folder / f"{options.title}-cut.onnx"
            onnx.save(network.trained, str(full_onnx))
            onnx.save(cut_graph, str(cut_onnx))
        with clock.stage("images", "Choosing images"):
            images = choose_images(options, warn)
            if images.calibration is not None and quantized:
                events.calibration(images.calibration)
                if options.gate is not None:
                    require_sound(images.calibration)
            if images.proof:
                require_tool()  # missing, it is better told of now than after the build
            elif not options.allow_unproven:
                raise CalibrationError(
                    "There is no image to compare the built model with float on, so nothing would prove it.",
                    "Give images like those the model will see (--calib), or take the build as it comes with "
                    "--allow-unproven.",
                )
            labeled = open_gate(options.gate, spec) if options.gate is not None else None
            request = request_of(options, images, labeled)
        with clock.stage("verify", "Verifying the contract against the trained decode"):
            verification = verify_contract(network, cut_graph, spec, images.shown)
            events.verified(verification)
        try:
            with clock.stage("toolkit", f"Building for {options.target} with rknn-toolkit2"):
                model, spec = build_npu_model(
                    toolkit,
                    options,
                    spec,
                    (cut_onnx, cut_graph),
                    partial(_calibration_input, spec, images),
                    folder / f"{options.title}.rknn",
                    folder / QUANTIZATION,
                    events.detail,
                )
            with clock.stage("compare", f"Comparing {options.dtype} with float in the simulator"):
                examples = ExampleKeeper(folder, options.examples)
                agreement = _compare(toolkit, spec, cut_graph, images, examples, events)
            accuracy = None
            if labeled is not None:
                with clock.stage("accuracy", f"Measuring {options.dtype} and float on labeled images"):
                    accuracy = _measure(toolkit, spec, cut_graph, labeled, options.dtype, events)
        except ToolkitError as error:
            raise _with_log_kept(error, folder / LOG, options.folder) from error
        events.advice(advice_for(network.info, network.input_hw) if network.info is not None else ())
        proof = proof_of(agreement, decode_proven=verification.decode_proven)
        if agreement is not None:
            events.compared(agreement, proof)
        if accuracy is not None and labeled is not None and options.gate is not None:
            calibration = images.calibration if quantized else None
            for note in gate_notes(accuracy, labeled, calibration):
                warn(note)
            events.accuracy(accuracy)
            require_accuracy(accuracy, options.gate.max_drop, agreement, calibration)
        if agreement is not None:
            try:
                require_agreement(agreement, options.min_agreement)
            except VerificationError as error:
                if not quantized:
                    raise
                cause = _weights_cause(cut_graph, spec, images, agreement, events)
                raise VerificationError(f"{error.message}{cause}", error.hint) from error
        if text := proof_text(proof, agreement):
            warn(text)
        compiled = _compiled(model, warn)
        write_json(folder / CONTRACT, spec)
        write_json(
            folder / BUILD,
            BuildRecord(
                rkdeploy_version=__version__,
                created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
                source=_source_record(network),
                head=tuple(HeadNode(t.node, t.stride, t.shape[1]) for t in network.head.taps),
                verification=verification,
                toolkit=_toolkit_record(options, model),
                calibration=_calibration_record(images.calibration) if quantized else None,
                agreement=agreement,
                host=_host(),
                seconds=clock.seconds,
                warnings=tuple(warnings),
                compiled=compiled,
                accuracy=accuracy,
                request=request,
                proof=proof,
            ),
        )
        keep_replaced(options.folder, network.sha256)
    return read_bundle(options.folder, check_hashes=False)


def choose_images(options: BuildOptions, warn: Callable[[str], None]) -> _Images:
    """Calibration images, and others to prove the built model on.

    There is always something to compare on: a set that would be used up by calibration gives a quarter of it away, and
    one too small for that is compared on itself, and says so.  A float build calibrates on nothing; it does without
    images where there are none and none were asked for.
    """
    quantized = options.dtype != FLOAT_DTYPE
    try:
        calibration = find_calibration(options.calib, Path.cwd(), options.calib_count if quantized else 1, options.seed)
    except CalibrationError:
        if quantized or options.calib is not None:
            raise
        return _Images(None, (), "")
    proof = calibration.held_out(options.proof_images)
    spare = len(calibration.images) // 4
    if not proof.images and spare:
        calibration = find_calibration(options.calib, Path.cwd(), len(calibration.images) - spare, options.seed)
        proof = calibration.held_out(min(spare, options.proof_images))
        warn(f"{len(proof.images)} images were kept out of calibration, to compare the built model with float on.")
    if quantized:
        for text in calibration.warnings:
            warn(text)
    if proof.images:
        if proof.note and quantized:
            warn(proof.note)
        return _Images(calibration, proof.images, proof.source)
    if quantized:
        warn("There are too few images to keep some for the comparison; it runs on the calibration images themselves.")
    return _Images(calibration, calibration.images, f"{calibration.source} (the calibration images themselves)")


def _calibration_input(spec: ModelSpec, images: _Images) -> Iterator[NDArray[np.uint8]]:
    assert images.calibration is not None
    return load_letterboxed(images.calibration, image_fit(spec.input), "nchw")


def _compare(
    toolkit: Toolkit,
    spec: ModelSpec,
    cut_graph: onnx.ModelProto,
    images: _Images,
    examples: ExampleKeeper,
    events: BuildEvents,
) -> Agreement | None:
    """Simulator beside float on the held-out images, the first of which are kept; None without images."""
    if not images.proof:
        return None
    session = Session(cut_graph)
    fit = image_fit(spec.input)
    meter = AgreementMeter(spec)
    for index, image in enumerate(images.proof):
        events.detail(f"{index + 1}/{len(images.proof)}")
        pixels = image.read()
        boxed = fit(pixels)
        reference = float_tensors(session, spec, boxed.image)
        compared = meter.add(reference, simulated_tensors(toolkit, spec, boxed.image), boxed.transform)
        examples.add(image.path, pixels, compared)
    agreement = meter.result(simulator_figures_from(toolkit), images.proof_source)
    examples.write(FLOAT_FIGURES_FROM, agreement)
    return agreement


def _weights_cause(
    cut_graph: onnx.ModelProto, spec: ModelSpec, images: _Images, agreement: Agreement, events: BuildEvents
) -> str:
    """What rounding the weights alone costs a refused model, as a line of its message; empty where that is little."""
    fit = image_fit(spec.input)
    boxed = [fit(image.read()) for image in images.proof]
    loss = measure_weights(cut_graph, spec, [(one.image.copy(), one.transform) for one in boxed], events.detail)
    text = weights_text(loss, agreement.headline)
    return f"\n{text} Keep those modules in float16: {loss.float16_option}." if text else ""


def _compiled(model: BuiltModel, warn: Callable[[str], None]) -> CompiledModel | None:
    """What the compiler said.  A log that cannot be read costs the predictions, not the build."""
    try:
        return read_compile_log(model.log)
    except ToolkitError as error:
        warn(f"{error.message} Nothing can be predicted of this build.")
        return None


def _measure(
    toolkit: Toolkit,
    spec: ModelSpec,
    cut_graph: onnx.ModelProto,
    labeled: LabeledSet,
    dtype: str,
    events: BuildEvents,
) -> AccuracyReport:
    """Simulator beside float on labeled images."""
    session = Session(cut_graph)

    return measure(
        labeled,
        spec,
        Side(partial(float_tensors, session, spec), "onnxruntime", "float", FLOAT_FIGURES_FROM),
        Side(partial(simulated_tensors, toolkit, spec), "simulator", dtype, simulator_figures_from(toolkit)),
        events.detail,
    )


def _with_log_kept(error: ToolkitError, log: Path, folder: Path) -> ToolkitError:
    """Keep the toolkit's log of a failed build beside the place of its bundle, and say where."""
    if not log.is_file() or not log.stat().st_size:
        return error
    kept = folder.with_name(f"{folder.name}-failed.log")
    shutil.copyfile(log, kept)
    return ToolkitError(error.message.replace(str(log), str(kept)), error.hint.replace(str(log), str(kept)))


def _source_record(network: Network) -> SourceRecord:
    info = network.info
    return SourceRecord(
        file=network.file.name,
        sha256=network.sha256,
        weights=network.weights.name if network.weights else None,
        family=network.family,
        generation=info.generation if info else "unknown (ONNX)",
        anchors_from=network.anchors_from,
        anchors=network.anchors,
        coco_anchors=compare_anchors(network.anchors, network.family).are_defaults if network.anchors else None,
        parameters=info.parameters if info else None,
    )


def _toolkit_record(options: BuildOptions, model: BuiltModel) -> ToolkitRecord:
    quantized = options.dtype != FLOAT_DTYPE
    return ToolkitRecord(
        name="rknn-toolkit2",
        version=model.toolkit_version,
        target=options.target,
        dtype=options.dtype,
        algorithm=options.algorithm if quantized else None,
        method=options.method if quantized else None,
        optimization_level=options.optimization_level,
        disabled_rules=model.disabled_rules,
        float16=model.float16,
    )


def _calibration_record(calibration: CalibrationSet | None) -> CalibrationRecord | None:
    if calibration is None:
        return None
    return CalibrationRecord(
        source=calibration.source,
        seed=calibration.seed,
        images=tuple(CalibrationImageRecord(i.path, i.sha256) for i in calibration.images),
        warnings=calibration.warnings,
    )


def _host() -> dict[str, str]:
    """Python and the packages that took part.  Their own word, since one module may come from several distributions."""
    import onnxsim  # not above: `simplify.py` imports it first, and quicker

    modules = (np, cv2, onnx, onnxsim, onnxruntime)
    versions = {m.__name__: str(getattr(m, "__version__", "unknown")) for m in modules}
    return {"python": platform.python_version(), "machine": platform.machine()} | versions
