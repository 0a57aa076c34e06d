"""Further models of a chain in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.chain.crop_rule import DEFAULT_LIMIT, crop_rule
from rkdeploy.device.chain.open_chain import ChainLink, read_link
from rkdeploy.device.postprocess.thresholds import DEFAULT_IOU, Thresholds, default_confidence

BundleLike = str | os.PathLike[str] | Bundle


@dataclass(frozen=True, slots=True)
class Then:
    """A further model, which looks at each object that the first one finds.

    Attributes:
        bundle: its folder, its `.rknn`, or the name of one that was pushed to this board.
        of: names or ids of the first model's classes that it looks at; None takes all.
        crop: form of the crops: `auto`, `box`, `corners` (four keypoints), `landmarks` (a face's five), `rotated`.
        margin: share of the width and height that a crop gains on each side.
        max_crops: maximum number of crops per image, best scores first.
        conf: confidence threshold, if it detects objects itself; None for 0.25, of areas of text 0.6.
        iou: IoU threshold of its non-maximum suppression.
    """

    bundle: BundleLike
    of: Sequence[str | int] | None = None
    crop: str = "auto"
    margin: float = 0.0
    max_crops: int = DEFAULT_LIMIT
    conf: float | None = None
    iou: float = DEFAULT_IOU

    def link(self, detector: ModelSpec) -> ChainLink:
        """The model, read, with the rule for its crops.

        Raises:
            BundleError: when there is no such bundle, or it is damaged.
            RkdeployError: see `crop_rule`.
        """
        bundle = self.bundle if isinstance(self.bundle, Bundle) else read_link(os.fspath(self.bundle))
        of = [self.of] if isinstance(self.of, str) else self.of
        rule = crop_rule(detector, bundle.spec, of=of, crop=self.crop, margin=self.margin, limit=self.max_crops)
        confidence = default_confidence(bundle.spec) if self.conf is None else self.conf
        return ChainLink(bundle, rule, Thresholds(confidence=confidence, iou=self.iou))


ThenLike = Then | BundleLike
"""A further model, by its bundle alone or with options."""


def links_of(detector: ModelSpec, then: ThenLike | Iterable[ThenLike] | None) -> tuple[ChainLink, ...]:
    """The further models that a program names: one, several, or none.

    Raises:
        BundleError, RkdeployError: see `Then.link`.
    """
    if then is None:
        return ()
    several = (then,) if isinstance(then, (Then, str, os.PathLike, Bundle)) else then
    return tuple((one if isinstance(one, Then) else Then(one)).link(detector) for one in several)
