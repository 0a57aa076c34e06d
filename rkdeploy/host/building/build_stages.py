"""The build, stage by stage: read, cut, choose images, verify, build, compare, judge, write."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx

from rkdeploy.accuracy.truth_matching import require_tool
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.agreement import Agreement, Proof
from rkdeploy.contract.bundle import (
    BUILD,
    CONTRACT,
    LOG,
    QUANTIZATION,
    Bundle,
    new_bundle,
    read_bundle,
    write_json,
)
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.contract.record import BuildRecord, FormRecord, HeadNode, Verification
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.truth import LabeledSet
from rkdeploy.errors import CalibrationError, ToolkitError, VerificationError
from rkdeploy.host.building.accuracy_gate import gate_notes, open_gate, require_accuracy, require_sound
from rkdeploy.host.building.agreement_gate import proof_of, proof_text, require_agreement
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.chosen_images import BuildImages, choose_images, require_images, require_proof
from rkdeploy.host.building.correction_choice import correction_loss
from rkdeploy.host.building.example_keeper import ExampleKeeper
from rkdeploy.host.building.float_comparison import calibration_input, compare_with_float
from rkdeploy.host.building.form_cost import cost_text, form_record, refusal_hint, type_note
from rkdeploy.host.building.form_cut import cut_in_form
from rkdeploy.host.building.form_files import write_form_files
from rkdeploy.host.building.labeled_comparison import measure_labeled
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.npu_model import build_npu_model
from rkdeploy.host.building.open_network import network_of, require_readable
from rkdeploy.host.building.record_parts import calibration_record, host_packages, source_record, toolkit_record
from rkdeploy.host.building.replaced_bundle import keep_replaced, replaced_note
from rkdeploy.host.building.request import request_of
from rkdeploy.host.building.verification import verify_contract, verify_rewritten
from rkdeploy.host.building.weight_figures import weights_text
from rkdeploy.host.building.weight_loss import measure_weights
from rkdeploy.host.families.speed_advice import advice_for
from rkdeploy.host.graph.depthwise_parts import depthwise_hint, with_depthwise_parts
from rkdeploy.host.graph.forms.rgb_input import with_rgb_input
from rkdeploy.host.toolkit.built_model import BuiltModel
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.images.fit import image_fit
from rkdeploy.version import __version__

_LOG = logging.getLogger(__name__)


class _Journal:
    """Events and notes of a build: events, wall time per stage in seconds, warnings for the record."""

    def __init__(self, events: BuildEvents) -> None:
        self.events = events
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, key: str, title: str) -> Iterator[None]:
        """A timed stage, announced when it begins."""
        self.events.stage(title)
        _LOG.debug("%s", title)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[key] = round(self.seconds.get(key, 0.0) + time.perf_counter() - started, 3)
            _LOG.debug("%s took %.2f s", key, self.seconds[key])

    def warn(self, text: str) -> None:
        """A warning that the record keeps."""
        self.warnings.append(text)
        self.events.warning(text)


@dataclass(frozen=True, slots=True)
class _CutNetwork:
    """The network cut at its head.

    Attributes:
        whole: as it was cut.
        graph: as the NPU runs it, in floating point: with depthwise convolutions in parts, if that was asked for.
        file: the same as a file of the bundle.
        spec: contract of the model.
    """

    whole: onnx.ModelProto
    graph: onnx.ModelProto
    file: Path
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class _Data:
    """Images of a build and of its evaluation.

    Attributes:
        images: that it calibrates on and is proven on.
        labeled: the images of the accuracy gate, None without.
        request: hash of all that the user asked for.
    """

    images: BuildImages
    labeled: LabeledSet | None
    request: str


@dataclass(frozen=True, slots=True)
class _Built:
    """The quantized model and its comparison with the float model.

    Attributes:
        model: the `.rknn` and what the toolkit says of it.
        spec: the contract with the quantization of its tensors.
        agreement: with the float model on the held-out images; None without images.
        accuracy: of both on labeled images; None without.
    """

    model: BuiltModel
    spec: ModelSpec
    agreement: Agreement | None
    accuracy: AccuracyReport | None


def build(options: BuildOptions, events: BuildEvents) -> Bundle:
    """Build a bundle.

    Raises:
        RkdeployError: when the build fails.  Nothing is left behind, except for the toolkit's log if it shows the
            cause.
    """
    journal = _Journal(events)
    _require_files(options)
    with (
        new_bundle(options.folder) as folder,
        Toolkit(log=folder / LOG, python=options.toolkit_python, on_progress=events.detail) as toolkit,
    ):
        network = _read_network(options, journal)
        part = _cut(network, options, folder, journal)
        data = _choose_data(options, part.spec, journal)
        with journal.stage("verify", "Verifying the contract against the trained decode"):
            verification = verify_contract(network, part.whole, part.spec, data.images.shown)
            if part.graph is not part.whole:
                verify_rewritten(part.whole, part.graph, part.spec, data.images.shown)
            events.verified(verification)
            part = _in_the_programs_colors(part, options)
        try:
            built = _build_and_compare(toolkit, options, part, data, folder, journal)
            form = _form_record(network, options, built, data, journal)
        except ToolkitError as error:
            raise _with_log_kept(error, folder / LOG, options.folder) from error
        events.advice(advice_for(network.info, network.input_hw) if network.info is not None else ())
        proof = proof_of(built.agreement, decode_proven=verification.decode_proven)
        _judge(options, part, data, built, proof, form, journal)
        _write(folder, options, network, data, built, verification, proof, form, journal)
        keep_replaced(options.folder, network.sha256)
    return read_bundle(options.folder, check_hashes=False)


def _is_quantized(options: BuildOptions) -> bool:
    return options.dtype != FLOAT_DTYPE


def _read_network(options: BuildOptions, journal: _Journal) -> Network:
    with journal.stage("read", f"Reading {options.model.name}"):
        network = network_of(options)
        journal.events.network(network)
        for note in network.notes:
            journal.warn(note)
        if replaced := replaced_note(options.folder, network.sha256, network.input_hw):
            journal.events.warning(replaced)  # of this machine, not of the bundle
    return network


def _cut(network: Network, options: BuildOptions, folder: Path, journal: _Journal) -> _CutNetwork:
    with journal.stage("cut", "Cutting the graph at its head"):
        whole, spec = cut_in_form(network, options)
        graph = with_depthwise_parts(whole, options.depthwise_parts) if _is_quantized(options) else whole
        file = folder / f"{options.title}-cut.onnx"
        onnx.save(network.trained, str(folder / f"{options.title}.onnx"))
        onnx.save(graph, str(file))
    return _CutNetwork(whole, graph, file, spec)


def _in_the_programs_colors(part: _CutNetwork, options: BuildOptions) -> _CutNetwork:
    """The network with an input of RGB where its program hands that over; others say the order in a configuration."""
    if options.form not in ("zoo", "ultralytics") or part.spec.input.color == "rgb":
        return part
    graph, spec = with_rgb_input(part.graph, part.spec)
    onnx.save(graph, str(part.file))
    return replace(part, whole=graph if part.whole is part.graph else part.whole, graph=graph, spec=spec)


def _require_files(options: BuildOptions) -> None:
    """Check that there are images, before minutes of work; a model that does not build is the first thing to say.

    Raises:
        RkdeployError: for a model that does not build, or a build that needs images and has none.
    """
    try:
        require_images(options)
    except CalibrationError:
        require_readable(options)
        raise


def _choose_data(options: BuildOptions, spec: ModelSpec, journal: _Journal) -> _Data:
    """The images of a build.

    Raises:
        RkdeployError: when they are unusable, which is better reported now than after the build.
    """
    with journal.stage("images", "Choosing images"):
        images = choose_images(options)
        for note in images.notes:
            journal.warn(note)
        if images.calibration is not None and _is_quantized(options):
            journal.events.calibration(images.calibration)
            if options.gate is not None:
                require_sound(images.calibration)
        require_proof(images, options)
        if images.proof:
            require_tool()
        labeled = open_gate(options.gate, spec) if options.gate is not None else None
        return _Data(images, labeled, request_of(options, images, labeled))


def _build_and_compare(
    toolkit: Toolkit, options: BuildOptions, part: _CutNetwork, data: _Data, folder: Path, journal: _Journal
) -> _Built:
    """Build the `.rknn`, and compare it with the float model while the toolkit has it open.

    A build with corrected biases that agrees less with the float model than one without is built again without.
    """
    if not options.bias_correction:
        return _with_accuracy(
            toolkit, options, part, data, _built(toolkit, options, part, data, folder, journal), journal
        )
    trained = replace(options, bias_correction=False)
    with tempfile.TemporaryDirectory() as scratch:
        before = _built(toolkit, trained, part, data, Path(scratch), journal, keeps_examples=False)
    built = _built(toolkit, options, part, data, folder, journal)
    record = built.model.bias_correction
    if record is not None and record.accepted and (loss := correction_loss(before.agreement, built.agreement)):
        record = replace(record, accepted=False, reason=loss)
        built = _built(toolkit, trained, part, data, folder, journal)
        built = replace(built, model=replace(built.model, bias_correction=record))
    if record is not None:
        journal.events.bias_correction(record)
        if not record.accepted:
            journal.warn(f"The biases were not corrected: {record.reason}.")
    return _with_accuracy(toolkit, options, part, data, built, journal)


def _built(
    toolkit: Toolkit,
    options: BuildOptions,
    part: _CutNetwork,
    data: _Data,
    folder: Path,
    journal: _Journal,
    *,
    keeps_examples: bool = True,
) -> _Built:
    """The `.rknn`, and its comparison with the float model."""
    with journal.stage("toolkit", f"Building for {options.target} with rknn-toolkit2"):
        model, spec = build_npu_model(
            toolkit,
            options,
            part.spec,
            (part.file, part.graph),
            partial(calibration_input, part.spec, data.images),
            folder / f"{options.title}.rknn",
            folder / QUANTIZATION,
            journal.events.detail,
        )
    with journal.stage("compare", f"Comparing {options.dtype} with the float model in the simulator"):
        examples = ExampleKeeper(folder, options.examples) if keeps_examples else None
        agreement = compare_with_float(toolkit, spec, part.graph, data.images, journal.events.detail, examples)
    return _Built(model, spec, agreement, None)


def _with_accuracy(
    toolkit: Toolkit, options: BuildOptions, part: _CutNetwork, data: _Data, built: _Built, journal: _Journal
) -> _Built:
    """The same with the accuracy of both models, where there are labeled images."""
    if data.labeled is None:
        return built
    with journal.stage("accuracy", f"Measuring {options.dtype} and the float model on labeled images"):
        accuracy = measure_labeled(toolkit, built.spec, part.graph, data.labeled, options.dtype, journal.events.detail)
    return replace(built, accuracy=accuracy)


def _form_record(
    network: Network, options: BuildOptions, built: _Built, data: _Data, journal: _Journal
) -> FormRecord | None:
    """The record of another program's form, with our own form measured too."""
    if options.form == "rkdeploy":
        return None
    with journal.stage("own_form", "Building our own form, to measure what this one costs"):
        form, problem = form_record(network, options, built.spec, data.images, journal.events.detail)
        for text in (problem, type_note(built.spec)):
            if text:
                journal.warn(text)
        return form


