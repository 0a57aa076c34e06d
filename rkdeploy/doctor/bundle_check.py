"""Check that a bundle is complete, and can be loaded on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.model_file import ModelFile, read_model_file
from rkdeploy.device.runtime.versions import version_findings
from rkdeploy.doctor.finding import Finding
from rkdeploy.errors import BackendError, BundleError, RkdeployError

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.doctor.system import System


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """A bundle, as far as it can be read.

    Attributes:
        folder: as the user named it.
        error: reason why the bundle, its contract or its model cannot be read; None when all can.
        text: its content, in a few words.
        model: header and trailer of the `.rknn`.
    """

    folder: str
    error: RkdeployError | None
    text: str = ""
    model: ModelFile | None = None


def read_bundle_facts(folder: Path) -> BundleFacts:
    """Read a bundle, check every hash, and try whether this rkdeploy can decode it."""
    try:
        bundle = read_bundle(folder)
        decoder_for(bundle.spec)
        model = read_model_file(bundle.rknn)
    except (BundleError, BackendError, RkdeployError) as error:
        return BundleFacts(str(folder), error)
    spec, toolkit = bundle.spec, model.toolkit_version or "of an unknown version"
    text = (
        f"{folder.resolve().name}: complete, all hashes match; {spec.family}, {spec.input.width}x{spec.input.height}, "
        f"{len(spec.class_names)} classes, {bundle.model.target} {bundle.model.dtype}, rknn-toolkit2 {toolkit}"
    )
    return BundleFacts(str(folder), None, text, model)


def check_bundle(facts: BundleFacts, system: System) -> tuple[Finding, ...]:
    """Findings about a bundle on a machine.  A pure function."""
    if facts.error is not None or facts.model is None:
        error = facts.error or BundleError("It cannot be read.")
        return (Finding("bundle", "problem", error.message, "a complete bundle that this rkdeploy reads", error.hint),)
    model, runtime = facts.model, system.library.version
    findings = [Finding("bundle", "ok", facts.text)]
    said = version_findings(model, runtime=runtime, driver=None, soc=system.board.soc)
    findings += [
        Finding("bundle here", "problem" if item.severity == "error" else "warning", item.message, fix=item.hint)
        for item in said
    ]
    if said:
        return tuple(findings)
    facts_text = f"file version {model.file_version}, for {', '.join(model.targets) or 'an unknown SoC'}"
    if not system.is_board:
        findings.append(
            Finding(
                "bundle here", "ok", f"{facts_text}: on this PC it runs with onnxruntime, opencv_dnn or the simulator"
            )
        )
    elif runtime is None:
        findings.append(
            Finding(
                "bundle here", "warning", f"{facts_text}; whether it loads is not known without librknnrt's version"
            )
        )
    else:
        findings.append(Finding("bundle here", "ok", f"{facts_text}: fits librknnrt {runtime} on {system.board.soc}"))
    return tuple(findings)
