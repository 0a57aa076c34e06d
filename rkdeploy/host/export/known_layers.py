"""Layer classes that the exporters support."""

from __future__ import annotations

from rkdeploy.host.export.attention_blocks import ATTENTION_BLOCKS
from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
from rkdeploy.host.export.hgnet_blocks import HGNET_BLOCKS
from rkdeploy.host.export.layers import LAYERS
from rkdeploy.host.export.lite_blocks import LITE_BLOCKS
from rkdeploy.host.export.open_vocabulary import VOCABULARY_BLOCKS
from rkdeploy.host.export.prototypes import PROTO_BLOCKS
from rkdeploy.host.export.transformer_blocks import TRANSFORMER_BLOCKS
from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
from rkdeploy.host.export.yolov7_blocks import YOLOV7_BLOCKS
from rkdeploy.host.export.yolov9_blocks import YOLOV9_BLOCKS

_KNOWN = frozenset(LAYERS).union(
    YOLOV5_BLOCKS,
    CSP_BLOCKS,
    ATTENTION_BLOCKS,
    PROTO_BLOCKS,
    YOLOV7_BLOCKS,
    YOLOV9_BLOCKS,
    LITE_BLOCKS,
    HGNET_BLOCKS,
    TRANSFORMER_BLOCKS,
    VOCABULARY_BLOCKS,
)


def is_known(class_name: str) -> bool:
    """True if there is an emitter for a layer class."""
    return class_name in _KNOWN
