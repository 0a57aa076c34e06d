"""The further models of a chain by their options: bundles found, read and paired with the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.contract.installed_bundles import installed_bundle
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.chain.chain_options import ChainOptions
from rkdeploy.device.chain.crop_rule import CropRule, crop_rule
from rkdeploy.device.chain.recognizer import Recognizer
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.protocol import Runtime
from rkdeploy.errors import RkdeployError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ChainLink:
    """A further model and its rule, before its contexts exist.

    Attributes:
        bundle: read and checked.
        rule: which detections it looks at.
        thresholds: of what it detects.
    """

    bundle: Bundle
    rule: CropRule
    thresholds: Thresholds

    def recognizer(self, runtimes: Sequence[Runtime]) -> Recognizer:
        """The model with its contexts."""
        bundle = self.bundle
        return Recognizer(bundle.folder.name, bundle.spec, self.thresholds, runtimes, self.rule)


def read_chain(detector: ModelSpec, options: ChainOptions) -> tuple[ChainLink, ...]:
    """The links of a chain.

    Args:
        detector: contract of the first model.
        options: what follows it.

    Raises:
        BundleError: when a bundle is missing or damaged.
        RkdeployError: when options belong to no `--then`, or see `crop_rule`.
    """
    count = len(options.then)
    each_of = _one_each("--of", options.of, count, "")
    each_crop = _one_each("--crop", options.crop, count, "auto")
    each_margin = _one_each("--margin", options.margin, count, 0.0)
    links = []
    for named, of, crop, margin in zip(options.then, each_of, each_crop, each_margin, strict=True):
        bundle = read_link(named)
        classes = _class_names(of, detector) if of else None
        rule = crop_rule(detector, bundle.spec, of=classes, crop=crop, margin=margin, limit=options.max_crops)
        confidence = default_confidence(bundle.spec) if options.conf is None else options.conf
        links.append(ChainLink(bundle, rule, Thresholds(confidence=confidence)))
    return tuple(links)


def read_link(named: str) -> Bundle:
    """Read the bundle of a further model: a path, or the name of one that was pushed to this board.

    Raises:
        BundleError: when there is none, or it is damaged.
    """
    path = Path(named).expanduser()
    return read_bundle(path if path.exists() else installed_bundle(named) or path)


def _one_each(flag: str, given: Sequence[_Value], count: int, default: _Value) -> Sequence[_Value]:
    """One value per model: those that are given, or a single one for all.

    Raises:
        RkdeployError: for another number of them.
    """
    if given and not count:
        raise RkdeployError(f"{flag} is for a further model, and there is no --then.", "Name one: --then BUNDLE.")
    if len(given) <= 1:
        return (given[0] if given else default,) * count
    if len(given) != count:
        raise RkdeployError(
            f"{flag} is given {len(given)} times, and --then {count} times.",
            f"Give {flag} once for all, or once for each --then in their order.",
        )
    return given


def _class_names(text: str, detector: ModelSpec) -> list[str]:
    """Names with commas between; a class whose own name has a comma is named alone."""
    return [text] if text in detector.class_names else [word.strip() for word in text.split(",")]
