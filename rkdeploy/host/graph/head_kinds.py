"""Kinds of heads that presets go by, names of maps, and a kind that has more fields than its names say.  Without onnx:
presets are read where no graph is.
"""

from __future__ import annotations

from typing import Final

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.errors import GraphError

SEMANTIC, DEPTH, AREAS = "semantic", "depth", "text_areas"
"""Names of the maps in the contract."""
PLANES, PLANE, MASK, AREA_MAPS = "planes", "plane", "mask", "area maps"
"""Kinds of heads: scores of several classes per pixel; one value per pixel; one probability per pixel; the three maps
of a DB head in training."""
EMBEDDING: Final = "embedding"
"""Name of an embedding in the contract, and kind of a head that gives one without a doubt."""
VECTOR: Final = "vector"
"""Kind of a head whose numbers may be scores of classes or an embedding."""
TEXT: Final = "text"
"""Kind of a text recognizer, whose graph does not say its characters."""
SHARED: Final = "yolo-fastestv2"
"""Kind of an anchor head whose anchors share the classes of their cell."""
FASTEST: Final = "fastestdet"
"""Kind of an anchor head of one level whose one anchor is the whole input."""
FASTEST_FORMULA: Final = AnchorFormula((2.0,), "share", classes="softmax", center_shift=-0.5, powers=(0.6, 0.4))
"""Of `handle_preds` in utils/tool.py of dog-qiuqiu/FastestDet, for centers whose raw numbers are doubled."""
UNPREPARED: Final = "detr"
"""Kind of a head of queries whose graph does not say how images are prepared."""
SIZE_BINS: Final = 2 * 21
"""Further fields of an anchor whose width and height are chosen among bins: YOLOv7's IBin (utils/loss.py, SigmoidBin).
"""


def require_no_size_bins(found: int, named: int) -> None:
    """Check that a raw head has not as many fields more than its names say as IBin has.

    Args:
        found: classes that an anchor's fields would be.
        named: classes by their names.

    Raises:
        GraphError: when it has; the graph then has neither the bins' order nor their values.
    """
    if found - named == SIZE_BINS:
        raise GraphError(
            f"Each anchor has {SIZE_BINS} numbers more than box, objectness and {named} classes: a YOLOv7 whose widths "
            "and heights are chosen among bins (IBin), which is not built from ONNX.",
            "Its checkpoint builds: rkdeploy build best.pt.",
        )
