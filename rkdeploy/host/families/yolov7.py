"""YOLOv7: WongKinYiu's own code, tiny to E6E, trained or re-parameterized; YOLOv7-pose, YOLOv7-face and descendants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import AnchorFormula, KeypointLayout, SizeBins
from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import layers_of, numbers, yaml_name
from rkdeploy.host.families.checkpoint_kinds import is_yolov7
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov7"
_MAX_KEYPOINTS = 1000
_MAX_BINS = 1000

recognize = is_yolov7


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    head = layers_of(checkpoint)[-1]
    name = yaml_name(checkpoint.root.attribute("yaml_file"))
    generation = f"{name}, {head.class_name} head" if name else f"{head.class_name} head"
    return describe_anchor_model(checkpoint, NAME, generation, _keypoints(head))


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc + 3 K).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.lite_blocks import LITE_BLOCKS
    from rkdeploy.host.export.yolov7_blocks import YOLOV7_BLOCKS

    blocks = {**LITE_BLOCKS, **YOLOV7_BLOCKS}
    return export_anchor_model(checkpoint, info, blocks, height, width, stem, _formula(layers_of(checkpoint)[-1]))


def _formula(head: Module) -> AnchorFormula | None:
    """The bins of IBin; None for other heads.

    The middles are read as they are stored: half precision has rounded those of a stripped checkpoint, and upstream
    computes with them.

    Raises:
        CheckpointError: when width and height have different ones, or some are not numbers in their limits.
    """
    if head.class_name != "IBin":
        return None
    width, height = (_bins(head.child(name)) for name in ("w_bin_sigmoid", "h_bin_sigmoid"))
    if width != height:
        raise CheckpointError(f'"{head.path}" has other bins for widths than for heights, expected the same ones.')
    return AnchorFormula(bins=width)


def _bins(module: Module) -> SizeBins:
    """The bins of a SigmoidBin.

    Raises:
        CheckpointError: when some are not numbers in their limits.
    """
    count, (step, gain, low, high) = (
        module.attribute("bin_count"),
        (numbers([module.attribute(name)]) for name in ("step", "reg_scale", "min", "max")),
    )
    stored = module.tensors.get("bins")
    if type(count) is not int or not 1 <= count <= _MAX_BINS or stored is None or stored.shape != (count,):
        shape = stored.shape if stored is not None else "none"
        raise CheckpointError(
            f'"{module.path}" has {shown(count)} bins and middles of shape {shape}, expected 1 to {_MAX_BINS}.'
        )
    centers = tuple(float(center) for center in module.array("bins"))
    if not (step and gain and low and high and step[0] * gain[0] > 0 and low[0] < high[0]) or not all(
        low[0] <= center <= high[0] for center in centers
    ):
        raise CheckpointError(f'"{module.path}" has bins that do not lie between their limits; the file is damaged.')
    return SizeBins(centers, step[0] * gain[0] / 2, low[0], high[0])


def _keypoints(head: Module) -> KeypointLayout | None:
    """The keypoints of IKeypoint, (2 raw - 0.5 + cell) * stride with a score each; None for other heads.

    Raises:
        CheckpointError: when it does not say how many.
    """
    if head.class_name != "IKeypoint":
        return None
    count = head.attribute("nkpt")
    if type(count) is not int or not 1 <= count <= _MAX_KEYPOINTS:
        raise CheckpointError(f'"{head.path}" has {shown(count)} keypoints, expected 1 to {_MAX_KEYPOINTS}.')
    return KeypointLayout(count, scored=True, gain=2.0, offset=-0.5)
