"""Preparation of a comparison: everything that its builds share, checked before the first one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rkdeploy.analysis.compare.compare_events import CompareEvents
from rkdeploy.analysis.compare.variants import CompareOptions, Variant, build_options
from rkdeploy.datasets.truth import LabeledSet
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.accuracy_gate import open_gate
from rkdeploy.host.building.build_options import FLOAT_DTYPE
from rkdeploy.host.building.chosen_images import BuildImages, choose_images, require_images
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.toolkit import Toolkit

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that the builds share.

    Attributes:
        sizes: (height, width) each that the network can have, or why it cannot.
        images: by type, or why there are none.
        labeled: the images to measure on, None without.
        toolkit: version of rknn-toolkit2.
    """

    sizes: dict[tuple[int, int], RkdeployError | None]
    images: dict[str, BuildImages | RkdeployError]
    labeled: LabeledSet | None
    toolkit: str


def prepare(options: CompareOptions, events: CompareEvents) -> Prepared:
    """Look at everything that can be wrong for all builds alike.

    Raises:
        RkdeployError: when the file, the images or the toolkit are unusable.
    """
    if FLOAT_DTYPE not in options.dtypes:
        require_images(options.build)
    events.stage(f"Reading {options.build.model.name}")
    networks: dict[tuple[int, int], Network | RkdeployError] = {}
    if options.sizes:
        for hw in options.sizes:
            networks[hw] = _opened(options, hw)
    else:
        network = open_network(options.build.model, options.build.weights, None, cfg=options.build.cfg)
        networks[network.input_hw] = network
    network = _first(networks.values())
    events.stage("Choosing images")
    images: dict[str, BuildImages | RkdeployError] = {
        dtype: _images(options, Variant(options.targets[0], dtype, network.input_hw)) for dtype in options.dtypes
    }
    _first(images.values())
    labeled = None
    if options.build.gate is not None:
        spec = network.contract(cut(network.simplified, network.head, CutOptions())[1])
        labeled = open_gate(options.build.gate, spec)
    events.stage("Starting rknn-toolkit2")
    with (
        tempfile.TemporaryDirectory(prefix="rkdeploy-compare-") as folder,
        Toolkit(log=Path(folder) / "toolkit.log", python=options.build.toolkit_python) as toolkit,
    ):
        version = toolkit.version
    sizes = {hw: found if isinstance(found, RkdeployError) else None for hw, found in networks.items()}
    return Prepared(sizes, images, labeled, version)


def _opened(options: CompareOptions, hw: tuple[int, int]) -> Network | RkdeployError:
    try:
        return open_network(options.build.model, options.build.weights, hw, cfg=options.build.cfg)
    except RkdeployError as error:
        return error


def _images(options: CompareOptions, variant: Variant) -> BuildImages | RkdeployError:
    try:
        return choose_images(build_options(options, variant, measured=False))
    except RkdeployError as error:
        return error


def _first(found: Iterable[_Found | RkdeployError]) -> _Found:
    """The first result that is not a failure.

    Raises:
        RkdeployError: the first failure, when there is nothing else.
    """
    failures = []
    for one in found:
        if not isinstance(one, RkdeployError):
            return one
        failures.append(one)
    raise failures[0]
