"""The last convolutions of heads on anchors: plain, with implicit knowledge, with keypoints, with training heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.csp_blocks import Kernel, folded
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.heads import AnchorMap
from rkdeploy.host.export.layer_list import blamed
from rkdeploy.host.export.yolor_blocks import with_implicit

TRAINING_ONLY = ("m2", "w_bin_sigmoid.BCEbins", "h_bin_sigmoid.BCEbins")
"""Sub-modules of a head that inference does not read: the auxiliary convolutions of YOLOv7's IAuxDetect, the losses of
its IBin.
"""


def anchor_maps(emission: Emission, head: Module, features: Sequence[Value]) -> list[AnchorMap]:
    """One map per level: im * conv(x + ia) if the head has implicit knowledge (IDetect and similar), else conv(x).

    A head with auxiliary convolutions (IAuxDetect) reads twice as many layers; the first half counts.
    Source: models/yolo.py of WongKinYiu/yolov7.

    Raises:
        GraphError: when there are not as many convolutions as layers.
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
            value, kernel = feature, with_implicit(folded(conv, None), added, gain, conv.path)
            if "m_kpt" in head.children:
                value, kernel = _with_keypoints(emission, head.child("m_kpt").child(str(number)), feature, kernel)
            maps.append(
                AnchorMap(conv.path, convolution(emission.builder, conv, value, weight=kernel[0], bias=kernel[1]))
            )
    return maps


def _with_keypoints(emission: Emission, points: Module, feature: Value, kernel: Kernel) -> tuple[Value, Kernel]:
    """One 1x1 convolution that gives cat(m(x), m_kpt(x)), and its input.

    IKeypoint joins both and only then counts off the channels of each anchor, so that an anchor's fields may come from
    either.  A keypoint head that is a chain ends in a convolution of another tensor than `m` reads: both tensors side
    by side are then read by one convolution, with zeros where one does not read the other's.

    Args:
        emission: the graph.
        points: the convolution, or the chain that ends in one.
        feature: x.
        kernel: of `m`.

    Raises:
        GraphError: when a convolution is not of 1x1.
    """
    chain = [points] if points.class_name == "Conv2d" else list(points.children.values())
    value = feature
    for step in chain[:-1]:
        value = emit(emission, step, [value])
    weight, bias = folded(chain[-1], None)
    if weight.shape[2:] != (1, 1) or kernel[0].shape[2:] != (1, 1):
        raise GraphError(f'"{points.path}" ends in a kernel of {weight.shape[2:]}, expected 1x1 next to another.')
    if value is feature:
        return feature, (np.concatenate((kernel[0], weight)), np.concatenate((kernel[1], bias)))
    both: NDArray[np.float64] = np.zeros(
        (kernel[0].shape[0] + weight.shape[0], feature.channels + value.channels, 1, 1)
    )
    both[: kernel[0].shape[0], : feature.channels] = kernel[0]
    both[kernel[0].shape[0] :, feature.channels :] = weight
    joined = emission.builder.concat(points.path, [feature, value], 1)
    return joined, (both, np.concatenate((kernel[1], bias)))
