"""Kinds of heads that presets go by, and names of maps.  Without onnx: presets are read where no graph is."""

from __future__ import annotations

from typing import Final

from rkdeploy.contract.formulas import AnchorFormula

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
