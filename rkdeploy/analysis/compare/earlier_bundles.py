"""Bundles of an earlier comparison that need not be built again."""

from __future__ import annotations

import logging

from rkdeploy.contract.bundle import CONTRACT, Bundle, read_bundle
from rkdeploy.datasets.truth import LabeledSet
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.chosen_images import BuildImages
from rkdeploy.host.building.request import request_of
from rkdeploy.version import __version__

_LOG = logging.getLogger(__name__)


def earlier_bundle(
    options: BuildOptions, images: BuildImages, labeled: LabeledSet | None, toolkit: str
) -> Bundle | None:
    """The bundle of an earlier build of the very same, None where there is none.

    Its `build.json` decides: the same request (files by content, options, images), the same toolkit, the same rkdeploy.

    Args:
        options: of the build.
        images: that would be chosen for it.
        labeled: the images of its accuracy gate, None without.
        toolkit: version of rknn-toolkit2 that would build it.
    """
    if not (options.folder / CONTRACT).is_file():
        return None
    try:
        bundle = read_bundle(options.folder)
        record = bundle.record
    except RkdeployError:  # damaged, or of another version: it is built again
        return None
    same = (
        record.request == request_of(options, images, labeled)
        and record.toolkit.version == toolkit
        and record.rkdeploy_version == __version__
    )
    _LOG.debug("%s: %s", options.folder, "of the same request" if same else "of another request; built again")
    return bundle if same else None
