"""Remedies for a network that agrees too little with the float model in INT8, in the order of their cost on the NPU.

By the compiler's prediction, the toolkit's float16 layers cost 4 to 10 % of the cycles of the networks that need them
(PicoDet-XS, YOLOX-Nano), depthwise convolutions in parts nearly as much as the whole network did.

None is the default: on many networks each of them changes nothing that the held-out images show, and on some it costs
accuracy (docs/quantization.md has the figures).  So they are tried where the plain quantization is clearly weak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rkdeploy.contract.chips import INT8, has_float16
from rkdeploy.host.graph.depthwise_parts import FEWEST_NAMED, USUAL_PARTS, uneven_depthwise
from rkdeploy.host.toolkit.float16 import Float16Choice

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.record import RemedyName
    from rkdeploy.host.building.build_options import BuildOptions


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of the quantization.

    Attributes:
        name: for the record.
        words: for the user.
        costs_time: True if the NPU takes longer for it.
        applied: the options with it; the same ones where the user decided, or where it changes nothing.
    """

    name: RemedyName
    words: str
    costs_time: bool
    applied: Callable[[BuildOptions, onnx.ModelProto], BuildOptions]


def _corrected_biases(options: BuildOptions, _: onnx.ModelProto) -> BuildOptions:
    return replace(options, bias_correction=True)


def _searched_ranges(options: BuildOptions, _: onnx.ModelProto) -> BuildOptions:
    free = options.algorithm == "normal"
    return replace(options, algorithm="sensitivity", bias_correction=True) if free else options


def _depthwise_parts(options: BuildOptions, graph: onnx.ModelProto) -> BuildOptions:
    free = options.depthwise_parts == 1 and uneven_depthwise(graph) >= FEWEST_NAMED
    return replace(_searched_ranges(options, graph), depthwise_parts=USUAL_PARTS) if free else options


def _float16_layers(options: BuildOptions, _: onnx.ModelProto) -> BuildOptions:
    """The toolkit's own proposal, on the settings that were asked for; other programs read integers only."""
    free = options.float16 is None and options.form == "rkdeploy" and has_float16(options.target)
    return replace(options, float16=Float16Choice(auto=True)) if free else options


REMEDIES: Final = (
    Remedy("biases", "corrected biases", costs_time=False, applied=_corrected_biases),
    Remedy("ranges", "ranges by sensitivity, corrected biases", costs_time=False, applied=_searched_ranges),
    Remedy("float16", "the layers in float16 that the toolkit proposes", costs_time=True, applied=_float16_layers),
    Remedy("depthwise", "uneven depthwise convolutions in parts", costs_time=True, applied=_depthwise_parts),
)
WORDS: Final[dict[RemedyName, str]] = {"as_given": "as given", **{one.name: one.words for one in REMEDIES}}


def remedies_for(options: BuildOptions, graph: onnx.ModelProto) -> tuple[tuple[Remedy, BuildOptions], ...]:
    """The remedies that change something of a build, each with the options of the build with it.

    Args:
        options: as the user gave them; what differs from its default stays.
        graph: the cut network.
    """
    if options.dtype != INT8 or not options.remedies:
        return ()
    changed = ((remedy, remedy.applied(options, graph)) for remedy in REMEDIES)
    return tuple((remedy, one) for remedy, one in changed if one != options)
