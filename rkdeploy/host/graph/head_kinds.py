"""Kinds of heads that presets go by, and names of maps.  Without onnx: presets are read where no graph is."""

from __future__ import annotations

from typing import Final

SEMANTIC, DEPTH = "semantic", "depth"
"""Names of the maps in the contract."""
PLANES, PLANE, MASK = "planes", "plane", "mask"
"""Kinds of heads: scores of several classes per pixel; one value per pixel; one probability per pixel."""
UNPREPARED: Final = "detr"
"""Kind of a head of queries whose graph does not say how images are prepared."""
