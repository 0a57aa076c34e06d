"""Origin of figures: every figure of a report has one, so that measured and predicted are never confused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.contract.accuracy import Evaluation
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.bounds import Text
from rkdeploy.device.profiling.profile_document import Profile

OriginKind = Literal["measured", "simulator", "predicted", "host", "stand_in"]
"""- `measured`: on a board's NPU
- `simulator`: the vendor's simulator of the NPU, on a PC
- `predicted`: a model of latency, or the compiler's own plan
- `host`: the float network on a processor
- `stand_in`: an NPU backend on a machine without a Rockchip NPU; never a board's figure
"""

_HOST = frozenset({"onnxruntime", "opencv_dnn"})
SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of figures.

    Attributes:
        kind: see `OriginKind`.
        by: source with its version, as text: `Radxa ROCK 5B, librknnrt 2.3.2`.
    """

    kind: OriginKind
    by: Text


def simulator(figures_from: str) -> Origin:
    """Origin of the simulator's figures: `simulator (rknn-toolkit2 2.5.0)` is by the toolkit of that version."""
    found = re.fullmatch(r"simulator \((.*)\)", figures_from)
    return Origin("simulator", found[1] if found else figures_from)


def origin_of_backend(backend: str, figures_from: str, *, on_npu: bool) -> Origin:
    """Origin of a runtime backend's figures.

    Args:
        backend: name of the backend.
        figures_from: the backend's description of itself.
        on_npu: True if it ran on a board's NPU.
    """
    if on_npu:
        return Origin("measured", figures_from)
    if backend in _HOST:
        return Origin("host", figures_from)
    if backend == SIMULATOR:
        return simulator(figures_from)
    return Origin("stand_in", figures_from)


def origin_of(document: Profile | Evaluation | Agreement | Explanation | Prediction) -> Origin:
    """Origin of a document's figures: of a profile its times, of an evaluation its accuracy."""
    if isinstance(document, Prediction):
        return Origin("predicted", ", ".join(filter(None, ("rkdeploy estimate", document.compiled_from))))
    if isinstance(document, Agreement | Explanation):
        return simulator(document.figures_from)
    origin = origin_of_backend(document.backend, document.figures_from, on_npu=document.on_npu)
    return _with_board(origin, document) if isinstance(document, Profile) else origin


def _with_board(origin: Origin, profile: Profile) -> Origin:
    board = profile.versions.board or profile.versions.soc
    if origin.kind == "measured" and board and board not in origin.by:
        return Origin("measured", f"{board}, {origin.by}")
    return origin