def _judge(
    options: BuildOptions,
    part: _CutNetwork,
    data: _Data,
    built: _Built,
    proof: Proof,
    form: FormRecord | None,
    journal: _Journal,
) -> None:
    """Require that the built model is as good as asked for.

    Raises:
        RkdeployError: when it is not.
    """
    if built.agreement is not None:
        journal.events.compared(built.agreement, proof)
    if form is not None:
        journal.events.form(form, cost_text(form, built.agreement))
    if built.accuracy is not None and data.labeled is not None and options.gate is not None:
        calibration = data.images.calibration if _is_quantized(options) else None
        for note in gate_notes(built.accuracy, data.labeled, calibration):
            journal.warn(note)
        journal.events.accuracy(built.accuracy)
        require_accuracy(built.accuracy, options.gate.max_drop, built.agreement, calibration)
    if built.agreement is not None:
        try:
            require_agreement(built.agreement, options.min_agreement)
        except VerificationError as error:
            if not _is_quantized(options):
                raise
            if of_form := refusal_hint(form, options.dtype):
                raise VerificationError(error.message, f"{of_form}{error.hint}") from error
            cause = _weights_cause(part.graph, built, data.images, built.agreement, journal.events)
            uneven = depthwise_hint(part.graph) if part.graph is part.whole else ""
            raise VerificationError(f"{error.message}{cause}", f"{uneven}{error.hint}") from error
    if text := proof_text(proof, built.agreement):
        journal.warn(text)


