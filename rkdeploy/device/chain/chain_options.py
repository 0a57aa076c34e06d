"""Options of a chain.  Light: `rkdeploy run -h` needs neither numpy nor OpenCV for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rkdeploy.option import CHAIN, Option


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """The further models of a run.  `of`, `crop` and `margin` hold one value for all of them, or one for each.

    Attributes:
        then: bundles.
        of: classes that each looks at, with commas between; none given takes all.
        crop: form of each one's crops.
        margin: of each one's crops.
        max_crops: per frame, for each.
        conf: score threshold of those that detect.
    """

    then: Annotated[
        tuple[str, ...],
        Option(
            "--then",
            "Bundle of a further model, which looks at each detection. Repeatable.",
            CHAIN,
            metavar="BUNDLE",
            often=True,
        ),
    ] = ()
    of: Annotated[
        tuple[str, ...],
        Option(
            "--of",
            "Classes that --then looks at. Repeatable, once per --then.",
            CHAIN,
            metavar="CLASS,...",
            default="all",
        ),
    ] = ()
    crop: Annotated[
        tuple[str, ...],
        Option(
            "--crop",
            "Form of the crops: auto, box, corners (four keypoints), landmarks (a face's five), rotated. Repeatable, "
            "once per --then.",
            CHAIN,
            metavar="FORM",
            default="auto",
            complete=("auto", "box", "corners", "landmarks", "rotated"),
        ),
    ] = ()
    margin: Annotated[
        tuple[float, ...],
        Option(
            "--margin",
            "Share of the width and height that a crop gains on each side. Repeatable, once per --then.",
            CHAIN,
            default="0",
        ),
    ] = ()
    max_crops: Annotated[
        int,
        Option("--max-crops", "Maximum number of crops per frame for each --then, best scores first.", CHAIN, low=1),
    ] = 100
    conf: Annotated[
        float | None,
        Option(
            "--then-conf",
            "Score threshold of a --then that detects.",
            CHAIN,
            low=0,
            high=1,
            default="0.25, of areas of text 0.6",
        ),
    ] = None
