"""Search space of a network: the settings that make a difference for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rkdeploy.analysis.tune.hyperparameters import SLOW_ALGORITHM, SearchSpace
from rkdeploy.contract.chips import INT8
from rkdeploy.host.building.quantization import Algorithm, QuantizationSettings
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.float16 import HEAD, Float16Choice, default_float16, layer_name

if TYPE_CHECKING:
    import onnx

    from rkdeploy.host.building.network import Network

CALIB_COUNTS: Final = (20, 10, 40, 80)
DRAWS: Final = (0, 1, 2, 3)
WORST: Final = (1, 2, 4)
CUTS: Final = (
    CutOptions(),
    CutOptions("none", "none"),
    CutOptions("boxes_scores", "all"),
    CutOptions("boxes_scores", "scores"),
    CutOptions("boxes_scores", "none"),
    CutOptions("xy_wh_scores", "all"),
    CutOptions("xy_wh_scores", "scores"),
    CutOptions("xy_wh_scores", "none"),
)
"""The default first.  A sigmoid for boxes alone is left out: it is the scores that the wide range of logits harms."""
TAILS: Final = (0.7, 0.4)
"""Float16 from such a share of the modules on: in YOLOv5 the last C3 of each level, and the neck."""
_MODULE: Final = re.compile(r"(.*?)(\d{1,4})\.")


def search_space(network: Network, target: str, dtype: str, candidates: int) -> SearchSpace:
    """The space of a network.

    Args:
        network: what is quantized.
        target: chip.
        dtype: of the build.
        candidates: calibration images there are; larger sets than that are not tried.
    """
    cuts = _different_cuts(network)
    default = QuantizationSettings()
    counts = [n for n in CALIB_COUNTS if n <= candidates or n == default.calib_count]
    return SearchSpace(
        algorithms=algorithms_of(dtype),
        methods=("channel", "layer"),
        calib_counts=tuple(counts),
        seeds=DRAWS,
        cuts=cuts,
        float16=_float16_choices(network, target, dtype),
    )


def algorithms_of(dtype: str) -> tuple[Algorithm, ...]:
    """The default first; ranges by sensitivity are those of INT8's arithmetic."""
    if dtype != INT8:
        return ("normal", "kl_divergence", SLOW_ALGORITHM)
    return ("normal", "sensitivity", "kl_divergence", SLOW_ALGORITHM)


def _different_cuts(network: Network) -> tuple[CutOptions, ...]:
    """Those that give this network different outputs.

    A head that has boxes and scores apart of itself, or no sigmoid, has fewer than one of anchors.
    """
    found: dict[object, CutOptions] = {}
    for options in CUTS:
        _, outputs = cut(network.simplified, network.head, options)
        found.setdefault(outputs, options)
    return tuple(found.values())


def _float16_choices(network: Network, target: str, dtype: str) -> tuple[Float16Choice | None, ...]:
    """The build's own, none where that is some, the end of the network, the toolkit's proposal, the worst layers."""
    spec = network.contract(cut(network.simplified, network.head, CutOptions())[1])
    none = (Float16Choice(),) if default_float16(spec, target, dtype) else ()
    worst = (Float16Choice(worst=count) for count in WORST)
    tails = (Float16Choice(layers=(tail, HEAD)) for tail in _tails(network.simplified.graph))
    return (None, *none, *tails, Float16Choice(layers=(HEAD,)), Float16Choice(auto=True), *worst)


def _tails(graph: onnx.GraphProto) -> list[str]:
    """Ranges of modules up to the last, as `--float16-layers` takes them; none where names say no order."""
    found = [_MODULE.match(layer_name(output)) for node in graph.node for output in node.output if output]
    numbers = [(match[1], int(match[2])) for match in found if match is not None]
    prefixes = {prefix for prefix, _ in numbers}
    if len(prefixes) != 1:
        return []
    prefix, last = prefixes.pop(), max(number for _, number in numbers)
    return [f"{prefix}{first}-{last}" for first in dict.fromkeys(round(last * share) for share in TAILS)]
