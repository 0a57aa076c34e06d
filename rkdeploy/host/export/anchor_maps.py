"""The last convolutions of heads on anchors: plain, with implicit knowledge, with keypoints, with training heads."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.heads import AnchorMap
from rkdeploy.host.export.network import blamed
from rkdeploy.host.export.yolor_blocks import implicit_convolution

TRAINING_ONLY = ("m2",)
"""Sub-modules of a head that inference does not read: the auxiliary convolutions of YOLOv7's IAuxDetect."""


def anchor_maps(emission: Emission, head: Module, features: Sequence[Value]) -> list[AnchorMap]:
    """One map per level: im * conv(x + ia) where the head has implicit knowledge (IDetect and its kin), else conv(x).

    A head with auxiliary convolutions (IAuxDetect) reads twice as many layers; the first half counts.
    IKeypoint's keypoints come from x without the implicit addition.  Source: models/yolo.py of WongKinYiu/yolov7.

    Raises:
        GraphError: when convolutions and layers are not as many.
    """
    convs = list(head.child("m").children.values())
    lead = list(features)
    auxiliary = head.children.get("m2")
    if auxiliary is not None and len(lead) == len(convs) + len(auxiliary.children):
        lead = lead[: len(convs)]
    if len(convs) != len(lead):
        raise GraphError(f'"{head.path}" has {len(convs)} convolutions and {len(lead)} inputs, expected as many.')
    maps = []
    for number, (conv, feature) in enumerate(zip(convs, lead, strict=True)):
        added, gain = (
            head.child(name).child(str(number)).array("implicit") if name in head.children else None
            for name in ("ia", "im")
        )
        with blamed(f'Layer "{conv.path}"'):
            value = implicit_convolution(emission.builder, conv, feature, added, gain)
        if "m_kpt" not in head.children:
            maps.append(AnchorMap(conv.path, value))
            continue
        points = head.child("m_kpt").child(str(number))
        maps.append(AnchorMap(conv.path, value, points.path, emit(emission, points, [feature])))
    return maps
