"""Parts of a bundle's build.json: where the model came from, what it was built with, and on which images."""

from __future__ import annotations

import platform
from dataclasses import asdict

import cv2
import numpy as np
import onnx
import onnxruntime

from rkdeploy.contract.record import CalibrationImageRecord, CalibrationRecord, SourceRecord, ToolkitRecord
from rkdeploy.datasets.calibration import (
    CalibrationSet,
)
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.npu_model import toolkit_settings_of
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.toolkit.built_model import BuiltModel


def source_record(network: Network) -> SourceRecord:
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
        parameters=info.training.parameters if info else None,
    )


def toolkit_record(options: BuildOptions, model: BuiltModel) -> ToolkitRecord:
    return ToolkitRecord(
        **asdict(toolkit_settings_of(options)),
        name="rknn-toolkit2",
        version=model.toolkit_version,
        disabled_rules=model.disabled_rules,
        float16=model.float16,
        bias_correction=model.bias_correction,
    )


def calibration_record(calibration: CalibrationSet | None) -> CalibrationRecord | None:
    if calibration is None:
        return None
    return CalibrationRecord(
        source=calibration.source,
        seed=calibration.seed,
        images=tuple(CalibrationImageRecord(i.path, i.sha256) for i in calibration.images),
        warnings=calibration.warnings,
    )


def host_packages() -> dict[str, str]:
    """Versions of Python and the packages used, as the modules state them: several distributions may provide one."""
    import onnxsim  # not above: `simplify.py` imports it first, and quicker

    modules = (np, cv2, onnx, onnxsim, onnxruntime)
    versions = {m.__name__: str(getattr(m, "__version__", "unknown")) for m in modules}
    return {"python": platform.python_version(), "machine": platform.machine()} | versions
