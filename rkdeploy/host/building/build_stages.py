"""The build, stage by stage: read, cut, choose images, verify, build, compare, judge, write."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import onnx

from rkdeploy.accuracy.truth_matching import require_tool
from rkdeploy.contract.agreement import Agreement, Proof
from rkdeploy.contract.bundle import (
    BUILD,
    CONTRACT,
    LOG,
    Bundle,
    new_bundle,
    read_bundle,
    write_json,
)
from rkdeploy.contract.record import BuildRecord, FormRecord, HeadNode, Verification
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import CalibrationError, ToolkitError, VerificationError
from rkdeploy.host.building.accuracy_gate import gate_notes, open_gate, require_accuracy, require_sound
from rkdeploy.host.building.agreement_gate import TRIED_MEND, proof_of, proof_text, require_agreement
from rkdeploy.host.building.attempts import Attempts, tried_text
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.build_values import BuildData, BuiltNetwork, CutNetwork
from rkdeploy.host.building.chosen_images import BuildImages, choose_images, require_images, require_proof
from rkdeploy.host.building.form_cost import cost_text, form_record, refusal_hint, type_note
from rkdeploy.host.building.form_cut import cut_in_form
from rkdeploy.host.building.form_files import write_form_files
from rkdeploy.host.building.given_calibration import given_grids, require_no_search
from rkdeploy.host.building.journal import Journal
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import network_of, require_readable
from rkdeploy.host.building.quantized_network import with_accuracy
from rkdeploy.host.building.record_parts import calibration_record, host_packages, source_record, toolkit_record
from rkdeploy.host.building.replaced_bundle import keep_replaced, replaced_note
from rkdeploy.host.building.request import request_of
from rkdeploy.host.building.verification import verify_contract, verify_rewritten
from rkdeploy.host.building.weight_figures import weights_text
from rkdeploy.host.building.weight_loss import measure_weights
from rkdeploy.host.families.speed_advice import advice_for
from rkdeploy.host.graph.depthwise_parts import depthwise_hint, with_depthwise_parts
from rkdeploy.host.graph.forms.rgb_input import with_rgb_input
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.images.fit import image_fit
from rkdeploy.version import __version__

_LOG = logging.getLogger(__name__)


def build(options: BuildOptions, events: BuildEvents) -> Bundle:
    """Build a bundle.

    Raises:
        RkdeployError: when the build fails.  Nothing is left behind, except for the toolkit's log if it shows the
            cause.
    """
    journal = Journal(events)
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
            built = Attempts(toolkit, options, part, data, folder, journal).best()
            if built.model.given is not None:
                journal.warn(built.model.given.sentence)
            built = with_accuracy(toolkit, data, built, journal)
            form = _form_record(network, options, built, data, journal)
        except ToolkitError as error:
            raise _with_log_kept(error, folder / LOG, options.folder) from error
        events.advice(advice_for(network.info, network.input_hw) if network.info is not None else ())
        proof = proof_of(built.agreement, decode_proven=verification.decode_proven)
        _judge(options, data, built, proof, form, journal)
        _write(folder, network, data, built, verification, proof, form, journal)
        keep_replaced(options.folder, network.sha256)
    return read_bundle(options.folder, check_hashes=False)


def _is_quantized(options: BuildOptions) -> bool:
    return options.dtype != FLOAT_DTYPE


def _read_network(options: BuildOptions, journal: Journal) -> Network:
    with journal.stage("read", f"Reading {options.model.name}"):
        network = network_of(options)
        journal.events.network(network)
        for note in network.notes:
            journal.warn(note)
        require_no_search(network, options)
        if replaced := replaced_note(options.folder, network.sha256, network.input_hw):
            journal.events.warning(replaced)  # of this machine, not of the bundle
    return network


def _cut(network: Network, options: BuildOptions, folder: Path, journal: Journal) -> CutNetwork:
    with journal.stage("cut", "Cutting the graph at its head"):
        whole, spec = cut_in_form(network, options)
        graph = with_depthwise_parts(whole, options.depthwise_parts) if _is_quantized(options) else whole
        file = folder / f"{options.title}-cut.onnx"
        onnx.save(network.trained, str(folder / f"{options.title}.onnx"))
        onnx.save(graph, str(file))
    return CutNetwork(whole, graph, file, spec, given_grids(network, options))


def _in_the_programs_colors(part: CutNetwork, options: BuildOptions) -> CutNetwork:
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


def _choose_data(options: BuildOptions, spec: ModelSpec, journal: Journal) -> BuildData:
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
        return BuildData(images, labeled, request_of(options, images, labeled))


def _form_record(
    network: Network, options: BuildOptions, built: BuiltNetwork, data: BuildData, journal: Journal
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
    data: BuildData,
    built: BuiltNetwork,
    proof: Proof,
    form: FormRecord | None,
    journal: Journal,
) -> None:
    """Require that the built model is as good as asked for.

    Raises:
        RkdeployError: when it is not.
    """
    if built.attempts:
        journal.events.attempts(built.attempts)
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
            cause = _weights_cause(built, data.images, built.agreement, journal.events)
            if built.attempts:
                raise VerificationError(f"{error.message}\n{tried_text(built.attempts)}{cause}", TRIED_MEND) from error
            uneven = depthwise_hint(built.part.graph) if built.part.graph is built.part.whole else ""
            raise VerificationError(f"{error.message}{cause}", f"{uneven}{error.hint}") from error
    if text := proof_text(proof, built.agreement):
        journal.warn(text)


def _write(
    folder: Path,
    network: Network,
    data: BuildData,
    built: BuiltNetwork,
    verification: Verification,
    proof: Proof,
    form: FormRecord | None,
    journal: Journal,
) -> None:
    """Write the contract and the record of the build."""
    options = built.options
    if built.compile_problem:
        journal.warn(built.compile_problem)
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
        compiled=built.compiled,
        accuracy=built.accuracy,
        request=data.request,
        proof=proof,
        form=form,
        attempts=built.attempts,
    )
    write_json(folder / BUILD, record)


def _weights_cause(built: BuiltNetwork, images: BuildImages, agreement: Agreement, events: BuildEvents) -> str:
    """The cost of rounding the weights alone for a refused model, as a line of its message; empty if it is small."""
    fit = image_fit(built.spec.input)
    boxed = [fit(image.read()) for image in images.proof]
    loss = measure_weights(
        built.part.graph, built.spec, [(one.image.copy(), one.transform) for one in boxed], events.detail
    )
    text = weights_text(loss, agreement.headline)
    if not text:
        return ""
    tried = built.model.bias_correction is not None or bool(built.attempts)
    first = "Keep" if tried else "Build with --bias-correction, which costs nothing on the NPU, or keep"
    return f"\n{text} {first} those modules in float16: {loss.float16_option}."


def _with_log_kept(error: ToolkitError, log: Path, folder: Path) -> ToolkitError:
    """Move the toolkit's log of a failed build next to the bundle's place, and name it in the error."""
    if not log.is_file() or not log.stat().st_size:
        return error
    kept = folder.with_name(f"{folder.name}-failed.log")
    shutil.copyfile(log, kept)
    return ToolkitError(error.message.replace(str(log), str(kept)), error.hint.replace(str(log), str(kept)))