def _write(
    folder: Path,
    options: BuildOptions,
    network: Network,
    data: _Data,
    built: _Built,
    verification: Verification,
    proof: Proof,
    form: FormRecord | None,
    journal: _Journal,
) -> None:
    """Write the contract and the record of the build."""
    compiled = _compiled(built.model, journal.warn)
    write_json(folder / CONTRACT, built.spec)
    write_form_files(folder, options.title, built.spec)
    record = BuildRecord(
        rkdeploy_version=__version__,
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        source=source_record(network),
        head=tuple(HeadNode(t.node, t.stride, t.shape[1]) for t in network.head.taps),
        verification=verification,
        toolkit=toolkit_record(options, built.model),
        calibration=calibration_record(data.images.calibration) if _is_quantized(options) else None,
        agreement=built.agreement,
        host=host_packages(),
        seconds=journal.seconds,
        warnings=tuple(journal.warnings),
        compiled=compiled,
        accuracy=built.accuracy,
        request=data.request,
        proof=proof,
        form=form,
    )
    write_json(folder / BUILD, record)


def _weights_cause(
    cut_graph: onnx.ModelProto, built: _Built, images: BuildImages, agreement: Agreement, events: BuildEvents
) -> str:
    """The cost of rounding the weights alone for a refused model, as a line of its message; empty if it is small."""
    fit = image_fit(built.spec.input)
    boxed = [fit(image.read()) for image in images.proof]
    loss = measure_weights(cut_graph, built.spec, [(one.image.copy(), one.transform) for one in boxed], events.detail)
    text = weights_text(loss, agreement.headline)
    if not text:
        return ""
    tried = built.model.bias_correction is not None
    first = "Keep" if tried else "Build with --bias-correction, which costs nothing on the NPU, or keep"
    return f"\n{text} {first} those modules in float16: {loss.float16_option}."


def _compiled(model: BuiltModel, warn: Callable[[str], None]) -> CompiledModel | None:
    """The compiler's tables.  A log that cannot be read costs the predictions, not the build."""
    try:
        return read_compile_log(model.log)
    except ToolkitError as error:
        warn(f"{error.message} Nothing can be predicted for this build.")
        return None


def _with_log_kept(error: ToolkitError, log: Path, folder: Path) -> ToolkitError:
    """Move the toolkit's log of a failed build next to the bundle's place, and name it in the error."""
    if not log.is_file() or not log.stat().st_size:
        return error
    kept = folder.with_name(f"{folder.name}-failed.log")
    shutil.copyfile(log, kept)
    return ToolkitError(error.message.replace(str(log), str(kept)), error.hint.replace(str(log), str(kept)))
