"""Any supported file as a network ready to be cut."""

from __future__ import annotations

from pathlib import Path

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.from_checkpoint import choose_size, from_checkpoint, recognize
from rkdeploy.host.building.from_onnx import from_onnx
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.network import Network
from rkdeploy.host.checkpoint.reader import DARKNET_SUFFIX
from rkdeploy.host.export.stem_form import StemForm

CHECKPOINT_SUFFIXES = (".pt", ".pth", DARKNET_SUFFIX)


def network_of(options: BuildOptions) -> Network:
    """The network of a build, with what the user says of its input and classes.

    Raises:
        RkdeployError: whatever is wrong with the files, or with what the user says.
    """
    network = open_network(
        options.model,
        options.weights,
        options.imgsz,
        options.stem,
        nms=options.nms,
        cfg=options.cfg,
        anchors=options.anchors,
        family=options.family,
    )
    return with_choice(network, options.input)


def require_readable(options: BuildOptions) -> None:
    """Check that the model is one that builds, as fast as its file allows: a checkpoint is not exported.

    Raises:
        RkdeployError: whatever `network_of` would find in the model file itself.
    """
    if options.model.suffix.lower() not in CHECKPOINT_SUFFIXES:
        network_of(options)
        return
    _, _, info = recognize(options.model, nms=options.nms, cfg=options.cfg, family_name=options.family)
    choose_size(info, options.imgsz)


def open_network(
    file: Path,
    weights: Path | None = None,
    imgsz: tuple[int, int] | None = None,
    stem: StemForm = "space_to_depth",
    *,
    nms: bool | None = None,
    cfg: Path | None = None,
    anchors: tuple[float, ...] | None = None,
    family: str | None = None,
) -> Network:
    """Read a `.pt`, `.pth`, `.weights` or `.onnx` and find its head.

    Args:
        file: the checkpoint or ONNX file.
        weights: for an ONNX file: the checkpoint that it was exported from; its anchors and names have precedence.
        imgsz: (height, width) of the network input; None takes the training size.
        stem: form of a checkpoint's first layer in the graph that is cut.
        nms: head of a checkpoint with two; None takes the one that its trainer takes.
        cfg: the darknet cfg of a checkpoint that holds weights only.
        anchors: widths and heights in pixels for an ONNX file that has neither anchors nor `weights`, or for a
            checkpoint that does not say them (Yolo-FastestV2).
        family: of a checkpoint that fits several.

    Raises:
        RkdeployError: for any fault of the files, or when they do not belong together.
    """
    suffix = file.suffix.lower()
    if suffix in CHECKPOINT_SUFFIXES:
        if weights is not None:
            raise RkdeployError(f'"{file.name}" is a checkpoint itself.', "--weights goes with an ONNX file.")
        return from_checkpoint(file, imgsz, stem, nms=nms, cfg=cfg, family_name=family, anchors=anchors)
    if suffix == ".onnx":
        if family is not None:
            raise RkdeployError("--family is of a checkpoint.", "Leave it out: --preset says whose an ONNX file is.")
        if cfg is not None and weights is None:
            raise RkdeployError(f'"{file.name}" needs no darknet cfg.', "--cfg goes with a checkpoint of weights only.")
        return from_onnx(file, weights, imgsz, cfg, anchors)
    raise RkdeployError(
        f'"{file.name}" has the suffix "{file.suffix}", expected .pt, .pth, .weights or .onnx.',
        "Give the best.pt of the training run, or an ONNX file exported from it.",
    )
