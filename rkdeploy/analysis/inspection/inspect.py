"""Any file of a deployment, inspected by its kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.analysis.inspection.inspection import Inspection


def inspect_file(file: Path, cfg: Path | None = None) -> Inspection:
    """Look at a file by its suffix; one whose suffix is not known is read as a checkpoint, which says what is wrong.

    Args:
        file: a checkpoint, an ONNX file, an `.rknn`, or a bundle's folder.
        cfg: the darknet cfg of a checkpoint that holds weights only.

    Raises:
        RkdeployError: it cannot be read.
    """
    suffix = file.suffix.lower()
    if file.is_dir():
        from rkdeploy.analysis.inspection.built_file import inspect_bundle

        return inspect_bundle(file)
    if cfg is not None and suffix in (".onnx", ".rknn"):
        raise RkdeployError(f'"{file.name}" needs no darknet cfg.', "--cfg goes with a checkpoint of weights only.")
    if suffix == ".rknn":
        from rkdeploy.analysis.inspection.built_file import inspect_rknn

        return inspect_rknn(file)
    if suffix == ".onnx":
        from rkdeploy.analysis.inspection.onnx_file import inspect_onnx

        return inspect_onnx(file)
    from rkdeploy.analysis.inspection.checkpoint_file import inspect_checkpoint

    return inspect_checkpoint(file, cfg)
